package bip

import (
	"context"
	"net"
	"net/netip"

	"bipd/cat"
)

// Listener is a Bearer that offers UICC server mode: others connect to the card.
type Listener interface {
	// Listen waits for connections to the request's port. An error is an *Error, or one of which CauseOf finds the cause.
	Listen(ctx context.Context, r Request) (net.Listener, error)
}

// listener is what a channel in UICC server mode has beside its states (clause 6.4.27.5). The channel in state listening
// stays for as long as the card does not close it; each client gets a channel of its own, with the same number, that
// takes its place in the table until the client has gone:
//
//	listening -> up (a client) -> listening ...
type listener struct {
	net.Listener
	vacant chan struct{} // the next client may come
}

// listen answers an OPEN CHANNEL in UICC server mode.
func (g *Gateway) listen(cmd cat.Command, o *cat.OpenChannel, c *channel) cat.Answer {
	c.state = opening
	g.take(c)
	return cat.Answer{Wait: func(ctx context.Context) func() cat.Answer {
		l, err := c.bearer.(Listener).Listen(ctx, c.req)
		return func() cat.Answer {
			if err != nil {
				g.log.Warn("cannot listen", "channel", c.id, "port", c.req.Remote.Port(), "cause", CauseOf(err), "error", err)
				g.channels[c.id] = nil
				c.cancel()
				return c.answerOpen(cmd, CauseOf(err).result(), grantedObjects(o, c.req.Buffer))
			}
			g.log.Info("channel listens", "channel", c.id, "address", l.Addr())
			c.state, c.listener = listening, &listener{l, make(chan struct{}, 1)}
			g.running.Go(c.acceptClients)
			return c.opened(cmd, o)
		}
	}}
}

// acceptClients takes one client after the other. The next waits in the system's queue until the one before has gone.
func (c *channel) acceptClients() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			if c.ctx.Err() == nil {
				c.g.log.Error("channel listens no more", "channel", c.id, "error", err)
			}
			return
		}
		if !c.g.session.Post(func() { c.clientCame(conn) }) {
			conn.Close()
			return
		}
		select {
		case <-c.listener.vacant:
		case <-c.ctx.Done():
			return
		}
	}
}

// clientCame gives the client a channel in place of the listening one.
func (c *channel) clientCame(conn net.Conn) {
	if c.g.channels[c.id] != c { // closed in the meantime
		c.g.discard(conn)
		return
	}
	req := c.req
	req.Remote = remoteOf(conn)
	client := c.g.newChannel(req, c.bearer)
	client.server = c
	c.g.take(client)
	close(client.settled)
	client.connected(conn)
	client.upDue = true
}

func remoteOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// listenAgain puts the listening channel back into the table, where a client's was.
func (c *channel) listenAgain() {
	c.g.take(c)
	c.listener.vacant <- struct{}{}
}

// clientGone is checkLink's end of a client's channel: the card is told that it listens again (clause 7.5.11).
func (c *channel) clientGone() {
	c.hangUp(false)
	c.server.upDue = true
	c.server.listenAgain()
}

// closeServer ends a channel in UICC server mode, or, with back set, only its client.
func (c *channel) closeServer(back bool) {
	server := c
	if c.server != nil {
		server = c.server
		c.hangUp(true)
		if back {
			server.listenAgain()
			return
		}
	}
	if !back {
		c.g.channels[c.id] = nil
		server.abort()
	}
}
