package ap

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"bipd/ptylink"
	"bipd/trace"
)

const (
	// streamChunk and datagramChunk are the memory of a connection in one direction: the rest waits in the kernel's socket
	// buffer, in the multiplexer's bounded ones or, told by flow control, at the CP.
	streamChunk   = 16 << 10
	datagramChunk = ptylink.MaxDatagram

	// maxDiscard bounds what is read in wait of the FIN of a server that goes on sending after the CP has closed.
	maxDiscard = 1 << 20
)

// uplink copies from the CP to the server. When the CP's side has ended, all it sent is with the server: FIN follows.
func (c *conn) uplink() {
	defer close(c.upDone)
	serverErr, cpErr := c.copyUp()
	if serverErr != nil { // recorded: the downlink brings what the server sent before
		c.server.SetReadDeadline(time.Now().Add(c.line.ap.cfg.Linger))
		return
	}
	switch {
	case errors.Is(cpErr, io.EOF):
	case expired(cpErr) && !c.overdue():
	case expired(cpErr):
		c.abort(errStalled)
		return
	default: // what the CP sent may be incomplete
		c.abort(fmt.Errorf("%w: %w", errLostCP, cpErr))
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
		if n == 0 && expired(err) && !c.overdue() {
			// The silence may have been this goroutine's: what came meanwhile is read now.
			c.dlc.SetReadDeadline(time.Now().Add(serverQuiet))
			n, err = c.cp.Read(buf)
		}
		if n > 0 || err == nil && c.datagrams() {
			if err := c.writeServer(buf[:n]); err != nil {
				return err, nil
			}
		}
		if err != nil {
			return nil, err
		}
		c.waitQuiet()
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

func (c *conn) chunk() int {
	if c.datagrams() {
		return datagramChunk
	}
	return streamChunk
}

// expired tells a deadline set here from a time-out of TCP.
func expired(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
