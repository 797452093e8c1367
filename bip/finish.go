package bip

import (
	"errors"
	"time"

	"bipd/tcpend"
	"bipd/trace"
)

// startFinish runs finish beside the card's goroutine.
func (c *channel) startFinish(whole bool) {
	c.g.finishing.Add(1)
	c.g.running.Go(func() {
		defer c.g.finishing.Add(-1)
		c.finish(whole)
	})
}

// finish ends the connection of a channel that was given up: in order where every octet that the card was told is sent
// stands before the end, else by a reset. With whole unset there are octets that the writer was never given, so that the
// end is a reset in any case; what was sent is delivered before.
func (c *channel) finish(whole bool) {
	defer c.cancel()
	c.rx.abandon()
	farFirst := isClosed(c.readerDone)
	err := awaitDelivery(c.g.cfg.FinishTime, func() (int, error) {
		switch n := c.undelivered(); {
		case c.tx.broken.Load():
			return n, errCut
		case whole && c.tx.unsent.Load() == 0:
			return 0, nil // CloseWrite waits for the rest
		default:
			return n, nil
		}
	})
	half, ordered := c.conn.(HalfCloser)
	switch {
	case err == nil && whole && ordered:
		c.emitFarClose(trace.CP, trace.Server, c.transport()+" close")
		if err = half.CloseWrite(); err == nil {
			c.awaitFarClose(farFirst)
		}
	case !c.rx.datagram && ordered:
		c.emitFarClose(trace.CP, trace.Server, c.transport()+" reset")
	default:
		c.emitFarClose(trace.CP, trace.Server, c.transport()+" close")
	}
	if err != nil {
		c.g.log.Warn("connection reset: not everything was delivered", "channel", c.id, "remote", c.req.Remote,
			"undelivered", c.undelivered(), "error", err)
	}
	c.conn.Close()
}

// awaitFarClose waits for the far end to close as well, which may still read what the card sent. Closing before it does
// would answer its data with a reset. It is not waited for where the whole gateway ends, or where it goes on sending for
// more than tcpend.MaxSurplus: the far end has everything.
func (c *channel) awaitFarClose(was bool) {
	c.delivered.Store(true)
	timer := time.NewTimer(c.g.cfg.FinishTime)
	defer timer.Stop()
	select {
	case <-c.readerDone:
		switch surplus := c.surplus.Load(); {
		case surplus > tcpend.MaxSurplus:
			c.g.log.Info("connection closed: the far end goes on sending", "channel", c.id, "remote", c.req.Remote, "discarded", surplus)
		case !was:
			c.emitFarClose(trace.Server, trace.CP, "closed by the server")
		}
	case <-timer.C:
	case <-c.g.closing:
	}
}

func (c *channel) emitFarClose(from, to trace.Party, what string) {
	if c.steps.farClose != "" {
		c.emit(c.steps.farClose, from, to, what, 0)
	}
}

// undelivered is how many octets the writer was given that the far end has not got, as far as the connection can tell.
func (c *channel) undelivered() int {
	n := int(c.tx.unsent.Load())
	if u, ok := c.conn.(undeliverer); ok {
		n += u.Undelivered()
	}
	return n
}

// What awaitDelivery and CloseWrite return where not everything was delivered.
var (
	errNotTaken = errors.New("bip: the far end takes no data")
	errCut      = errors.New("bip: the connection was lost")
)

// errSurplus ends the reader of a far end that goes on sending after it had everything.
var errSurplus = errors.New("bip: the far end goes on sending")

// maxLook is the longest time between two looks of awaitDelivery.
const maxLook = 50 * time.Millisecond

// awaitDelivery returns when no octets are left, when left fails, or with errNotTaken when it has not become less for the
// limit, see tcpend.Patience.
func awaitDelivery(limit time.Duration, left func() (int, error)) error {
	patience := tcpend.NewPatience(limit)
	for look := time.Millisecond; ; look = min(2*look, maxLook) {
		n, err := left()
		if err != nil || n == 0 {
			return err
		}
		if patience.Over(-int64(n)) {
			return errNotTaken
		}
		time.Sleep(look)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
