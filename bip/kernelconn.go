package bip

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"bipd/tcpend"
)

// kernelConn is a TCP connection of the host's stack as a HalfCloser. As long as it is open SO_LINGER stands with a time
// of 0: closing resets it, whether it is closed here or by the kernel when the process ends.
type kernelConn struct {
	*net.TCPConn
	finishTime time.Duration
	ended      atomic.Bool // FIN was sent, or waits in the kernel's queue
}

// newKernelConn gives a TCP connection the two ends of a HalfCloser. It returns others as they are.
func newKernelConn(conn net.Conn, finishTime time.Duration) (net.Conn, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, nil
	}
	if err := tcpend.ResetOnClose(tcp, true); err != nil {
		tcp.Close()
		return nil, err
	}
	return &kernelConn{TCPConn: tcp, finishTime: finishTime}, nil
}

// CloseWrite sends FIN and waits until the far end has acknowledged it and everything before.
func (c *kernelConn) CloseWrite() error {
	err := tcpend.ResetOnClose(c.TCPConn, false)
	if err == nil {
		err = c.TCPConn.CloseWrite()
	}
	if err == nil {
		c.ended.Store(true)
		err = awaitDelivery(c.finishTime, c.queued)
	}
	if err != nil {
		_ = tcpend.ResetOnClose(c.TCPConn, true)
	}
	return err
}

// Undelivered is the number of octets in the kernel's queue.
func (c *kernelConn) Undelivered() int {
	n, _ := c.queued()
	if n > 0 && c.ended.Load() {
		n-- // FIN counts as one
	}
	return n
}

// queued is how many octets, FIN among them, the far end has not acknowledged. The error is errCut where it never will.
func (c *kernelConn) queued() (int, error) {
	n, over, err := tcpend.Unacknowledged(c.TCPConn)
	if err == nil && n > 0 && over {
		err = errCut
	}
	return n, err
}

// AwaitReset waits until a far end that has ended its direction is gone altogether: it has reset the connection, or does
// not answer any more. It returns the reason, or net.ErrClosed.
func (c *kernelConn) AwaitReset() error { return tcpend.AwaitOver(c.TCPConn) }

var _ interface {
	HalfCloser
	undeliverer
	syscall.Conn
} = (*kernelConn)(nil)
