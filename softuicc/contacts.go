package softuicc

import (
	"context"

	"bipd/uicc"
)

// ContactsConfig is how a card behaves at its contacts, whichever protocol it speaks.
type ContactsConfig struct {
	Line LineConfig
	T0   T0Config
	T1   T1Config
}

// Contacts are a card as a reader has it: reset, PPS, and then the protocol that the answer to reset and PPS chose. Its
// methods are for one goroutine at a time, but Violations.
type Contacts struct {
	*line
	t0 *T0
	t1 *T1
}

// NewContacts makes the contacts of a card. It has no power before Reset.
func NewContacts(card uicc.Card, cfg ContactsConfig) *Contacts {
	l := &line{card: card, cfg: cfg.Line}
	return &Contacts{line: l, t0: newT0(l, cfg.T0), t1: newT1(l, cfg.T1)}
}

// Reset activates the card and returns its answer to reset. Errors are those of the card.
func (c *Contacts) Reset(ctx context.Context, kind uicc.ResetKind) ([]byte, error) {
	c.t0.clear()
	return c.t1.Reset(ctx, kind)
}

// Off takes the power away.
func (c *Contacts) Off() error {
	c.t0.clear()
	c.t1.endWork()
	c.on = false
	return c.card.Close()
}

// Characters exchanges characters under T=0, and a PPS request under both protocols; see T0.Exchange.
func (c *Contacts) Characters(ctx context.Context, characters []byte, send func(byte)) error {
	return c.t0.Exchange(ctx, characters, send)
}

// Block exchanges a block under T=1, and a PPS request under both protocols; see T1.Exchange.
func (c *Contacts) Block(ctx context.Context, block []byte) ([]byte, error) {
	return c.t1.Exchange(ctx, block)
}

// Fresh tells whether nothing was received since the answer to reset, so that a PPS request may come.
func (c *Contacts) Fresh() bool { return c.on && c.fresh }

// IFSC is the information field that the card takes under T=1.
func (c *Contacts) IFSC() int { return c.t1.ifsc }
