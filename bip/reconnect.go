package bip

import (
	"context"
	"errors"
	"syscall"
	"time"

	"bipd/cat"
)

// Bounds of automatic reconnection: the time between two tries, which grows, and of all tries.
const (
	minReconnectWait = time.Second
	maxReconnectWait = 15 * time.Second
	reconnectTime    = 2 * time.Minute
)

// bearerLost tells a network that failed from a far end that closed or reset the connection: only the first is mended by
// connecting again (clause 6.4.27, automatic reconnection).
func bearerLost(err error) bool {
	return err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE)
}

// reconnect puts a channel in the place of c, whose bearer was lost, that tries to connect again. The card hears of the
// loss, and of the new link; what it stored and did not send yet is sent then.
func (c *channel) reconnect() {
	g := c.g
	c.abort()
	next := g.newChannel(c.req, c.bearer)
	next.since, next.received, next.auto = c.since, c.received, true
	next.tx.stored = c.tx.stored
	next.state, next.lost, next.downDue = opening, true, true
	g.take(next)
	g.running.Go(func() { g.reconnecting(next) })
}

// reconnecting tries until it succeeds, the channel is given up or the time is over.
func (g *Gateway) reconnecting(c *channel) {
	ctx, cancel := context.WithTimeout(c.ctx, reconnectTime)
	defer cancel()
	for wait := minReconnectWait; ; wait = min(2*wait, maxReconnectWait) {
		conn, err := g.dial(ctx, c, c.bearer.Prepare(ctx, c.req))
		if err == nil || ctx.Err() != nil {
			g.deliver(c, conn, err)
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			g.deliver(c, nil, err)
			return
		}
	}
}

// keptAccess is the network access that CLOSE CHANNEL asked to keep for the next OPEN CHANNEL (clause 6.4.28).
type keptAccess struct {
	name  string
	until time.Time
}

// keepTime is how long an access is kept for an OPEN CHANNEL that does not come.
const keepTime = 30 * time.Second

// keep notes that the channel's access will be used again.
func (g *Gateway) keep(c *channel, cmd cat.Command) {
	if cmd.Details.Qualifier&cat.CloseUpkeep != 0 {
		g.kept = keptAccess{c.req.NetworkAccessName, time.Now().Add(keepTime)}
	}
}

// takeKept reports whether an access to the network is kept, and takes it.
func (g *Gateway) takeKept(name string) bool {
	kept := g.kept
	g.kept = keptAccess{}
	return kept.name == name && time.Now().Before(kept.until)
}
