package ap

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"bipd/ptylink"
	"bipd/tcpend"
	"bipd/trace"
)

const (
	// streamChunk and datagramChunk are the memory of a connection in one direction: the rest waits in the kernel's socket
	// buffer, in the multiplexer's bounded ones or, told by flow control, at the CP.
	streamChunk   = 16 << 10
	datagramChunk = ptylink.MaxDatagram
)

// uplink copies from the CP to the server. When the CP has ended the DLC in order, all it sent is with the server: FIN follows.
func (c *conn) uplink() {
	serverErr, cpErr := c.copyUp()
	switch {
	case serverErr != nil: // it is recorded; the downlink brings what the server sent before
		return
	case !errors.Is(cpErr, io.EOF): // what the CP sent may be incomplete
		c.abort(fmt.Errorf("%w: %w", errLostCP, cpErr))
		return
	}
	c.end(errClosedCP)
	c.emitClose()
	c.line.free(c)
	if err := c.finish(); err != nil {
		c.end(err)
	}
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
	case c.datagrams() && !errors.Is(err, net.ErrClosed):
		c.lost.Add(1)
		return nil
	}
	if !errors.Is(err, net.ErrClosed) { // else it was closed here, for a reason that is told
		c.unwritten.Add(int64(len(p) - n))
	}
	c.end(err)
	return err
}

// downlink copies from the server to the CP. It returns when the server's side has ended. What that sends after the CP's
// has ended is discarded; once the server has everything, tcpend.MaxSurplus octets of it at most.
func (c *conn) downlink() {
	buf := make([]byte, c.chunk())
	discarding, surplus := false, 0
	for {
		n, err := c.server.Read(buf)
		if c.datagrams() && lost(err) {
			c.lost.Add(1)
			continue
		}
		if !discarding && (n > 0 || err == nil && c.datagrams()) {
			c.emit("S710", trace.Server, trace.AP, "data", n)
			_, err := c.cp.Write(buf[:n])
			if discarding = err != nil; !discarding { // else the uplink learns why
				c.down.Add(int64(n))
			}
		}
		if c.delivered.Load() {
			surplus += n
		}
		switch {
		case surplus > tcpend.MaxSurplus:
			c.log.Info("connection closed: the server goes on sending", "discarded", surplus)
			return
		case errors.Is(err, io.EOF):
			c.end(c.serverEnd())
			return
		case err != nil:
			c.end(err)
			return
		}
	}
}

// serverEnd is what the end of the server's stream means. The error of a RST is given once, to whoever asks first: it may be
// the uplink, which then is about to record it.
func (c *conn) serverEnd() error {
	if _, over := c.unacknowledged(); !over {
		return errClosedSrv
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return unix.ECONNRESET
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
