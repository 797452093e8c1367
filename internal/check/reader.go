package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"bipd/uicc"
)

// reader shows an exam what goes between card and terminal.
type reader struct {
	uicc.Reader
	exam *exam
	out  func() // the card was there and is no more
}

// Watch passes on the slot's states until a card was taken out.
func (r *reader) Watch(ctx context.Context) <-chan uicc.SlotState {
	states := make(chan uicc.SlotState)
	go func() {
		defer close(states)
		was := false
		for s := range r.Reader.Watch(ctx) {
			if was && s != uicc.SlotPresent {
				r.out()
			}
			was = was || s == uicc.SlotPresent
			select {
			case states <- s:
			case <-ctx.Done():
			}
		}
	}()
	return states
}

// WhyGone is what the reader itself says of its being gone; nil where it says nothing.
func (r *reader) WhyGone() error {
	if r, ok := r.Reader.(interface{ WhyGone() error }); ok {
		return r.WhyGone()
	}
	return nil
}

// Connect activates the card.
func (r *reader) Connect(ctx context.Context) (uicc.Card, error) {
	c, err := r.Reader.Connect(ctx)
	if err != nil {
		if !errors.Is(err, uicc.ErrRemoved) && ctx.Err() == nil {
			r.exam.result.NotActivated++
			r.exam.printf("   the card cannot be activated: %v\n", err)
		}
		return nil, err
	}
	r.exam.activated(c.ATR())
	return &card{Card: uicc.Settle(c), exam: r.exam}, nil
}

// card is a card with T=0's matters settled.
type card struct {
	uicc.Card
	exam *exam
}

// Transmit passes an APDU on and shows it.
func (c *card) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	rapdu, err := c.Card.Transmit(ctx, capdu)
	switch {
	case err == nil:
		c.exam.exchanged(capdu, rapdu)
	case ctx.Err() == nil && !errors.Is(err, uicc.ErrRemoved):
		c.exam.silent(capdu, err)
	}
	return rapdu, err
}

// Reset passes a reset on and shows it.
func (c *card) Reset(ctx context.Context, kind uicc.ResetKind) error {
	err := c.Card.Reset(ctx, kind)
	if err == nil {
		c.exam.reset()
	}
	return err
}

// describeATR is an answer to reset for people.
func describeATR(b []byte) []string {
	a, err := uicc.ParseATR(b)
	var lines []string
	if err != nil {
		lines = append(lines, fmt.Sprintf("warning [ISO/IEC 7816-3 8.2]: %v", err))
		if !uicc.ATRUsable(err) {
			return lines
		}
	}
	convention := "direct convention"
	if a.TS == uicc.TSInverse {
		convention = "inverse convention"
	}
	var protocols []string
	for _, p := range a.Protocols() {
		protocols = append(protocols, p.String())
	}
	first := fmt.Sprintf("%s, %s, speed TA1=%02X", convention, strings.Join(protocols, " "), a.FiDi())
	if p, ok := a.SpecificMode(); ok {
		first += ", specific mode " + p.String()
	}
	return append(lines, first, fmt.Sprintf("historical bytes %X", a.Historical))
}
