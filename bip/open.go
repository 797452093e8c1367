package bip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// openChannel answers OPEN CHANNEL (clause 6.4.27).
func (g *Gateway) openChannel(cmd cat.Command, o *cat.OpenChannel) cat.Answer {
	granted := min(int(o.BufferSize), g.cfg.BufferLimit)
	refuseOpen := func(r cat.Result) cat.Answer { // clause 6.8: what was asked for is repeated, and there is no channel status
		g.emitUnnamed(cmd, r)
		return refuse(cmd, r, grantedObjects(o, int(o.BufferSize))...)
	}
	id := g.freeChannel()
	switch {
	case id == 0:
		return refuseOpen(bipError(cat.BIPNoChannel))
	case o.BufferSize == 0:
		return refuseOpen(bipError(cat.BIPBufferUnavailable))
	}
	req, err := g.request(cmd, o, id, granted)
	if err == nil {
		err = g.mayConnect()
	}
	if err == nil {
		var b Bearer
		if b, err = g.cfg.Router.Route(req); err == nil {
			return g.open(cmd, o, g.newChannel(req, b))
		}
	}
	g.log.Warn("OPEN CHANNEL refused", "bearer", req.Bearer.Type, "network", req.Network, "remote", req.Remote, "error", err)
	return refuseOpen(CauseOf(err).result())
}

// emitUnnamed traces a command that was refused before it had a method.
func (g *Gateway) emitUnnamed(cmd cat.Command, r cat.Result) {
	if t := g.cfg.Trace; t.Wanted() {
		t.Emit(trace.Event{Card: g.cfg.Card, From: trace.UICC, To: trace.CP, What: "FETCH: " + cmd.Details.Type.String()})
		t.Emit(trace.Event{Card: g.cfg.Card, From: trace.CP, To: trace.UICC, What: "TERMINAL RESPONSE: " + r.String()})
	}
}

// freeChannel is the lowest channel that is not open. A dropped one that the card has not closed is given out only when
// no other is left; 0 where none is.
func (g *Gateway) freeChannel() int {
	last := 0
	for id := cat.MaxChannels; id >= 1; id-- {
		if g.channels[id] == nil {
			last = id
		}
	}
	for id := 1; id <= cat.MaxChannels && last == 0; id++ {
		if c := g.channels[id]; c.state == dropped && !c.downDue {
			last = id
		}
	}
	return last
}

// request turns the card's wish into what a bearer needs.
func (g *Gateway) request(cmd cat.Command, o *cat.OpenChannel, id, granted int) (Request, error) {
	r := Request{Card: g.cfg.Card, Channel: id, Buffer: granted, FinishTime: g.cfg.FinishTime, Login: o.Login, Password: o.Password}
	if o.Bearer != nil {
		r.Bearer = *o.Bearer
		if !built(r.Bearer.Type) {
			return r, &Error{CauseBearer, fmt.Errorf("%v", r.Bearer.Type)}
		}
	}
	if o.NetworkAccessName != nil {
		r.NetworkAccessName = string(*o.NetworkAccessName)
	}
	if o.LocalAddress != nil {
		r.Local = *o.LocalAddress
	}
	r.KeptAccess = g.takeKept(r.NetworkAccessName)
	if cmd.Details.Qualifier&cat.OpenDNSRequest != 0 {
		return r, nil
	}
	if o.Transport == nil {
		return r, &Error{CauseTransport, fmt.Errorf("no transport level: the card would send packets of its own")}
	}
	switch o.Transport.Protocol {
	case cat.TCPClientRemote:
		r.Network = "tcp"
	case cat.UDPClientRemote:
		r.Network = "udp"
	case cat.TCPServer:
		if !g.cfg.Listen {
			return r, &Error{CauseTransport, fmt.Errorf("%v is not offered", o.Transport.Protocol)}
		}
		r.Network, r.Listen = "tcp", true
	case cat.TCPClientLocal:
		r.Network, r.OnTerminal = "tcp", true
	case cat.UDPClientLocal:
		r.Network, r.OnTerminal = "udp", true
	default:
		return r, &Error{CauseTransport, fmt.Errorf("%v", o.Transport.Protocol)}
	}
	if o.Transport.Port == 0 && !r.Listen {
		return r, &Error{CauseUnreachable, fmt.Errorf("port 0 is nobody's")} // TCP would be refused, UDP be lost
	}
	var destination netip.Addr
	switch {
	case r.OnTerminal:
		destination = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case o.Destination != nil && !r.Listen:
		destination = *o.Destination
	}
	r.Remote = netip.AddrPortFrom(destination, o.Transport.Port)
	return r, nil
}

func (g *Gateway) newChannel(req Request, b Bearer) *channel {
	c := &channel{
		g: g, id: req.Channel, req: req, bearer: b, steps: stepsOf(b.Method()), since: time.Now(),
		tx: newTxBuffer(req.Buffer), settled: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(g.ctx)
	return c
}

// take puts the channel into the table.
func (g *Gateway) take(c *channel) { g.channels[c.id] = c }

// open goes on once the bearer is known: by one of the four ways in which the link can come about.
func (g *Gateway) open(cmd cat.Command, o *cat.OpenChannel, c *channel) cat.Answer {
	q := cmd.Details.Qualifier
	c.auto = q&cat.OpenAutoReconnect != 0
	c.emit(c.steps.open, trace.UICC, trace.CP, "FETCH: OPEN CHANNEL", 0)
	switch {
	case q&cat.OpenDNSRequest != 0:
		return g.openForDNS(cmd, o, c)
	case c.req.Listen:
		return g.listen(cmd, o, c)
	case q&cat.OpenBackground != 0:
		g.take(c)
		d := c.bearer.Prepare(c.ctx, c.req)
		a := c.opened(cmd, o)
		a.Sent = func() { g.running.Go(func() { g.connectInBackground(c, d) }) }
		return a
	case q&cat.OpenImmediate == 0:
		g.take(c)
		c.state = onDemand
		return c.opened(cmd, o)
	}
	g.take(c)
	return g.connect(c, func(err error) cat.Answer {
		if err != nil {
			g.channels[c.id] = nil
			c.cancel()
			return c.answerOpen(cmd, CauseOf(err).result(), grantedObjects(o, c.req.Buffer))
		}
		return c.opened(cmd, o)
	})
}

// opened is the answer to an OPEN CHANNEL that got its channel.
func (c *channel) opened(cmd cat.Command, o *cat.OpenChannel, more ...cat.TLV) cat.Answer {
	c.g.opened[c.id] = true
	result := cat.OK
	if c.req.Buffer < int(o.BufferSize) {
		result = cat.Result{General: cat.ResultModified}
	}
	objects := append([]cat.TLV{cat.ChannelStatusObject(c.status())}, grantedObjects(o, c.req.Buffer)...)
	return c.answerOpen(cmd, result, append(objects, more...))
}

func (c *channel) answerOpen(cmd cat.Command, r cat.Result, objects []cat.TLV) cat.Answer {
	return cat.Answer{
		Response: cat.Respond(cmd, r, objects...),
		Sending:  func() { c.emitResponse(c.steps.answered, r, 0) },
	}
}

// maxParameters are the octets of bearer parameters that fit a response next to maxDNSServers addresses; those of
// clause 8.52 have at most 17. Longer ones are not repeated.
const maxParameters = 64

func grantedObjects(o *cat.OpenChannel, buffer int) []cat.TLV {
	var objects []cat.TLV
	if o.Bearer != nil {
		b := *o.Bearer
		if len(b.Parameters) > maxParameters {
			b.Parameters = nil
		}
		objects = append(objects, cat.BearerObject(b))
	}
	return append(objects, cat.BufferSizeObject(uint16(buffer)))
}

// openForDNS answers a DNS server address request.
func (g *Gateway) openForDNS(cmd cat.Command, o *cat.OpenChannel, c *channel) cat.Answer {
	g.take(c)
	return cat.Answer{Wait: func(ctx context.Context) func() cat.Answer {
		ctx, cancel := context.WithTimeout(ctx, g.cfg.ConnectTimeout)
		defer cancel()
		servers, err := c.bearer.DNSServers(ctx, c.req)
		return func() cat.Answer {
			if err == nil && len(servers) == 0 {
				err = &Error{CauseNoNetwork, fmt.Errorf("no DNS server is known")}
			}
			if err != nil {
				g.log.Warn("DNS server address request failed", "channel", c.id, "error", err)
				g.channels[c.id] = nil
				c.cancel()
				return c.answerOpen(cmd, CauseOf(err).result(), grantedObjects(o, c.req.Buffer))
			}
			c.state = named
			var more []cat.TLV
			for _, s := range servers[:min(len(servers), maxDNSServers)] {
				more = append(more, cat.DNSServerObject(s))
			}
			return c.opened(cmd, o, more...)
		}
	}}
}

// maxDNSServers fit a response also with the longest addresses.
const maxDNSServers = 8

// connect makes the link while the command is outstanding; then answers it.
func (g *Gateway) connect(c *channel, answer func(error) cat.Answer) cat.Answer {
	c.state = opening
	d := c.bearer.Prepare(c.ctx, c.req)
	return cat.Answer{Wait: func(ctx context.Context) func() cat.Answer {
		conn, err := g.dial(ctx, c, d)
		return func() cat.Answer {
			c.adopt(conn, err)
			return answer(err)
		}
	}}
}

func (g *Gateway) connectInBackground(c *channel, d Dialer) {
	conn, err := g.dial(c.ctx, c, d)
	g.deliver(c, conn, err)
}

// deliver takes the result of a connect that no command waits for to the card's goroutine.
func (g *Gateway) deliver(c *channel, conn net.Conn, err error) {
	posted := g.session.Post(func() {
		if g.channels[c.id] != c { // closed or reset in the meantime
			g.discard(conn)
			return
		}
		c.adopt(conn, err)
		switch {
		case err == nil:
			c.upDue = true
		case c.lost: // the card knows already
			c.state, c.lost = dropped, false
			c.abort()
		default:
			c.drop()
		}
	})
	if !posted {
		g.discard(conn)
	}
}

// discard closes a connection, if there is one, that came too late.
func (g *Gateway) discard(conn net.Conn) {
	if conn != nil {
		g.running.Go(func() { conn.Close() })
	}
}

func (c *channel) adopt(conn net.Conn, err error) {
	close(c.settled)
	if err == nil {
		c.lost = false
		c.connected(conn)
	}
}

// dial makes the connection within the time limit, and logs why it could not.
func (g *Gateway) dial(ctx context.Context, c *channel, d Dialer) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ConnectTimeout)
	defer cancel()
	conn, err := d.Dial(ctx)
	if err != nil {
		g.log.Warn("connection failed", "channel", c.id, "method", int(c.bearer.Method()), "network", c.req.Network,
			"remote", c.req.Remote, "cause", CauseOf(err), "error", err)
		c.emitFailure(err)
	}
	return conn, err
}

func (c *channel) emitFailure(err error) {
	if t := c.g.cfg.Trace; t.Wanted() {
		t.Emit(trace.Event{Card: c.g.cfg.Card, Channel: c.id, From: trace.CP, To: trace.Server,
			What: "connection failed: " + CauseOf(err).String(), Err: err.Error()})
	}
}
