package ccid

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"bipd/ccid/usbfs"
	"bipd/uicc"
)

// mostTransfers is how many transfers a repeated script has before the reader is gone.
const mostTransfers = 5000

// fuzzed is a reader whose answers are the fuzzer's: records of one octet of flags, one of length, and the octets of one
// transfer. At their end it begins anew, if it is to, or is unplugged.
type fuzzed struct {
	scripted
	script, rest []byte
	repeat       bool
	transfers    int
	last         [2]byte // slot and number of the last command
	interrupts   []byte

	guard sync.Mutex
}

// Flags of a record.
const (
	flagAddress = 1 // bSlot and bSeq are those of the last command
	flagLength  = 2 // dwLength is right
	flagStall   = 4 // the transfer stalls
)

func (t *fuzzed) Send(_ context.Context, msg []byte) error {
	t.guard.Lock()
	defer t.guard.Unlock()
	if len(msg) < headerLength || messageLength(msg) != uint64(len(msg)) {
		panic("the driver sent a malformed message")
	}
	t.last = [2]byte{msg[5], msg[6]}
	return nil
}

func (t *fuzzed) Receive(ctx context.Context, buf []byte) (int, error) {
	t.guard.Lock()
	defer t.guard.Unlock()
	if len(t.rest) < 2 && t.repeat {
		t.rest = t.script
	}
	if t.transfers++; len(t.rest) < 2 || t.transfers > mostTransfers {
		return 0, usbfs.ErrGone
	}
	flags, n := t.rest[0], min(int(t.rest[1]), len(t.rest)-2)
	transfer := bytes.Clone(t.rest[2 : 2+n])
	t.rest = t.rest[2+n:]
	if flags&flagStall != 0 {
		return 0, usbfs.ErrStall
	}
	if n >= headerLength && flags&flagAddress != 0 {
		transfer[5], transfer[6] = t.last[0], t.last[1]
	}
	if n >= headerLength && flags&flagLength != 0 {
		transfer[1], transfer[2], transfer[3], transfer[4] = byte(n-headerLength), 0, 0, 0
	}
	return copy(buf, transfer), nil
}

func (t *fuzzed) Notify(ctx context.Context, buf []byte) (int, error) {
	t.guard.Lock()
	n := copy(buf, t.interrupts)
	t.interrupts = nil
	t.guard.Unlock()
	if n > 0 {
		return n, nil
	}
	return t.scripted.Notify(ctx, buf)
}

// FuzzReader has the driver talk to a reader of which every octet is the fuzzer's. Whatever comes, the driver ends each call with an
// error or a response that is one, sends no message that is none, keeps no more memory than the longest message needs, and
// ends when it is told to.
func FuzzReader(f *testing.F) {
	record := func(flags byte, transfer ...byte) []byte {
		return append([]byte{flags, byte(len(transfer))}, transfer...)
	}
	answer := func(typ messageType, status, err, param byte, data ...byte) []byte {
		return record(flagAddress|flagLength, append([]byte{byte(typ), 0, 0, 0, 0, 0, 0, status, err, param}, data...)...)
	}
	status := answer(typeSlotStatus, 1, 0, 0)
	connect := func(atr ...byte) []byte {
		return bytes.Join([][]byte{status, status, status, answer(typeDataBlock, 0, 0, 0, atr...)}, nil)
	}
	t0 := connect(0x3B, 0)
	t1 := connect(0x3B, 0x80, 0x01, 0x81)
	block := func(pcb byte, inf ...byte) []byte {
		return answer(typeDataBlock, 0, 0, 0, block{pcb, inf}.append(nil, false)...)
	}
	add := func(level Level, repeat bool, records ...[]byte) {
		f.Add(byte(level), repeat, []byte{0x50, 0x03}, bytes.Join(records, nil))
	}
	add(LevelTPDU, false, t0, answer(typeDataBlock, 0, 0, 0, 0x90, 0), answer(typeDataBlock, 0, 0, 0, 0x61, 4), answer(typeDataBlock, 0, 0, 0, 1, 2, 3, 4, 0x90, 0))
	add(LevelTPDU, false, t0, answer(typeDataBlock, 0x80, 5, 0), answer(typeDataBlock, 0x40, 0xFE, 0), answer(typeDataBlock, 2, 0, 0))
	add(LevelTPDU, true, answer(typeDataBlock, 0x80, 1, 0))
	add(LevelTPDU, true, record(0))
	add(LevelTPDU, false, t1, block(0xE1, 254), block(0x20, 1, 2), block(0x40, 0x90, 0), block(0x00, 0x90, 0))
	add(LevelTPDU, true, t1, block(0xC3, 1))
	add(LevelTPDU, true, t1, block(0x20))
	add(LevelTPDU, false, t1, block(0xE1, 254), block(0xC1, 5), block(0x90), block(0xC2), block(0xE0))
	add(LevelExtended, false, t0, answer(typeDataBlock, 0, 0, 1, 1, 2), answer(typeDataBlock, 0, 0, 3, 3, 4), answer(typeDataBlock, 0, 0, 2, 0x90, 0))
	add(LevelExtended, true, t0, answer(typeDataBlock, 0, 0, 3, 1, 2))
	add(LevelShort, false, t0, record(flagAddress, 0x80, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1), record(flagStall), record(0, 1, 2, 3))
	add(LevelShort, false, t0, record(flagAddress, 0x80, 0xFF, 0xFF, 0xFF, 0x7F, 0, 0, 0, 0, 0, 1))

	f.Fuzz(func(t *testing.T, level byte, repeat bool, interrupt, script []byte) {
		tr := &fuzzed{script: script, rest: script, repeat: repeat, interrupts: interrupt}
		tr.ready, tr.closed = make(chan struct{}, 1), make(chan struct{})
		desc := tpduDescriptor()
		desc.MaxSlot, desc.MaxBusySlots = level>>7, level>>6&1
		desc.Features = Features(level>>3&7) | []Features{levelTPDU, levelShort, levelExtended}[level%3]
		cfg := Config{timing: quick()}
		cfg.timing.reader, cfg.timing.card, cfg.timing.apdu, cfg.timing.powerOn = time.Second, time.Second, time.Second, time.Second
		d, err := NewDevice(tr, desc, IDs{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		s := d.Slots()[0]
		if c, err := s.Connect(ctx); err == nil {
			if _, err := uicc.ParseATR(c.ATR()); !uicc.ATRUsable(err) {
				t.Errorf("ATR %X: %v", c.ATR(), err)
			}
			for _, capdu := range [][]byte{{0, 0xA4, 0, 4, 2, 0x3F, 0}, {0, 0xB0, 0, 0, 10}, {0x80, 0xF2, 0, 0x0C}} {
				rapdu, err := c.Transmit(ctx, capdu)
				if err == nil && (len(rapdu) < 2 || len(rapdu) > 300*maxExtended) {
					t.Errorf("response of %d octets", len(rapdu))
				}
				if errors.Is(err, errUnanswered) {
					c.Reset(ctx, uicc.ColdReset)
				}
			}
			c.Close()
		}
		if ctx.Err() != nil {
			t.Error("the driver hangs")
		}
		d.Close()
		<-d.leading // what follows is quiet
		if kept := len(d.in.buf) + len(s.buf) + len(d.spare); kept > 3*(headerLength+maxExtended+2*usual) {
			t.Errorf("%d octets of buffers", kept)
		}
	})
}

// FuzzDescriptor: what is read is written as it was.
func FuzzDescriptor(f *testing.F) {
	f.Add(unhex(f, qemuDescriptor))
	f.Add([]byte{2, 0xFF, 54, 0x21})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := FindDescriptor(b)
		if err != nil {
			if !errors.Is(err, ErrDescriptor) {
				t.Errorf("error %v", err)
			}
			return
		}
		got, _ := d.AppendBinary(nil)
		if !bytes.Contains(b, got) {
			t.Errorf("%X is not in %X", got, b)
		}
		if d.Slots() < 1 || d.busySlots() < 1 || d.busySlots() > d.Slots() || d.clock() < 1000 || len(d.supplies()) == 0 {
			t.Errorf("%+v", d)
		}
	})
}

// FuzzBlock: a block that is valid is written as it was.
func FuzzBlock(f *testing.F) {
	f.Add(unhex(f, "00 40 02 9000 D2"), false)
	f.Add(unhex(f, "00 C1 01 FE 54 4E"), true)
	f.Fuzz(func(t *testing.T, b []byte, crc bool) {
		x, fault := parseBlock(b, crc)
		if fault != rOK {
			return
		}
		want := bytes.Clone(b)
		want[0] = 0 // the node address does not matter
		if edc := len(x.append(nil, crc)); edc != len(b) {
			t.Fatalf("%d octets of %d", edc, len(b))
		}
		if got := x.append(nil, crc); b[0] == 0 && !bytes.Equal(got, want) {
			t.Errorf("%X becomes %X", b, got)
		}
	})
}
