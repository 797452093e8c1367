package bip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// Listener is a Bearer that offers UICC server mode: others connect to the card.
type Listener interface {
	// Listen waits for connections to the request's port. An error is an *Error, or one of which CauseOf finds the cause.
	// So is an error of Accept: with CauseDenied one client was sent away.
	Listen(ctx context.Context, r Request) (net.Listener, error)
}

// listener is what a channel in UICC server mode has beside its states (clause 6.4.27.5). The channel in state listening
// stays for as long as the card does not close it; each client gets a channel of its own, with the same number, that
// takes its place in the table until the client has gone:
//
//	listening -> client waits -> up (a client) -> listening ...
//
// Each of these steps is the card's: a client waits until the card has taken the event that the link is established, and the
// next one is accepted when the card has taken the event that the channel listens again, or has closed back to that itself.
// So nothing that the card sends for one client can reach another.
type listener struct {
	net.Listener
	next   chan struct{} // the card knows that the channel listens: a client may come
	client net.Conn      // waits for the card to hear of it
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
			c.state, c.listener = listening, &listener{Listener: l, next: make(chan struct{}, 1)}
			g.running.Go(c.acceptClients)
			return c.opened(cmd, o)
		}
	}}
}

// acceptClients takes one client after the other. The next waits in the system's queue until it may come.
func (c *channel) acceptClients() {
	for {
		conn, err := c.acceptClient()
		if err != nil {
			c.g.session.Post(func() { c.listensNoMore(err) })
			return
		}
		if !c.g.session.Post(func() { c.clientCame(conn) }) {
			conn.Close()
			return
		}
		select {
		case <-c.listener.next:
		case <-c.ctx.Done():
			return
		}
	}
}

// Bounds of the time between two tries after a passing error of accept, which grows.
const (
	minAcceptWait = 10 * time.Millisecond
	maxAcceptWait = time.Second
)

// acceptClient accepts a connection. It waits out what passes, as when no file descriptor is left.
func (c *channel) acceptClient() (net.Conn, error) {
	wait := minAcceptWait
	for {
		conn, err := c.listener.Accept()
		switch {
		case err == nil:
			return conn, nil
		case CauseOf(err) == CauseDenied:
			c.g.log.Warn("client refused", "channel", c.id, "port", c.req.Remote.Port(), "error", err)
			continue
		case !passing(err):
			return nil, err
		}
		c.g.log.Warn("client has to wait", "channel", c.id, "port", c.req.Remote.Port(), "error", err, "again_in", wait)
		if !c.pause(wait) {
			return nil, context.Cause(c.ctx)
		}
		wait = min(2*wait, maxAcceptWait)
	}
}

// pause waits, and reports whether the channel is still wanted.
func (c *channel) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// passing reports whether accept may succeed after this error: the system lacks something at the moment, or the one client
// that came has gone or is kept off (accept(2)).
func passing(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENONET, syscall.ETIMEDOUT,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// listensNoMore has the card told that nobody can connect any more.
func (c *channel) listensNoMore(err error) {
	if c.g.channels[c.id] != c { // closed in the meantime
		return
	}
	c.g.log.Error("channel listens no more", "channel", c.id, "port", c.req.Remote.Port(), "error", err)
	c.drop()
}

// clientCame has a client wait for the card to hear of it. No other has the channel: the next comes after it.
func (c *channel) clientCame(conn net.Conn) {
	if c.g.channels[c.id] != c { // closed in the meantime
		c.g.discard(conn)
		return
	}
	c.listener.client = conn
}

// serveClient gives the client that waited a channel in place of the listening one.
func (c *channel) serveClient() {
	conn := c.listener.client
	c.listener.client = nil
	req := c.req
	req.Remote = remoteOf(conn)
	client := c.g.newChannel(req, c.bearer)
	client.server = c
	c.g.take(client)
	close(client.settled)
	client.connected(conn)
}

func remoteOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort()
	}
	return netip.AddrPort{}
}

// serverEvent is what the card is to be told next of a channel in UICC server mode while it has no client.
func (c *channel) serverEvent() (cat.Due, bool) {
	switch {
	case c.upDue:
		return cat.Due{
			Envelope: cat.ChannelStatusEvent(c.status()),
			Sending:  func() { c.emit("", trace.CP, trace.UICC, "ENVELOPE: Channel status, listening", 0) },
			Taken:    c.nextClient,
		}, true
	case c.listener.client != nil:
		return cat.Due{
			Envelope: cat.ChannelStatusEvent(cat.ChannelStatus{Channel: c.id, Link: cat.LinkEstablished}),
			Sending: func() {
				c.emit(c.steps.established, trace.CP, trace.UICC, "ENVELOPE: Channel status, link established", 0)
			},
			Taken: c.serveClient,
		}, true
	}
	return cat.Due{}, false
}

// nextClient lets the next client come: the card knows that the channel listens.
func (c *channel) nextClient() {
	c.upDue = false
	select {
	case c.listener.next <- struct{}{}:
	default:
	}
}

// clientGone is checkLink's end of a client's channel: the card is told that it listens again (clause 7.5.11).
func (c *channel) clientGone(err error) {
	if err == nil {
		c.hangUp(false)
	} else {
		c.logClosed()
		c.abort()
	}
	c.server.upDue = true
	c.g.take(c.server)
}

// closeServer ends a channel in UICC server mode, or, with back set, only its client.
func (c *channel) closeServer(back bool) {
	server := c
	if c.server != nil {
		server = c.server
		c.hangUp(true)
	}
	if !back {
		c.g.channels[c.id] = nil
		server.abort()
		return
	}
	c.g.take(server)
	if c != server || server.upDue { // the card knows that it listens, now that it has said so itself
		server.nextClient()
	}
}
