package ap

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bipd/ptylink"
	"bipd/trace"
)

const (
	// closeQuiet is the silence after AT%WEBCLCH that says that no data is under way any more: AT commands overtake data
	// on the multiplexer. It is longer than a frame of 512 octets takes at 115200 bit/s.
	closeQuiet = 100 * time.Millisecond

	// serverQuiet is the same after the server's FIN. What is under way then is late; what has arrived is not.
	serverQuiet = 2 * time.Millisecond

	// stuckSweeps, one each Linger, without a chunk written end a connection whose DLC is closed.
	stuckSweeps = 5
)

// conn couples one connection with its channel's DLC. Two goroutines copy, one each way; run ends it:
//
//	connecting --connected--> coupled --DLC ends--> FIN sent, the server's is awaited for Linger --> closed
//	                                  --server's FIN or RST--> what it sent is forwarded, DLC closed --> closed
//	any --abort--> closed
type conn struct {
	line    *line
	channel int
	network string // "tcp" or "udp"
	dst     netip.AddrPort
	log     *slog.Logger
	cancel  context.CancelFunc // of connecting
	dlc     *dlc
	cp      net.Conn // dlc, with datagram framing for UDP
	start   time.Time

	up, down, lost atomic.Int64  // octets to the server, octets to the CP, datagrams that a socket error ate
	writing        sync.Mutex    // held by the uplink from a write to the server until its error is recorded
	upDone         chan struct{} // closed when the uplink has ended
	closeOnce      sync.Once
	swept          struct { // of the line's sweep alone
		up    int64
		stuck int
	}

	mu      sync.Mutex
	server  net.Conn      // nil while connecting
	cause   error         // why it ended, the first reason given
	closeBy time.Time     // once drain was called: when the uplink ends at the latest
	quiet   time.Duration // with closeBy: the silence of the CP after which it ends
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
	server := c.server
	c.mu.Unlock()
	if server == nil {
		return
	}
	if tcp, ok := server.(*net.TCPConn); ok {
		tcp.SetLinger(0) // no FIN: the server must not take a broken stream for a complete one
	}
	server.Close()
}

// attach takes the connection made; it is false, and the connection closed, where the conn was aborted meanwhile.
func (c *conn) attach(server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		server.Close()
		return false
	}
	c.server = server
	c.cp = c.dlc
	if c.datagrams() {
		c.cp = ptylink.NewDatagramConn(c.dlc)
	}
	c.start = time.Now()
	return true
}

// run copies until the connection has ended, and cleans up. The uplink always ends before the DLC is closed here, for
// that drops what it has not read, unless the server takes nothing any more.
func (c *conn) run() {
	defer c.line.running.Done()
	go c.uplink()
	c.downlink()
	switch cause := c.endedBy(); {
	case broken(cause):
		if c.line.connOf(c.channel) == c {
			c.line.notify(ptylink.WebStat{Channel: c.channel, State: ptylink.WebClosed, Cause: cmeOf(cause)}.Line())
		}
		c.server.SetWriteDeadline(time.Now())
		c.dlc.Close()
	case errors.Is(cause, errClosedSrv):
		c.drain(serverQuiet)
	}
	<-c.upDone
	c.dlc.Close() // DISC follows what was forwarded
	c.emitClose()
	c.server.Close()
	c.line.free(c)
	c.log.Info("channel closed", "cause", c.endedBy(), "octets_up", c.up.Load(), "octets_down", c.down.Load(),
		"datagrams_lost", c.lost.Load(), "duration", time.Since(c.start).Round(time.Millisecond))
}

// drain has the uplink end when all that the CP has sent is with the server: when the CP was quiet for so long, after
// Linger at the latest.
func (c *conn) drain(quiet time.Duration) {
	c.mu.Lock()
	c.closeBy, c.quiet = time.Now().Add(c.line.ap.cfg.Linger), quiet
	by := c.closeBy
	c.mu.Unlock()
	c.server.SetWriteDeadline(by)
	c.waitQuiet()
}

// waitQuiet sets the end of the next read from the CP, once drain was called.
func (c *conn) waitQuiet() {
	c.mu.Lock()
	by, end := c.closeBy, time.Now().Add(c.quiet)
	c.mu.Unlock()
	if by.IsZero() {
		return
	}
	if by.Before(end) {
		end = by
	}
	c.dlc.SetReadDeadline(end)
}

// overdue tells that drain has taken too long.
func (c *conn) overdue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closeBy.IsZero() && !time.Now().Before(c.closeBy)
}

// shutdown carries out AT%WEBCLCH: it returns when what the CP sent is with the server and FIN is sent, or when that
// takes longer than Linger. What the server still sends is not wanted.
func (c *conn) shutdown(ctx context.Context) {
	if !c.connected() {
		c.abort(errClosedCP)
		return
	}
	c.dlc.SetWriteDeadline(time.Now())
	c.drain(closeQuiet)
	select {
	case <-c.upDone:
	case <-ctx.Done():
	}
	c.dlc.Close()
}

// orphan is for a connection whose channel the CP has opened anew: it may still send what the CP had sent, within Linger.
func (c *conn) orphan() {
	if !c.connected() {
		c.abort(errReopened)
		return
	}
	c.server.SetWriteDeadline(time.Now().Add(c.line.ap.cfg.Linger))
}

func (c *conn) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server != nil
}

// sweep gives the connection up whose DLC the CP has closed, when the uplink cannot notice because it waits for a server
// that does not read: nothing was written in stuckSweeps sweeps.
func (c *conn) sweep() {
	up := c.up.Load()
	if !c.connected() || up != c.swept.up {
		c.swept.up, c.swept.stuck = up, 0
		return
	}
	if !c.over() {
		return
	}
	if c.swept.stuck++; c.swept.stuck >= stuckSweeps {
		c.abort(errStalled)
	}
}

// over tells that the DLC has ended, whatever of it is still to be read.
func (c *conn) over() bool {
	_, err := c.dlc.Write(nil) // writes nothing, but fails on a DLC that has ended
	return err != nil
}

// emitClose emits S718 once, before the connection is closed from this side.
func (c *conn) emitClose() {
	c.closeOnce.Do(func() { c.emit("S718", trace.AP, trace.Server, "close", 0) })
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
	for _, other := range []error{errClosedCP, errClosedSrv, errLineDown, errLostCP, errReopened, errStalled} {
		if errors.Is(cause, other) {
			return false
		}
	}
	return cause != nil
}
