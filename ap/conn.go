package ap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bipd/ptylink"
	"bipd/trace"
)

const (
	// streamChunk and datagramChunk are the only memory a connection has in one direction: the rest waits in the
	// kernel's socket buffer or, told by flow control, at the CP.
	streamChunk   = 16 << 10
	datagramChunk = ptylink.MaxDatagram

	// closeQuiet is the silence after AT%WEBCLCH that says that no data is under way any more: AT commands overtake data
	// on the multiplexer. It is longer than a frame of 512 octets takes at 115200 bit/s.
	closeQuiet = 100 * time.Millisecond

	// stuckSweeps, one each Linger, without a chunk written end a connection whose DLC is closed.
	stuckSweeps = 5

	// maxDiscard bounds what is read in wait of the FIN of a server that goes on sending after the CP has closed.
	maxDiscard = 1 << 20
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
	server  net.Conn  // nil while connecting
	cause   error     // why it ended, the first reason given
	closeBy time.Time // AT%WEBCLCH came: the uplink ends then at the latest
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

// run copies until the connection has ended, and cleans up.
func (c *conn) run() {
	defer c.line.running.Done()
	go c.uplink()
	c.downlink()
	c.emitClose()
	cause := c.endedBy()
	if broken(cause) && c.line.connOf(c.channel) == c {
		c.line.notify(ptylink.WebStat{Channel: c.channel, State: ptylink.WebClosed, Cause: cmeOf(cause)}.Line())
	}
	c.dlc.Close() // DISC follows what was forwarded; it also ends the uplink's read
	c.server.SetWriteDeadline(time.Now().Add(c.line.ap.cfg.Linger))
	<-c.upDone
	c.server.Close()
	c.line.free(c)
	c.log.Info("channel closed", "cause", c.endedBy(), "octets_up", c.up.Load(), "octets_down", c.down.Load(),
		"datagrams_lost", c.lost.Load(), "duration", time.Since(c.start).Round(time.Millisecond))
}

// uplink copies from the CP to the server. When the CP's side has ended, all it sent is with the server: FIN follows.
func (c *conn) uplink() {
	defer close(c.upDone)
	serverErr, cpErr := c.copyUp()
	if serverErr != nil { // recorded: the downlink brings what the server sent before
		c.server.SetReadDeadline(time.Now().Add(c.line.ap.cfg.Linger))
		return
	}
	if !errors.Is(cpErr, io.EOF) && !expired(cpErr) && c.endedBy() == nil {
		c.abort(fmt.Errorf("%w: %w", errLostCP, cpErr)) // what the CP sent may be incomplete
		return
	}
	c.end(errClosedCP)
	c.emitClose()
	c.line.free(c)
	tcp, ok := c.server.(interface{ CloseWrite() error })
	if !ok {
		c.server.Close()
		return
	}
	tcp.CloseWrite()
	c.server.SetReadDeadline(time.Now().Add(c.line.ap.cfg.Linger))
}

// copyUp returns the error of the side that failed; the server's is recorded.
func (c *conn) copyUp() (serverErr, cpErr error) {
	buf := make([]byte, c.chunk())
	for {
		n, err := c.cp.Read(buf)
		if n > 0 || err == nil && c.datagrams() {
			if err := c.writeServer(buf[:n]); err != nil {
				return err, nil
			}
		}
		if err != nil {
			return nil, err
		}
		if by := c.closingBy(); !by.IsZero() {
			c.dlc.SetReadDeadline(earlier(by, time.Now().Add(closeQuiet)))
		}
	}
}

// writeServer writes to the server and records its error. A datagram is lost with an error, not the connection; the error
// that a UDP socket gives first may be an earlier datagram's, then this one was not sent and is written again.
func (c *conn) writeServer(p []byte) error {
	c.emit("S709", trace.AP, trace.Server, "data", len(p))
	c.writing.Lock()
	defer c.writing.Unlock()
	n, err := c.server.Write(p)
	if c.datagrams() && lost(err) {
		c.lost.Add(1)
		n, err = c.server.Write(p)
	}
	c.up.Add(int64(n))
	switch {
	case err == nil:
		return nil
	case c.datagrams() && !errors.Is(err, net.ErrClosed) && !expired(err):
		c.lost.Add(1)
		return nil
	case expired(err): // a deadline is set only once the connection is to end
		c.abort(errStalled)
		return err
	}
	c.end(err)
	return err
}

// downlink copies from the server to the CP. It returns when the server's side has ended; what it sends after the CP's
// has ended is discarded.
func (c *conn) downlink() {
	buf := make([]byte, c.chunk())
	discarding, discarded := false, 0
	for discarded < maxDiscard {
		n, err := c.server.Read(buf)
		if c.datagrams() && lost(err) {
			c.lost.Add(1)
			continue
		}
		if discarding {
			discarded += n
		} else if n > 0 || err == nil && c.datagrams() {
			c.emit("S710", trace.Server, trace.AP, "data", n)
			if _, err := c.cp.Write(buf[:n]); err != nil { // the uplink learns why
				discarding = true
				c.server.SetDeadline(time.Now().Add(c.line.ap.cfg.Linger))
			} else {
				c.down.Add(int64(n))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			// The error of a RST is given once, to whoever asks first: the uplink may be about to record it.
			c.server.SetWriteDeadline(time.Now().Add(c.line.ap.cfg.Linger))
			c.writing.Lock()
			c.end(errClosedSrv)
			c.writing.Unlock()
			return
		case expired(err):
			return
		case err != nil:
			c.end(err)
			return
		}
	}
}

// lost tells the error of a UDP socket that ICMP brought about, for an earlier datagram; it is given once.
func lost(err error) bool {
	for _, errno := range []error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENOPROTOOPT, unix.EACCES} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// shutdown carries out AT%WEBCLCH: it returns when what the CP sent is with the server and FIN is sent, or when that
// takes longer than Linger. What the server still sends is not wanted.
func (c *conn) shutdown(ctx context.Context) {
	c.mu.Lock()
	connected := c.server != nil
	c.closeBy = time.Now().Add(c.line.ap.cfg.Linger)
	by := c.closeBy
	c.mu.Unlock()
	if !connected {
		c.abort(errClosedCP)
		return
	}
	c.dlc.SetWriteDeadline(time.Now())
	c.server.SetWriteDeadline(by)
	c.dlc.SetReadDeadline(earlier(by, time.Now().Add(closeQuiet)))
	select {
	case <-c.upDone:
	case <-ctx.Done():
	}
	c.dlc.Close()
}

// sweep gives the connection up whose DLC the CP has closed, when the uplink cannot notice because it waits for a server
// that does not read: nothing was written in stuckSweeps sweeps.
func (c *conn) sweep() {
	c.mu.Lock()
	connected := c.server != nil
	c.mu.Unlock()
	up := c.up.Load()
	if !connected || up != c.swept.up {
		c.swept.up, c.swept.stuck = up, 0
		return
	}
	if _, err := c.dlc.Write(nil); err == nil { // writes nothing, but fails on a DLC that has ended
		return
	}
	if c.swept.stuck++; c.swept.stuck >= stuckSweeps {
		c.abort(errStalled)
	}
}

func (c *conn) closingBy() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeBy
}

func (c *conn) chunk() int {
	if c.datagrams() {
		return datagramChunk
	}
	return streamChunk
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

// expired tells a deadline set here from a time-out of TCP.
func expired(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
