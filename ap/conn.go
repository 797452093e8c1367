package ap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bipd/ptylink"
	"bipd/tcpend"
	"bipd/trace"
)

// dlc is a channel's DLC; *mux.DLC is one.
type dlc interface {
	net.Conn
	Done() <-chan struct{} // closed when the DLC has ended
	Err() error            // after Done: why; io.EOF where the CP has ended it in order, behind all its data
}

// orderly reports whether the CP has ended the DLC in order.
func orderly(d dlc) bool { return errors.Is(d.Err(), io.EOF) }

// conn couples one connection with its channel's DLC. Two goroutines copy, one each way; run attends to them:
//
//	connecting --connected--> coupled --DISC of the CP--> all it sent is written to the server, then FIN --> finishing
//	                                  --server's FIN--> told by %WEBSTAT; the CP ends its direction as above --> finishing
//	                                  --server's RST--> told by %WEBSTAT, DLC closed --> closed
//	                                  --DLC torn, line down--> closed by RST
//	finishing --the server's FIN, all acknowledged; or FinishTime without progress--> closed
//	          --all acknowledged, and Wait is called or the server goes on sending--> closed
//
// A TCP connection is reset when it is closed (SO_LINGER) until the CP has ended its DLC in order and all that came on it
// is with the kernel: the server sees FIN behind everything that a card was told is sent, and else a reset.
type conn struct {
	line    *line
	channel int
	network string // "tcp" or "udp"
	dst     netip.AddrPort
	log     *slog.Logger
	cancel  context.CancelFunc // of connecting
	dlc     dlc
	cp      net.Conn // dlc, with datagram framing for UDP
	start   time.Time

	up, down, lost atomic.Int64  // octets to the server, octets to the CP, datagrams that a socket error ate
	delivered      atomic.Bool   // the server has acknowledged everything, and FIN
	unwritten      atomic.Int64  // octets that the server's end kept from being written, as far as they were read
	writing        sync.Mutex    // held by the uplink from a write to the server until its error is recorded
	closed         chan struct{} // closed by AT%WEBCLCH
	closeOnce      sync.Once
	emitOnce       sync.Once

	mu      sync.Mutex
	server  net.Conn // nil while connecting
	cause   error    // why it ended, the first reason given
	aborted bool     // it was or will be reset
}

func (c *conn) datagrams() bool { return c.network == "udp" }

// end records why the connection ended; the first cause stays.
func (c *conn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
	}
}

func (c *conn) endedBy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// abort ends the connection at once, with RST where there is one.
func (c *conn) abort(cause error) {
	c.end(cause)
	c.cancel()
	c.dlc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = true
	if c.server != nil {
		_ = tcpend.ResetOnClose(c.server, true) // an error: it is closed, or UDP
		c.server.Close()
	}
}

// finish sends FIN behind all that was written, unless the connection was aborted: this is its orderly end. From now on
// the kernel brings what is written to the server whatever becomes of this process.
func (c *conn) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	half, ok := c.server.(interface{ CloseWrite() error })
	switch {
	case c.aborted:
		return net.ErrClosed
	case !ok: // UDP
		return c.server.Close()
	}
	if err := tcpend.ResetOnClose(c.server, false); err != nil {
		return err
	}
	return half.CloseWrite()
}

// attach takes the connection made.
func (c *conn) attach(server net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = tcpend.ResetOnClose(server, true)
	c.server = server
	c.cp = c.dlc
	if c.datagrams() {
		c.cp = ptylink.NewDatagramConn(c.dlc)
	}
	c.start = time.Now()
}

// run copies until the connection has ended, and cleans up.
func (c *conn) run() {
	ended := c.line.running.Done // the line waits for it, but not for an orderly end under way
	defer func() { ended() }()
	c.attend(func() {
		ended = c.line.ap.finish(c.line.name)
		c.line.running.Done()
	})
	c.dlc.Close() // DISC follows what was forwarded
	c.emitClose()
	c.server.Close()
	c.line.free(c)
	c.log.Info("channel closed", "cause", c.endedBy(), "octets_up", c.up.Load(), "octets_down", c.down.Load(),
		"datagrams_lost", c.lost.Load(), "duration", time.Since(c.start).Round(time.Millisecond))
}

// attend waits for the end of both directions, and has each end follow from what ended before. finishing is called once
// the CP has ended the DLC in order.
func (c *conn) attend(finishing func()) {
	up, down := make(chan struct{}), make(chan struct{})
	go func() { defer close(up); c.uplink() }()
	go func() { defer close(down); c.downlink() }()
	ended, closed := c.dlc.Done(), c.closed
	var w wait
	defer w.stop()
	for up != nil || down != nil || w.running() && c.awaited() {
		select {
		case <-ended:
			ended = nil
			if !orderly(c.dlc) {
				c.abort(fmt.Errorf("%w: %w", errLostCP, c.dlc.Err()))
				continue
			}
			finishing()
			w.start(c.line.ap.cfg.FinishTime)
		case <-closed:
			closed = nil
			w.start(c.line.ap.cfg.FinishTime)
		case <-up:
			up = nil
			if over(c.dlc) && orderly(c.dlc) {
				w.start(c.line.ap.cfg.FinishTime) // though the end of the DLC may be seen only after this
			}
		case <-down:
			down = nil
			c.serverEnded()
		case <-w.tick:
			left, _ := c.unacknowledged()
			whole := up == nil && left == 0 // it has everything; only its FIN did not come
			c.delivered.Store(whole)
			if !w.Over(c.up.Load()-int64(left)) && !(whole && c.line.ap.waiting.Load()) {
				continue
			}
			w.stop()
			if whole {
				c.server.Close() // ends the downlink, where the server has not
				continue
			}
			c.log.Warn("connection reset: not everything could be sent in time", "finish_time", c.line.ap.cfg.FinishTime,
				"unacknowledged", left, "dlc_ended", ended == nil)
			c.abort(errStalled)
		}
	}
	unwritten := c.unwritten.Load()
	if left, over := c.unacknowledged(); left > 0 && over || unwritten > 0 {
		c.log.Warn("connection lost: not everything was delivered", "unacknowledged", int64(left)+unwritten)
	}
}

// serverEnded follows the end of the downlink.
func (c *conn) serverEnded() {
	cause := c.endedBy()
	stat := ptylink.WebStat{Channel: c.channel, State: ptylink.WebClosed, Cause: cmeOf(cause)}
	switch {
	case errors.Is(cause, errClosedSrv) && c.closing(): // by DISC that is there or to come
	case errors.Is(cause, errClosedSrv) && c.line.wantsReports():
		stat.State, stat.Cause, stat.Octets = ptylink.WebEnding, 0, uint64(c.down.Load())
		c.line.report(c, stat) // the CP ends its direction, and with it the DLC
	case errors.Is(cause, errClosedSrv): // and the CP has no way to tell what of its data is still under way
		c.dlc.Close()
		c.abort(cause)
	case broken(cause) && over(c.dlc): // the uplink finds out whether there is more that cannot be delivered
	case broken(cause):
		c.line.report(c, stat)
		c.dlc.Close()
	}
}

// shutdown carries out AT%WEBCLCH: what the server still sends is not wanted any more. The connection ends when the CP has
// ended the DLC.
func (c *conn) shutdown() {
	if !c.connected() {
		c.abort(errClosedCP)
		return
	}
	c.closeOnce.Do(func() { close(c.closed) })
	c.dlc.SetWriteDeadline(time.Now())
}

// closing reports whether the CP has closed the channel: the end of its DLC is here or will come.
func (c *conn) closing() bool {
	select {
	case <-c.closed:
		return true
	default:
		return over(c.dlc)
	}
}

func (c *conn) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server != nil
}

// over reports whether the DLC has ended, whatever of it is still to be read.
func over(d dlc) bool {
	select {
	case <-d.Done():
		return true
	default:
		return false
	}
}

// emitClose emits S718 once, before the connection is closed from this side.
func (c *conn) emitClose() {
	c.emitOnce.Do(func() { c.emit("S718", trace.AP, trace.Server, "close", 0) })
}

// emit puts the transport's name in front of what.
func (c *conn) emit(step string, from, to trace.Party, what string, octets int) {
	if c.line.ap.cfg.Trace.Wanted() {
		what = c.transport() + " " + what
		c.line.emit(trace.Event{Channel: c.channel, Step: step, From: from, To: to, What: what, Bytes: octets})
	}
}

func (c *conn) transport() string {
	if c.datagrams() {
		return "UDP"
	}
	return "TCP"
}

// broken tells a connection that failed at the server's side from one that was closed or that the CP has lost.
func broken(cause error) bool {
	for _, other := range []error{errClosedCP, errClosedSrv, errLineDown, errLostCP, errStalled} {
		if errors.Is(cause, other) {
			return false
		}
	}
	return cause != nil
}
