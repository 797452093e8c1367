package uicc

import (
	"errors"
	"fmt"
)

// Limits of an answer to reset (ISO/IEC 7816-3 clause 8.2): TS, and then at most 32 bytes.
const (
	MaxATR        = 33
	maxHistorical = 15
)

// Initial character TS (ISO/IEC 7816-3 clause 8.1), as decoded by its own convention.
const (
	TSDirect  = 0x3B // direct convention
	TSInverse = 0x3F // inverse convention
)

// Errors of ParseATR, each wrapped with the details.
var (
	// ErrATR says that the bytes are no answer to reset.
	ErrATR = errors.New("uicc: bad answer to reset")
	// ErrTCK says that only the check byte is at fault: the answer was altered on its way, or the card computes it
	// wrong.
	ErrTCK = errors.New("uicc: wrong check byte TCK in the answer to reset")
	// ErrAfterATR says that bytes follow the end of an answer to reset that is right by itself.
	ErrAfterATR = errors.New("uicc: bytes follow the end of the answer to reset")
)

// ATRUsable reports whether ParseATR gave an answer to reset, with err or without: a card with a wrong check byte, or with
// bytes behind the end, can be used.
func ATRUsable(err error) bool {
	return err == nil || errors.Is(err, ErrTCK) || errors.Is(err, ErrAfterATR)
}

// Protocol is the parameter T (ISO/IEC 7816-3 clause 8.2.3).
type Protocol byte

const (
	T0 Protocol = 0 // half-duplex transmission of characters, ISO/IEC 7816-3 clause 10
	T1 Protocol = 1 // half-duplex transmission of blocks, ISO/IEC 7816-3 clause 11

	// TGlobal is no transmission protocol: it marks global interface bytes (T=15).
	TGlobal Protocol = 15
)

// String gives "T=0".
func (p Protocol) String() string { return fmt.Sprintf("T=%d", byte(p)) }

// InterfaceByte is TAi, TBi or TCi: a value that may be absent.
type InterfaceByte struct {
	Value   byte
	Present bool
}

// InterfaceGroup holds the interface bytes TAi TBi TCi. T is the protocol named by TD(i-1); for the first group, which
// T0 announces, it is 0 without meaning.
type InterfaceGroup struct {
	T          Protocol
	TA, TB, TC InterfaceByte
}

// ATR is an answer to reset (ISO/IEC 7816-3 clause 8.2). TDi is not kept: its high half follows from the group i+1 and
// its low half is that group's T. TCK is computed.
type ATR struct {
	TS         byte
	Groups     []InterfaceGroup // at least one; Groups[0] holds TA1 TB1 TC1
	Historical []byte           // at most 15 bytes
}

// ParseATR reads an answer to reset, strictly: no byte may be missing or left over. TCK must be present, and right,
// unless T=0 alone is offered (clause 8.2.5). Errors wrap ErrATR, ErrTCK or ErrAfterATR; with the last two the ATR is
// returned as well, for a caller who prefers such a card to none (see ATRUsable).
func ParseATR(b []byte) (ATR, error) {
	if len(b) < 2 {
		return ATR{}, fmt.Errorf("%w: %d bytes, it has 2 to %d", ErrATR, len(b), MaxATR)
	}
	a := ATR{TS: b[0]}
	if a.TS != TSDirect && a.TS != TSInverse {
		return ATR{}, fmt.Errorf("%w: TS is %02X", ErrATR, a.TS)
	}
	k := int(b[1] & 0x0F)
	rest, err := a.parseGroups(b[1], b[2:])
	if err != nil {
		return ATR{}, err
	}
	if len(rest) < k {
		return ATR{}, fmt.Errorf("%w: %d of %d historical bytes", ErrATR, len(rest), k)
	}
	a.Historical, rest = rest[:k:k], rest[k:]
	absent := false
	if a.hasTCK() {
		if absent = len(rest) == 0; !absent {
			rest = rest[1:]
		}
	}
	end := len(b) - len(rest)
	switch {
	case end > MaxATR:
		return ATR{}, fmt.Errorf("%w: %d bytes, it has 2 to %d", ErrATR, end, MaxATR)
	case absent:
		return a, fmt.Errorf("%w: it is absent", ErrTCK)
	case a.hasTCK() && xor(b[1:end]) != 0:
		return a, fmt.Errorf("%w: %02X instead of %02X", ErrTCK, b[end-1], xor(b[1:end-1]))
	case len(rest) > 0:
		return a, fmt.Errorf("%w: %d of them", ErrAfterATR, len(rest))
	}
	return a, nil
}

// parseGroups reads the interface bytes that follow t0, and returns what follows them.
func (a *ATR) parseGroups(t0 byte, b []byte) (rest []byte, err error) {
	y, t := t0>>4, Protocol(0)
	for {
		g := InterfaceGroup{T: t}
		var td InterfaceByte
		for i, dst := range []*InterfaceByte{&g.TA, &g.TB, &g.TC, &td} {
			if y&(1<<i) == 0 {
				continue
			}
			if len(b) == 0 {
				return nil, fmt.Errorf("%w: it ends before T%c%d", ErrATR, 'A'+i, len(a.Groups)+1)
			}
			*dst, b = InterfaceByte{b[0], true}, b[1:]
		}
		a.Groups = append(a.Groups, g)
		if !td.Present {
			return b, nil
		}
		y, t = td.Value>>4, Protocol(td.Value&0x0F)
	}
}

// hasTCK tells whether any T other than 0 is named.
func (a ATR) hasTCK() bool {
	for _, g := range a.Groups {
		if g.T != T0 {
			return true
		}
	}
	return false
}

func xor(b []byte) (x byte) {
	for _, v := range b {
		x ^= v
	}
	return x
}

// AppendBinary appends the bytes of the answer to reset, with TCK where it belongs. Errors wrap ErrATR.
func (a ATR) AppendBinary(b []byte) ([]byte, error) {
	if len(a.Groups) == 0 || a.Groups[0].T != 0 || len(a.Historical) > maxHistorical {
		return b, fmt.Errorf("%w: %d groups, %d historical bytes", ErrATR, len(a.Groups), len(a.Historical))
	}
	start := len(b)
	b = append(b, a.TS)
	low := byte(len(a.Historical))
	for i, g := range a.Groups {
		y := presence(g)
		if i+1 < len(a.Groups) {
			y |= 8
		}
		b = append(b, y<<4|low) // T0, or TD of the group before
		for _, v := range []InterfaceByte{g.TA, g.TB, g.TC} {
			if v.Present {
				b = append(b, v.Value)
			}
		}
		if i+1 < len(a.Groups) {
			low = byte(a.Groups[i+1].T & 0x0F)
		}
	}
	b = append(b, a.Historical...)
	if a.hasTCK() {
		b = append(b, xor(b[start+1:]))
	}
	if n := len(b) - start; n > MaxATR {
		return b[:start], fmt.Errorf("%w: %d bytes, it has at most %d", ErrATR, n, MaxATR)
	}
	return b, nil
}

func presence(g InterfaceGroup) (y byte) {
	for i, v := range []InterfaceByte{g.TA, g.TB, g.TC} {
		if v.Present {
			y |= 1 << i
		}
	}
	return y
}

// Protocols are the transmission protocols that the card offers, the first offered first, each once. Without TD1 that
// is T=0 alone (clause 8.2.3).
func (a ATR) Protocols() []Protocol {
	var ps []Protocol
	seen := make(map[Protocol]bool)
	for i, g := range a.Groups {
		if i == 0 || g.T == TGlobal || seen[g.T] {
			continue
		}
		seen[g.T] = true
		ps = append(ps, g.T)
	}
	if len(ps) == 0 {
		ps = []Protocol{T0}
	}
	return ps
}

// SpecificMode tells whether the card insists on one protocol and takes no PPS, and which (TA2, clause 8.3).
func (a ATR) SpecificMode() (p Protocol, ok bool) {
	if len(a.Groups) < 2 || !a.Groups[1].TA.Present {
		return 0, false
	}
	return Protocol(a.Groups[1].TA.Value & 0x0F), true
}

// FiDi is TA1, the indices of the clock rate conversion factor (high half) and the baud rate adjustment factor (low
// half) that the card allows; 11, the default, where absent (clause 8.3).
func (a ATR) FiDi() byte {
	if len(a.Groups) > 0 && a.Groups[0].TA.Present {
		return a.Groups[0].TA.Value
	}
	return 0x11
}

// Specific is the first group of interface bytes that is specific to p (clause 8.2.3: of the groups after the second),
// for T1 that with IFSC (TA), the waiting time integers (TB) and the error code (TC), for TGlobal that with clock stop
// and class (TA). It is the zero group where the card sends none.
func (a ATR) Specific(p Protocol) InterfaceGroup {
	for i, g := range a.Groups {
		if i >= 2 && g.T == p {
			return g
		}
	}
	return InterfaceGroup{T: p}
}
