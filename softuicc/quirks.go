package softuicc

import (
	"context"
	"time"

	"bipd/uicc"
)

// Fault is what a card does to an APDU instead of answering it.
type Fault int

const (
	NoFault Fault = iota
	Mute          // no answer: Transmit returns uicc.ErrMute
	Stuck         // Transmit blocks until its context ends or the card is removed
	Removal       // the card leaves the reader in the middle of the APDU
)

// Quirks are ways in which a card makes its terminal's life hard.
type Quirks struct {
	// Delay passes before each APDU is answered.
	Delay time.Duration
	// Busy envelopes are answered 9300 (toolkit busy), counting down.
	Busy int
	// Fault, if set, chooses the fault for an APDU. It is called without locks held and may call the card.
	Fault func(capdu []byte) Fault
}

// SetQuirks replaces the card's quirks; they outlive resets.
func (c *Card) SetQuirks(q Quirks) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quirks = q
}

// misbehave applies the quirks that come before an answer.
func (c *Card) misbehave(ctx context.Context, gone <-chan struct{}, capdu []byte) error {
	c.mu.Lock()
	q := c.quirks
	err := c.usable(ctx, gone)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	var delay <-chan time.Time
	if q.Delay > 0 {
		t := time.NewTimer(q.Delay)
		defer t.Stop()
		delay = t.C
	}
	if q.Fault != nil {
		switch q.Fault(capdu) {
		case Mute:
			return uicc.ErrMute
		case Removal:
			c.Remove()
			return uicc.ErrRemoved
		case Stuck:
			delay = make(chan time.Time)
		}
	}
	if delay == nil {
		return nil
	}
	select {
	case <-delay:
		return nil
	case <-gone:
		return uicc.ErrRemoved
	case <-ctx.Done():
		return ctx.Err()
	}
}

// busy reports whether an envelope meets a busy toolkit. The caller holds mu.
func (c *Card) busy() bool {
	if c.quirks.Busy == 0 {
		return false
	}
	c.quirks.Busy--
	return true
}
