package ccid

import (
	"context"
	"errors"
	"fmt"

	"bipd/uicc"
)

// card is a card from one Connect to its Close: APDUs as they are, for uicc.Settle to build on.
type card struct {
	slot       *Slot
	insertion  uint64 // the slot's count of cards when it was this one
	atr        []byte
	link       link // nil before the first reset
	unanswered bool // a command was given up; with the slot's turn
}

var _ uicc.Card = (*card)(nil)

// Connect resets the card by power off and on, agrees on protocol and rate, and returns it. Errors wrap uicc.ErrRemoved (no
// card, or no reader), uicc.ErrMute, ErrInUse, ErrNotSupported, ErrProtocol or *Error, or are the context's.
func (s *Slot) Connect(ctx context.Context) (uicc.Card, error) {
	icc, err := s.status(ctx)
	if err != nil {
		return nil, err
	}
	if icc == iccAbsent {
		return nil, s.errRemoved(typePowerOn)
	}
	c, err := s.reserve()
	if err != nil {
		return nil, err
	}
	if err := c.Reset(ctx, uicc.ColdReset); err != nil {
		c.release()
		return nil, err
	}
	if tap := s.dev.cfg.Tap; tap != nil {
		return uicc.Settle(c, tap), nil
	}
	return uicc.Settle(c), nil
}

// reserve makes the card that is inserted the caller's. One that was exchanged meanwhile is nobody's.
func (s *Slot) reserve() (*card, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.card != nil && s.card.insertion == s.insertion {
		return nil, fmt.Errorf("%w: %s", ErrInUse, s.name)
	}
	s.card = &card{slot: s, insertion: s.insertion}
	return s.card, nil
}

// release gives the card back; first tells whether it was still the slot's, and inserted.
func (c *card) release() (first bool) {
	s := c.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.card != c {
		return false
	}
	s.card = nil
	return s.insertion == c.insertion && s.state.occupied()
}

// usable tells whether the card is still there (ErrRemoved) and has power (errUnanswered).
func (c *card) usable() error {
	s := c.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == slotGone:
		return s.dev.errGone()
	case s.card != c || s.insertion != c.insertion || !s.state.occupied():
		return fmt.Errorf("ccid: %s: %w", s.name, uicc.ErrRemoved)
	case s.state != slotPowered || c.link == nil:
		return errUnanswered
	}
	return nil
}

// ATR is the answer to the last reset.
func (c *card) ATR() []byte { return c.atr }

// Transmit exchanges one APDU as the reader's level has it. After a command whose answer was lost or not waited for nobody
// knows what the card has done and whether it is done, and the reader may have been reset: until Reset, every further
// command is refused.
func (c *card) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	s := c.slot
	if len(capdu) < 4 {
		return nil, uicc.ErrCommand
	}
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.giveTurn()
	if err := c.usable(); err != nil {
		return nil, err
	}
	if c.unanswered {
		return nil, errUnanswered
	}
	rapdu, err := c.link.transmit(ctx, capdu)
	if err != nil && s.stuck {
		c.unanswered = true
	}
	return rapdu, err
}

// Reset resets the card, agrees on the parameters anew, and brings the reader into step where a command was given up.
func (c *card) Reset(ctx context.Context, kind uicc.ResetKind) error {
	s := c.slot
	if err := c.usable(); err != nil && !errors.Is(err, errUnanswered) {
		return err
	}
	if c.unanswered {
		kind = uicc.ColdReset // the reader may have been reset
	}
	raw, atr, err := s.powerUp(ctx, kind)
	if err != nil {
		return err
	}
	pars, err := s.configure(ctx, atr)
	if err != nil {
		return err
	}
	s.dev.cfg.Log.Debug("card reset", "slot", s.name, "protocol", pars.protocol.String(), "FiDi", pars.fidi, "level", s.dev.desc.Level().String())
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer s.giveTurn()
	link := s.newLink(pars)
	if err := link.start(ctx); err != nil {
		return err
	}
	c.atr, c.link, c.unanswered = raw, link, false
	return c.usable()
}

// Close powers the card off and gives it back. A card that is gone, or whose reader is, has nothing to give back.
func (c *card) Close() error {
	if !c.release() {
		return nil
	}
	s := c.slot
	ctx, cancel := context.WithTimeout(context.Background(), s.dev.cfg.timing.powerOn)
	defer cancel()
	err := s.powerOff(ctx)
	if errors.Is(err, uicc.ErrRemoved) {
		return nil
	}
	return err
}
