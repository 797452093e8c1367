package softuicc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"bipd/uicc"
)

// LineConfig is how a card behaves at its contacts before any protocol runs.
type LineConfig struct {
	// RefuseSpeed makes the card answer a PPS request without PPS1, so that Fd and Dd stay (ISO/IEC 7816-3 clause 9.3).
	RefuseSpeed bool
	// OnViolation is told of each violation as it is found; it must not call the card.
	OnViolation func(Violation)
}

// line is a card seen from its contacts: the answer to reset, what a PPS exchange changed, and what the terminal did
// wrong (ISO/IEC 7816-3 clauses 6, 8 and 9).
type line struct {
	card uicc.Card
	cfg  LineConfig

	atr      uicc.ATR
	on       bool
	fresh    bool // nothing was received since the answer to reset: a PPS request may come
	mute     bool // deaf until the next reset
	protocol uicc.Protocol
	fidi     byte

	mu   sync.Mutex
	list []Violation
}

// ATR coding of Fi and Di (ISO/IEC 7816-3 tables 7 and 8); 0 is RFU.
var (
	fiTable = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	diTable = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
)

const defaultFiDi = 0x11 // Fd 372, Dd 1

// ppss is the initial character of a PPS request (ISO/IEC 7816-3 clause 9.2).
const ppss = 0xFF

// reset activates the card and returns its answer to reset.
func (l *line) reset(ctx context.Context, kind uicc.ResetKind) ([]byte, error) {
	l.on = false
	if err := l.card.Reset(ctx, kind); err != nil {
		return nil, err
	}
	b := l.card.ATR()
	atr, err := uicc.ParseATR(b)
	if err != nil && !errors.Is(err, uicc.ErrAfterATR) { // a card with a bad answer to reset is spoken to by the defaults
		atr = uicc.ATR{TS: uicc.TSDirect, Groups: make([]uicc.InterfaceGroup, 1)}
	}
	l.atr, l.on, l.fresh, l.mute = atr, true, true, false
	l.protocol, l.fidi = atr.Protocols()[0], defaultFiDi
	if p, ok := atr.SpecificMode(); ok {
		l.protocol = p
		if atr.Groups[1].TA.Value&0x10 == 0 { // bit 5: parameters implicit, not by the interface bytes
			l.fidi = atr.FiDi()
		}
	}
	return b, nil
}

// usable tells why the card hears nothing.
func (l *line) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !l.on || l.mute {
		return uicc.ErrMute
	}
	return nil
}

// ppsLength is the length of the PPS request that b begins, as far as b tells.
func ppsLength(b []byte) int {
	n := 3
	if len(b) > 1 {
		for bit := byte(0x10); bit <= 0x40; bit <<= 1 {
			if b[1]&bit != 0 {
				n++
			}
		}
	}
	return n
}

// pps answers a complete PPS request (ISO/IEC 7816-3 clause 9.3), or nil: a card that cannot take the request stays mute
// until it is reset.
func (l *line) pps(request []byte) []byte {
	l.fresh = false
	refuse := func(format string, args ...any) []byte {
		l.mute = true
		l.violate("9.3", request, format, args...)
		return nil
	}
	p := uicc.Protocol(request[1] & 0x0F)
	var sum byte
	for _, c := range request {
		sum ^= c
	}
	_, specific := l.atr.SpecificMode()
	switch {
	case sum != 0:
		return refuse("PPS request with a wrong PCK")
	case specific:
		return refuse("PPS request to a card in specific mode")
	case request[1]&0x80 != 0:
		return refuse("PPS0 has its RFU bit set")
	case !slices.Contains(l.atr.Protocols(), p):
		return refuse("PPS request for %v, which the card does not offer", p)
	}
	answer, fidi := []byte{ppss, byte(p)}, byte(defaultFiDi)
	if request[1]&0x10 != 0 {
		wanted := request[2]
		if !withinFiDi(wanted, l.atr.FiDi()) {
			l.violate("9.2", request, "PPS1 is %02X, the card offers %02X", wanted, l.atr.FiDi())
		} else if !l.cfg.RefuseSpeed {
			answer[1] |= 0x10
			answer, fidi = append(answer, wanted), wanted
		}
	}
	l.protocol, l.fidi = p, fidi
	sum = 0
	for _, c := range answer {
		sum ^= c
	}
	return append(answer, sum)
}

// withinFiDi tells whether the terminal may propose F and D to a card with this TA1: F from Fd to Fi, D from Dd to Di
// (ISO/IEC 7816-3 clause 9.2).
func withinFiDi(wanted, offered byte) bool {
	f, d := fiTable[wanted>>4], diTable[wanted&0x0F]
	fi, di := fiTable[offered>>4], diTable[offered&0x0F]
	return f != 0 && d != 0 && f <= max(fi, 372) && d <= max(di, 1)
}

// Protocol is the protocol that the card speaks now.
func (l *line) Protocol() uicc.Protocol { return l.protocol }

// FiDi is TA1 as it is in force: 11 until PPS or specific mode changed it.
func (l *line) FiDi() byte { return l.fidi }

// Violations returns what the terminal did wrong at the contacts, resets included.
func (l *line) Violations() []Violation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// violate records a breach of ISO/IEC 7816-3.
func (l *line) violate(clause string, b []byte, format string, args ...any) {
	v := Violation{"ISO/IEC 7816-3 " + clause, fmt.Sprintf(format, args...), strings.ToUpper(fmt.Sprintf("%x", b))}
	l.mu.Lock()
	if len(l.list) < maxViolations {
		l.list = append(l.list, v)
	}
	l.mu.Unlock()
	if l.cfg.OnViolation != nil {
		l.cfg.OnViolation(v)
	}
}
