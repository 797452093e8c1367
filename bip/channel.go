package bip

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"bipd/cat"
	"bipd/tcpend"
	"bipd/trace"
)

// state is where a channel is between OPEN CHANNEL and CLOSE CHANNEL:
//
//	opening -> up -> dropped               immediate and background links
//	up -> opening (lost) -> up ...         automatic reconnection: see reconnect
//	onDemand -> opening -> up -> dropped   the link is made at the first SEND DATA
//	listening                              UICC server mode: see listener
//	named                                  answered a DNS server address request: it has no link
type state int

const (
	opening  state = iota // the bearer makes the connection
	onDemand              // open to the card, not connected yet
	up                    // connected; after the far end's end of data until the card has read all
	dropped               // the far end or the network ended it, and nothing is left to read
	listening
	named
)

func (s state) String() string {
	return [...]string{"opening", "on demand", "established", "dropped", "listening", "no link"}[s]
}

// channel is an open channel. Its state and flags belong to the card's goroutine; what its reader and writer use is set
// before they start and does not change.
type channel struct {
	g      *Gateway
	id     int
	req    Request
	bearer Bearer
	steps  steps
	ctx    context.Context // ends when the channel is given up
	cancel context.CancelFunc
	since  time.Time
	tx     *txBuffer

	listener *listener // in state listening
	server   *channel  // of a client in UICC server mode: the listening channel

	conn       net.Conn // from up on
	rx         *rxBuffer
	readerDone chan struct{} // closed when the far end has no more
	delivered  atomic.Bool   // the far end has everything, and the end
	surplus    atomic.Int64  // octets from it since then

	auto     bool // connect again by itself when the bearer was lost
	lost     bool // in state opening: connects again
	state    state
	settled  chan struct{} // closed when the state opening ends
	failed   bool          // the on-demand link could not be made
	readData bool          // the card read data since it was last told of some
	upDue    bool          // the card is to be told that the link stands
	downDue  bool          // the card is to be told that the link is gone
	received int
}

func (c *channel) status() cat.ChannelStatus {
	s := cat.ChannelStatus{Channel: c.id}
	switch c.state {
	case up, named:
		s.Link = cat.LinkEstablished
	case listening:
		s.Link = cat.LinkListen
	case dropped:
		s.Info = cat.StatusDropped
	case opening:
		if c.lost {
			s.Info = cat.StatusDropped
		}
	}
	return s
}

// connected starts to move data over conn.
func (c *channel) connected(conn net.Conn) {
	c.state, c.conn = up, conn
	c.rx = newRxBuffer(c.req.Buffer, c.req.Network == "udp")
	c.readerDone = make(chan struct{})
	c.g.running.Go(c.receive)
	c.g.running.Go(c.transmit)
	c.g.log.Info("channel connected", "channel", c.id, "method", int(c.bearer.Method()), "network", c.req.Network,
		"remote", c.req.Remote, "local", conn.LocalAddr())
}

// receive moves data from the connection to the buffer until the far end has no more.
func (c *channel) receive() {
	defer c.g.wake()
	err := c.fill()
	close(c.readerDone)
	if client, ok := c.conn.(interface{ AwaitReset() error }); ok && c.server != nil && err == nil {
		err = client.AwaitReset() // it has said all, and waits for the card's answer
	}
	c.rx.end(err)
}

// fill reads until the far end has ended its direction, which is no error, or the connection has failed, or until the far end
// has sent too much after it had everything. It does not read while the buffer is full: that is the back-pressure to the far end.
func (c *channel) fill() error {
	for {
		space := c.rx.space()
		if len(space) == 0 {
			select {
			case <-c.rx.room:
				continue
			case <-c.ctx.Done():
				return context.Cause(c.ctx)
			}
		}
		n, err := c.conn.Read(space)
		if n > 0 {
			tell := func() { c.emit(c.steps.fromServer, c.steps.peer, trace.CP, c.transport()+" data", n) }
			if c.rx.filled(n, tell) {
				c.g.wake()
			}
		}
		if c.delivered.Load() && c.surplus.Add(int64(n)) > tcpend.MaxSurplus {
			return errSurplus
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case c.rx.datagram && errors.Is(err, syscall.ECONNREFUSED):
			// an ICMP message about one datagram does not end a UDP channel
		default:
			return err
		}
	}
}

// transmit writes what the card sent. After an error the reader will meet the end too, and the card hear of it; until
// then it can send no more.
func (c *channel) transmit() {
	for {
		select {
		case s := <-c.tx.slabs:
			c.emit(c.steps.toServer, trace.CP, c.steps.peer, c.transport()+" data", len(s.data))
			write := c.writeStream
			if c.rx.datagram {
				write = c.writeDatagram
			}
			err := write(s.data)
			close(s.written)
			if err != nil && c.ctx.Err() == nil {
				c.g.log.Info("sending failed", "channel", c.id, "remote", c.req.Remote, "error", err)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// writeSize is how many octets of a stream are written at a time. It is little enough for a slow line to show progress.
const writeSize = 4096

func (c *channel) writeStream(data []byte) error {
	for piece := range slices.Chunk(data, writeSize) {
		n, err := c.conn.Write(piece)
		c.tx.wrote(n)
		if err != nil {
			c.tx.broken.Store(true)
			return err
		}
	}
	return nil
}

func (c *channel) writeDatagram(data []byte) error {
	n, err := c.conn.Write(data)
	if errors.Is(err, syscall.ECONNREFUSED) { // of the datagram before: this one was not sent
		n, err = c.conn.Write(data)
	}
	c.tx.sent.Add(int64(n))
	c.tx.unsent.Add(-int64(len(data))) // sent or lost
	return err
}

// checkLink moves a channel whose far end is gone to dropped, once the card has read everything.
func (c *channel) checkLink() {
	if c.state != up {
		return
	}
	ended, drained, err := c.rx.finished()
	if !ended || !drained {
		return
	}
	cause := "closed by the far end"
	if err != nil {
		cause = err.Error()
	}
	c.g.log.Info("link dropped", "channel", c.id, "remote", c.req.Remote, "cause", cause)
	if c.server != nil {
		c.clientGone(err)
		return
	}
	if c.auto && bearerLost(err) {
		c.reconnect()
		return
	}
	if err != nil {
		c.drop()
		return
	}
	whole := c.tx.kept() == 0
	c.markDropped()
	c.startFinish(whole) // the far end may still take what was sent before
}

// drop tears the connection, if any, and has the card told.
func (c *channel) drop() {
	c.markDropped()
	c.abort()
}

func (c *channel) markDropped() { c.state, c.downDue, c.upDue = dropped, true, false }

// abort tears the connection: the far end gets a reset.
func (c *channel) abort() {
	c.cancel()
	if l := c.listener; l != nil {
		l.Close()
		c.g.discard(l.client)
	}
	if conn := c.conn; conn != nil {
		c.g.running.Go(func() { conn.Close() })
	}
}

// hangUp gives the channel up. The far end gets all that was sent. What was only stored is discarded: by the card where it
// closed the channel (clause 6.4.28), and else the far end must not take its stream for complete.
func (c *channel) hangUp(closed bool) {
	c.logClosed()
	switch c.state {
	case up:
		c.startFinish(closed || c.tx.kept() == 0)
	case dropped: // its connection is ending already
	default:
		c.abort()
	}
}

func (c *channel) logClosed() {
	c.g.log.Info("channel closed", "channel", c.id, "remote", c.req.Remote, "received", c.received,
		"sent", c.tx.sent.Load(), "unsent", c.tx.kept(), "duration", time.Since(c.since).Round(time.Millisecond))
}

func (c *channel) transport() string { return strings.ToUpper(c.req.Network) }

func (c *channel) emit(step string, from, to trace.Party, what string, bytes int) {
	t := c.g.cfg.Trace
	if t.Wanted() {
		t.Emit(trace.Event{Card: c.g.cfg.Card, Channel: c.id, Step: step, From: from, To: to, What: what, Bytes: bytes})
	}
}

// emitResponse traces the TERMINAL RESPONSE to a command for the channel.
func (c *channel) emitResponse(step string, r cat.Result, bytes int) {
	if c.g.cfg.Trace.Wanted() {
		c.emit(step, trace.CP, trace.UICC, "TERMINAL RESPONSE: "+r.String(), bytes)
	}
}
