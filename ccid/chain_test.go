package ccid

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// A response of any length arrives whole, whatever the level says of chains and however it is cut.
func TestResponseInParts(t *testing.T) {
	for _, level := range []uint32{ccidemu.FeatureShort, ccidemu.FeatureExtended} {
		for _, part := range []int{1, 2, 16, 100, 251, 252, 253, 0} {
			synctest.Test(t, func(t *testing.T) {
				testkit.NoLeaks(t)
				m := ccidemu.MultiSlot(1)
				m.Features, m.ResponsePart = level|ccidemu.FeatureNegotiation|ccidemu.FeatureClock|ccidemu.FeatureBaud, part
				answer := bytes.Repeat([]byte{0xA5}, 250)
				r, d := emulated(t, m, Config{})
				insert(t, r, newCard(t, softuicc.Config{SMSPPAnswer: answer}))
				c := connect(t, d.Slots()[0])
				defer c.Close()
				want(t, c, "8010000001FF", "9000")
				for range 2 {
					if got := want(t, c, "80C2000008 D106 82028381 8B00", "9000"); !bytes.Equal(got[:len(got)-2], answer) {
						t.Errorf("level %X in parts of %d: %X", level, part, got)
					}
				}
				obedient(t, r)
			})
		}
	}
}

// chained opens a reader of the level whose answers to XfrBlock are reply's: bChainParameter and data.
func chained(t *testing.T, level Features, reply func(wLevelParameter uint16, n int) (param byte, data []byte)) uicc.Card {
	t.Helper()
	n := 0
	tr := newScripted(func(msg []byte) [][]byte {
		switch messageType(msg[0]) {
		case typePowerOn:
			return [][]byte{message(msg, typeDataBlock, 0, []byte{0x3B, 0})}
		case typeXfrBlock:
			param, data := reply(binary.LittleEndian.Uint16(msg[8:]), n)
			n++
			m := message(msg, typeDataBlock, 0, data)
			m[9] = param
			return [][]byte{m}
		}
		return [][]byte{message(msg, messageType(msg[0]).answer(), 0, nil)}
	})
	desc := tpduDescriptor()
	desc.Features = desc.Features&^levelMask | level
	desc.MaxMessage = headerLength + 64
	d, err := NewDevice(tr, desc, IDs{Path: "1-1"}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return connect(t, d.Slots()[0])
}

// What the octet of bChainParameter holds at short level, where it has no meaning, does no harm, unless it begins a chain.
func TestChainParameterAtShortLevel(t *testing.T) {
	for param := range 256 {
		synctest.Test(t, func(t *testing.T) {
			c := chained(t, levelShort, func(wLevel uint16, n int) (byte, []byte) {
				if n > 0 && wLevel == chainNext {
					return chainLast, []byte{0x90, 0}
				}
				return byte(param), []byte{1, 0x90, 0}
			})
			defer c.Close()
			want := []byte{1, 0x90, 0}
			if param == chainFirst {
				want = append(want, 0x90, 0)
			}
			if got := transmit(t, c, "80F2000000"); !bytes.Equal(got, want) {
				t.Errorf("bChainParameter %02X: %X, want %X", param, got, want)
			}
		})
	}
}

// A reader that does not keep to the chain is told so, and does not make the driver take more than a response has.
func TestBrokenChains(t *testing.T) {
	long := "00D6000081" + strings.Repeat("11", 129)
	for name, tc := range map[string]struct {
		capdu string
		reply func(wLevel uint16, n int) (byte, []byte)
		want  string
	}{
		"the rest of a command is not asked for": {long, func(uint16, int) (byte, []byte) { return chainWhole, []byte{0x90, 0} }, "does not ask for the rest"},
		"begins in the middle":                   {"80F2000000", func(uint16, int) (byte, []byte) { return chainMiddle, []byte{1} }, "out of order"},
		"begins twice":                           {"80F2000000", func(uint16, int) (byte, []byte) { return chainFirst, []byte{1} }, "out of order"},
		"empty part":                             {"80F2000000", func(_ uint16, n int) (byte, []byte) { return [3]byte{chainFirst, chainMiddle, chainLast}[n], nil }, "empty part"},
		"no end": {"80F2000000", func(_ uint16, n int) (byte, []byte) {
			switch {
			case n == 0:
				return chainFirst, make([]byte, 200)
			case n > maxExtended/200+1:
				return chainLast, make([]byte, 200) // too late
			}
			return chainMiddle, make([]byte, 200)
		}, "a response of more than"},
	} {
		run(t, name, func(t *testing.T) {
			c := chained(t, levelExtended, tc.reply)
			defer c.Close()
			if r, err := c.Transmit(testContext(t), unhex(t, tc.capdu)); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%X, %v, want %q", r, err, tc.want)
			}
		})
	}
}
