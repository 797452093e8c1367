package pcsc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"bipd/uicc"
)

const (
	// closeTimeout bounds Close, which has no context.
	closeTimeout = 5 * time.Second
	// retryInterval is the time between two tries to take the card while pcscd still waits for it on behalf of a
	// connection that was given up, and between two looks at a card that may be gone.
	retryInterval = 100 * time.Millisecond
	// removalGrace is enough for pcscd to notice that a card is gone: it looks every 400 ms.
	removalGrace = time.Second
)

var errUnanswered = errors.New("pcsc: an earlier command was not answered, the card needs a reset")

// card is a card taken from pcscd: APDUs as they are, for uicc.Settle to build on.
type card struct {
	reader *Reader
	client *client // nil after Close

	context  uint32
	handle   int32
	protocol uint32
	events   uint32 // the reader's count of insertions and removals that belongs to this card
	atr      []byte
}

var _ uicc.Card = (*card)(nil)

// ATR is the answer to the last reset.
func (c *card) ATR() []byte { return c.atr }

// open connects to pcscd and takes the card.
func (c *card) open(ctx context.Context) error {
	r := c.reader
	cl, err := dial(ctx, r.cfg.Socket, r.cfg.Timeout)
	if err != nil {
		return err
	}
	if err := c.take(ctx, cl); err != nil {
		cl.close()
		return err
	}
	c.client = cl
	return nil
}

// take asks cl for a context and the card.
func (c *card) take(ctx context.Context, cl *client) error {
	r := c.reader
	est, err := call[establishMessage, establishMessage](ctx, cl, cmdEstablishContext, &establishMessage{Scope: scopeSystem})
	if err == nil {
		err = r.fail("establish a context for", est.RV)
	}
	if err != nil {
		return err
	}
	con, err := call[connectMessage, connectMessage](ctx, cl, cmdConnect, &connectMessage{
		Context: est.Context, Reader: r.field, ShareMode: shareExclusive, PreferredProtocols: protocolT0 | protocolT1,
	})
	if err != nil {
		return err
	}
	states, err := cl.states(ctx, cmdGetReadersState)
	if err != nil {
		return err
	}
	s := find(states, r.name)
	if s == nil {
		return r.errAbsent(states)
	}
	c.context, c.handle, c.protocol = est.Context, con.Card, con.ActiveProtocol
	if c.client == nil {
		c.events = s.Events
	}
	return r.fail("connect to", con.RV)
}

// Transmit sends one APDU, under T=0 in the form of a TPDU, as PC/SC demands, under T=1 with the Le that brings the data.
func (c *card) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	switch {
	case c.client == nil:
		return nil, uicc.ErrRemoved
	case c.client.broken:
		return nil, errUnanswered
	}
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return nil, err
	}
	if c.protocol != protocolT0 {
		capdu = uicc.AppendLe(nil, capdu)
	} else if capdu, err = cmd.TPDU(); err != nil {
		return nil, err
	}
	rapdu, rv, err := c.client.transmit(ctx, c.handle, c.protocol, capdu)
	if err != nil {
		return nil, cardError(err)
	}
	if rv == Success && len(rapdu) < 2 { // some drivers call that a success
		rapdu, rv = nil, ErrNotTransacted
	}
	if rv == ErrNotTransacted {
		rv = c.removedOr(ctx, rv)
	}
	return rapdu, c.reader.fail("transmit to", rv)
}

// cardError tells the user of a Card what a failed connection means for the card.
func cardError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", uicc.ErrMute, err)
	case errors.Is(err, ErrDaemon):
		return fmt.Errorf("%w: %w", uicc.ErrRemoved, err)
	}
	return err
}

// inserted tells whether s, the state of the reader, shows this card still inserted.
func (c *card) inserted(s *stateMessage) bool {
	return s != nil && s.State&stateAbsent == 0 && s.Events == c.events
}

// removedOr tells a card that is gone from one that only failed to answer: pcscd says the same of both, until it has
// noticed the removal.
func (c *card) removedOr(ctx context.Context, rv Code) Code {
	for range int(c.reader.grace / retryInterval) {
		states, err := c.client.states(ctx, cmdGetReadersState)
		if err != nil {
			return rv
		}
		if !c.inserted(find(states, c.reader.name)) {
			return WarnRemovedCard
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return rv
		}
	}
	return rv
}

// Reset resets the card. After a command that was not answered it first takes the card anew, for which pcscd must have
// given up waiting for the answer.
func (c *card) Reset(ctx context.Context, kind uicc.ResetKind) error {
	if c.client == nil {
		return uicc.ErrRemoved
	}
	if c.client.broken {
		if err := c.reopen(ctx); err != nil {
			return cardError(err)
		}
	}
	if _, err := c.state(ctx); err != nil { // pcscd would gladly reset the next card in place of this one
		return err
	}
	initialization := uint32(unpowerCard)
	if kind == uicc.WarmReset {
		initialization = resetCard
	}
	rec, err := call[reconnectMessage, reconnectMessage](ctx, c.client, cmdReconnect, &reconnectMessage{
		Card: c.handle, ShareMode: shareExclusive, PreferredProtocols: protocolT0 | protocolT1, Initialization: initialization,
	})
	if err != nil {
		return cardError(err)
	}
	if err := c.reader.fail("reset the card in", rec.RV); err != nil {
		return err
	}
	s, err := c.state(ctx)
	if err != nil {
		return err
	}
	c.protocol, c.atr = rec.ActiveProtocol, s.atr()
	if c.atr == nil {
		return c.reader.fail("read the ATR in", WarnUnresponsiveCard)
	}
	return nil
}

// state gives the reader's state, or an error that wraps uicc.ErrRemoved where the card is not there any more.
func (c *card) state(ctx context.Context) (*stateMessage, error) {
	states, err := c.client.states(ctx, cmdGetReadersState)
	if err != nil {
		return nil, cardError(err)
	}
	s := find(states, c.reader.name)
	if !c.inserted(s) {
		return nil, c.reader.fail("look for the card in", WarnRemovedCard)
	}
	return s, nil
}

// reopen takes the card anew, and tries again while the connection that was given up holds it, at most for the timeout.
func (c *card) reopen(ctx context.Context) error {
	end := time.Now().Add(c.reader.cfg.Timeout)
	for {
		err := c.open(ctx)
		if !errors.Is(err, ErrSharingViolation) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(retryInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close powers the card off and gives it back. Where pcscd does not answer it learns of the end by that of the
// connection.
func (c *card) Close() error {
	cl := c.client
	if cl == nil {
		return nil
	}
	c.client = nil
	defer cl.close()
	if cl.broken {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	dis, err := call[disconnectMessage, disconnectMessage](ctx, cl, cmdDisconnect, &disconnectMessage{Card: c.handle, Disposition: unpowerCard})
	if err == nil {
		err = c.reader.fail("disconnect from", dis.RV)
	}
	if !cl.broken {
		rel, relErr := call[releaseMessage, releaseMessage](ctx, cl, cmdReleaseContext, &releaseMessage{Context: c.context})
		if err == nil && relErr == nil {
			err = c.reader.fail("release the context of", rel.RV)
		}
	}
	if errors.Is(err, uicc.ErrRemoved) || errors.Is(err, ErrDaemon) {
		return nil // there is nothing left to give back
	}
	return err
}
