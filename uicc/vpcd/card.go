package vpcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bipd/uicc"
)

// maxResponse is the longest response to a short command: 256 bytes and the status word.
const maxResponse = 256 + 2

// closeTimeout bounds how long Close waits for a card to take "power off".
const closeTimeout = time.Second

var errUnanswered = errors.New("vpcd: an earlier command was not answered, the card needs a reset")

// card is the card in the slot while it is activated: APDUs as they are, for uicc.Settle to build on.
type card struct {
	reader  *Reader
	link    *link
	timeout time.Duration

	atr    []byte
	t0     bool // the first protocol offered is T=0
	closed bool
}

var _ uicc.Card = (*card)(nil)

// ATR is the answer to the last reset.
func (c *card) ATR() []byte { return c.atr }

// Transmit sends one APDU, in the form of T=0 where the ATR offers that protocol first, as a reader would. A response
// that is none, by its length, ends the connection.
func (c *card) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	switch {
	case c.closed:
		return nil, uicc.ErrRemoved
	case c.link.unanswered:
		return nil, errUnanswered
	}
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return nil, err
	}
	if c.t0 {
		if capdu, err = cmd.TPDU(); err != nil {
			return nil, err
		}
	}
	c.link.discard()
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	if err := c.link.send(ctx, capdu, c.timeout); err != nil {
		return nil, err
	}
	rapdu, err := c.link.reply(ctx, timer.C)
	if err != nil {
		c.link.unanswered = true
		return nil, err
	}
	if n := len(rapdu); n < 2 || n > maxResponse {
		err := fmt.Errorf("%w: its response has %d bytes, 2 to %d are possible", uicc.ErrRemoved, n, maxResponse)
		c.link.end(err)
		return nil, err
	}
	return rapdu, nil
}

// Reset resets the card, by power off and on or by the reset control, and reads the ATR. Where that fails or is
// interrupted, nobody can tell any more which answer belongs to what: the card is put out of the slot, and another
// one can dial in.
func (c *card) Reset(ctx context.Context, kind uicc.ResetKind) error {
	switch {
	case c.closed:
		return uicc.ErrRemoved
	case ctx.Err() != nil:
		return ctx.Err()
	}
	controls := []byte{controlPowerOff, controlPowerOn, controlGetATR}
	if kind == uicc.WarmReset {
		controls = []byte{controlReset, controlGetATR}
	}
	c.link.discard()
	atr, parsed, err := c.reset(ctx, controls)
	if err != nil {
		c.link.end(err)
		return err
	}
	c.atr, c.t0, c.link.unanswered = atr, parsed.Protocols()[0] == uicc.T0, false
	return nil
}

// reset sends the controls, the last of which asks for the ATR, and waits for it.
func (c *card) reset(ctx context.Context, controls []byte) ([]byte, uicc.ATR, error) {
	timer := time.NewTimer(c.timeout)
	defer timer.Stop()
	for _, b := range controls {
		if err := c.link.send(ctx, []byte{b}, c.timeout); err != nil {
			return nil, uicc.ATR{}, err
		}
	}
	return c.readATR(ctx, timer.C)
}

// readATR waits for the ATR. Where a command was left unanswered, its response may come first, or not at all:
// whatever is no ATR is then taken for it, once.
func (c *card) readATR(ctx context.Context, timeout <-chan time.Time) ([]byte, uicc.ATR, error) {
	for owed := c.link.unanswered; ; owed = false {
		b, err := c.link.reply(ctx, timeout)
		if err != nil {
			return nil, uicc.ATR{}, err
		}
		a, err := uicc.ParseATR(b)
		if err == nil || uicc.ATRUsable(err) && !owed {
			return b, a, nil // a wrong check byte harms nothing where no line can alter it, nor do bytes behind the end
		}
		if !owed {
			return nil, uicc.ATR{}, err
		}
	}
}

// Close powers the card off. It stays inserted, and Connect can take it again.
func (c *card) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	err := c.link.send(context.Background(), []byte{controlPowerOff}, min(c.timeout, closeTimeout))
	c.reader.giveBack(c.link)
	if errors.Is(err, uicc.ErrRemoved) {
		return nil
	}
	return err
}
