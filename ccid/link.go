package ccid

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"bipd/uicc"
)

// link carries APDUs to the card and back, at the exchange level of the reader. The caller has the slot's turn.
type link interface {
	// start is called once, before the first APDU.
	start(ctx context.Context) error
	// transmit gives the response APDU, which is the caller's.
	transmit(ctx context.Context, capdu []byte) ([]byte, error)
}

// newLink gives the link for what card and reader have agreed on, and tells the slot how long the card may be silent.
func (s *Slot) newLink(pars parameters) link {
	d := s.dev
	unit := pars.waitingTime(d.desc)
	d.mu.Lock()
	s.unit = unit
	d.mu.Unlock()
	t := d.cfg.timing
	// The reader counts the waiting time, from the last character that it has passed on; USB and its own work come on top.
	wait := func(least time.Duration, characters int) time.Duration {
		return max(least, 2*unit+pars.transferTime(d.desc, characters))
	}
	switch {
	case d.desc.Level() == LevelShort:
		return &apduLink{slot: s, wait: wait(t.apdu, uicc.MaxCommand+maxResponse)}
	case d.desc.Level() == LevelExtended:
		return &apduLink{slot: s, wait: wait(t.apdu, uicc.MaxCommand+maxResponse), extended: true}
	case pars.protocol == uicc.T1:
		return newT1(s, pars, wait(t.card, 2*(maxIFS+5)))
	}
	return &t0{slot: s, wait: wait(t.card, uicc.MaxCommand+maxResponse)}
}

// maxResponse is the longest response to an APDU of the short form.
const maxResponse = uicc.MaxLe + 2

// xfr sends XfrBlock.
func (s *Slot) xfr(ctx context.Context, bwi byte, level uint16, data []byte, wait time.Duration) (answer, error) {
	c := command{typ: typeXfrBlock, specific: [3]byte{bwi}, data: data}
	binary.LittleEndian.PutUint16(c.specific[1:], level)
	return s.doInTurn(ctx, &c, wait)
}

// response copies a response APDU. It is an error where there is no status word.
func (s *Slot) response(b []byte) ([]byte, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: %s: a response of %d octets has no status word", ErrProtocol, s.name, len(b))
	}
	return slices.Clone(b), nil
}
