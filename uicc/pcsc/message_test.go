package pcsc

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// skipUnlessLittleEndian: the golden bytes of these tests are those of a little-endian machine.
func skipUnlessLittleEndian(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden bytes are little endian, this machine is not")
	}
}

// zeros is n zero bytes in hexadecimal.
func zeros(n int) string { return strings.Repeat("00", n) }

// golden runs a body both ways against the bytes that the C compiler's layout gives it.
func golden[T bodyOf](t *testing.T, name string, cmd command, body T, want string) {
	t.Helper()
	b := appendRequest(nil, cmd, &body, nil)
	if !bytes.Equal(b[8:], hx(want)) {
		t.Errorf("%s:\n got %X\nwant %s", name, b[8:], want)
	}
	if size := binary.LittleEndian.Uint32(b); int(size) != len(want)/2 || binary.LittleEndian.Uint32(b[4:]) != uint32(cmd) {
		t.Errorf("%s: header %X", name, b[:8])
	}
	if got, err := parseBody[T](hx(want)); err != nil || got != body {
		t.Errorf("%s: parsed %+v, %v", name, got, err)
	}
	for _, n := range []int{0, len(want)/2 - 1, len(want)/2 + 1} {
		if n < 0 || n == len(want)/2 {
			continue
		}
		if _, err := parseBody[T](make([]byte, n)); err == nil {
			t.Errorf("%s: %d bytes were taken", name, n)
		}
	}
}

func TestGolden(t *testing.T) {
	skipUnlessLittleEndian(t)
	field, err := readerName("AB 00 00")
	if err != nil {
		t.Fatal(err)
	}
	name := "4142203030203030" + zeros(120)
	golden(t, "version", cmdVersion, versionMessage{4, 4, Success}, "04000000"+"04000000"+"00000000")
	golden(t, "establish", cmdEstablishContext, establishMessage{2, 0x11223344, Success}, "02000000"+"44332211"+"00000000")
	golden(t, "release", cmdReleaseContext, releaseMessage{0x11223344, ErrInvalidHandle}, "44332211"+"03001080")
	golden(t, "connect", cmdConnect, connectMessage{0x11223344, field, 1, 3, -2, 1, ErrSharingViolation},
		"44332211"+name+"01000000"+"03000000"+"FEFFFFFF"+"01000000"+"0B001080")
	golden(t, "reconnect", cmdReconnect, reconnectMessage{5, 1, 3, 2, 1, WarnRemovedCard},
		"05000000"+"01000000"+"03000000"+"02000000"+"01000000"+"69001080")
	golden(t, "disconnect", cmdDisconnect, disconnectMessage{5, 2, Success}, "05000000"+"02000000"+"00000000")
	golden(t, "transmit", cmdTransmit, transmitMessage{5, 1, 16, 7, 1, 16, 264, ErrNotTransacted},
		"05000000"+"01000000"+"10000000"+"07000000"+"01000000"+"10000000"+"08010000"+"16001080")
	golden(t, "event", cmdWaitReaderStateChange, eventMessage{0, ErrCancelled}, "00000000"+"02001080")
	golden(t, "no body", cmdGetReadersState, [0]byte{}, "")
	var states [maxReaders]stateMessage
	states[1] = stateMessage{Name: field, Events: 3, State: 0x34, Sharing: -1, ATRLength: 2, Protocol: 1}
	copy(states[1].ATR[:], hx("3B00"))
	golden(t, "states", cmdGetReadersState, states, zeros(184)+
		name+"03000000"+"34000000"+"FFFFFFFF"+"3B00"+zeros(31)+zeros(3)+"02000000"+"01000000"+zeros(14*184))
}

func TestReaderName(t *testing.T) {
	for _, bad := range []string{"", "a\x00b", strings.Repeat("n", maxReaderName)} {
		if _, err := readerName(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
		if _, err := New(bad, Config{}); err == nil {
			t.Errorf("New took %q", bad)
		}
	}
	long := strings.Repeat("n", maxReaderName-1)
	field, err := readerName(long)
	if s := (stateMessage{Name: field}); err != nil || s.name() != long {
		t.Errorf("%v, %q", err, s.name())
	}
	full := stateMessage{}
	copy(full.Name[:], strings.Repeat("n", maxReaderName))
	if full.name() != long+"n" {
		t.Errorf("a name without NUL: %q", full.name())
	}
}

func TestStateATR(t *testing.T) {
	for n, want := range map[uint32]int{0: 0, 1: 1, maxATR: maxATR, maxATR + 1: 0, 1 << 31: 0} {
		if got := (&stateMessage{ATRLength: n}).atr(); len(got) != want || (want == 0) != (got == nil) {
			t.Errorf("ATR length %d gave %d bytes", n, len(got))
		}
	}
}

// FuzzStates: only the exact length parses; what parses gives the same bytes again but for the padding, names hold no
// NUL, and ATRs keep within their field.
func FuzzStates(f *testing.F) {
	f.Add(make([]byte, maxReaders*184))
	var states [maxReaders]stateMessage
	copy(states[0].Name[:], "Virtual PCD 00 00")
	copy(states[0].ATR[:], atrT0)
	states[0].ATRLength, states[0].State = uint32(len(atrT0)), statePresent
	f.Add(appendBody(nil, &states))
	f.Add(bytes.Repeat([]byte{0xFF}, maxReaders*184))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseBody[[maxReaders]stateMessage](b)
		if (err == nil) != (len(b) == maxReaders*184) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
		if err != nil {
			return
		}
		again := appendBody(nil, &list)
		for i := range list {
			copy(again[i*184+173:][:3], b[i*184+173:][:3])
			if strings.Contains(list[i].name(), "\x00") || len(list[i].atr()) > maxATR {
				t.Fatalf("%q %X", list[i].name(), list[i].atr())
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatal("other bytes")
		}
	})
}

// FuzzReadTransmit: a response has the length that its head says and is what follows it; no more is read than belongs to it.
func FuzzReadTransmit(f *testing.F) {
	good := transmitMessage{Card: 1, RecvLength: 4}
	f.Add(append(appendBody(nil, &good), hx("01029000AA")...))
	f.Add(appendBody(nil, &transmitMessage{RV: ErrNotTransacted, RecvLength: 9}))
	f.Add(append(appendBody(nil, &transmitMessage{RecvLength: 0xFFFFFFFF}), 1, 2))
	f.Add(appendBody(nil, &good))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		rapdu, rv, err := readTransmit(in)
		if err != nil {
			return
		}
		used := len(b) - in.Len()
		body, err := parseBody[transmitMessage](b[:32])
		if err != nil || body.RV != rv {
			t.Fatalf("%v: result %v, read as %v", err, body.RV, rv)
		}
		if rv != Success && (used != 32 || rapdu != nil) {
			t.Fatalf("refused, yet %d bytes were read: %X", used, rapdu)
		}
		if rv == Success && (uint32(len(rapdu)) != body.RecvLength || len(rapdu) > maxResponse || !bytes.Equal(rapdu, b[32:used])) {
			t.Fatalf("response of %d bytes, announced %d, of %X", len(rapdu), body.RecvLength, b)
		}
	})
}

func TestReadTransmitErrors(t *testing.T) {
	long := appendBody(nil, &transmitMessage{RecvLength: maxResponse + 1})
	for name, b := range map[string][]byte{
		"half a body":     make([]byte, 31),
		"half a response": append(appendBody(nil, &transmitMessage{RecvLength: 4}), 1, 2),
		"too long":        append(long, make([]byte, maxResponse+1)...),
	} {
		if rapdu, _, err := readTransmit(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %X", name, rapdu)
		}
	}
	if _, _, err := readTransmit(bytes.NewReader(nil)); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}
