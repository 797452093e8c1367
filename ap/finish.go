package ap

import (
	"time"

	"bipd/tcpend"
)

// unacknowledged counts the octets, and FIN, that the server's host has not acknowledged yet. over reports whether the
// connection is dead, so that it never will.
func (c *conn) unacknowledged() (octets int, over bool) {
	if c.datagrams() {
		return 0, false
	}
	octets, over, err := tcpend.Unacknowledged(c.server)
	if err != nil { // it is closed
		return 0, false
	}
	return octets, over
}

// awaited reports whether the server's host may still acknowledge something.
func (c *conn) awaited() bool {
	left, over := c.unacknowledged()
	return left > 0 && !over
}

// pollTime is how often a connection that is ending is looked at: no event tells that everything was acknowledged.
const pollTime = 20 * time.Millisecond

// wait bounds the time without progress of something that is ending.
type wait struct {
	tcpend.Patience
	ticker *time.Ticker
	tick   <-chan time.Time // while it runs
}

// start starts it; a second call changes nothing.
func (w *wait) start(limit time.Duration) {
	if w.ticker == nil {
		w.Patience, w.ticker = tcpend.NewPatience(limit), time.NewTicker(min(pollTime, limit))
		w.tick = w.ticker.C
	}
}

func (w *wait) running() bool { return w.tick != nil }

// stop ends it for good.
func (w *wait) stop() {
	if w.ticker != nil {
		w.ticker.Stop()
		w.tick = nil
	}
}
