package bip

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	if err := tcp.SetLinger(0); err != nil {
		tcp.Close()
		return nil, err
	}
	return &kernelConn{TCPConn: tcp, finishTime: finishTime}, nil
}

// CloseWrite sends FIN and waits until the far end has acknowledged it and everything before.
func (c *kernelConn) CloseWrite() error {
	err := c.TCPConn.SetLinger(-1)
	if err == nil {
		err = c.TCPConn.CloseWrite()
	}
	if err == nil {
		c.ended.Store(true)
		err = awaitDelivery(c.finishTime, c.queued)
	}
	if err != nil {
		_ = c.TCPConn.SetLinger(0)
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

// tcpClosed is the state of a connection that is over (enum tcp_state in linux/tcp_states.h).
const tcpClosed = 7

// queued is how many octets, FIN among them, the far end has not acknowledged. The error is errCut where it never will.
func (c *kernelConn) queued() (n int, err error) {
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return 0, err
	}
	closed := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err != nil {
			return
		}
		var out uint32 // read after the state: the last acknowledgement ends the connection
		if out, err = unix.IoctlGetUint32(int(fd), unix.SIOCOUTQ); err != nil {
			return
		}
		if n = int(out); n > 0 && info.State == tcpClosed {
			err = errCut
		}
	})
	if closed != nil {
		return 0, closed
	}
	return n, err
}

// AwaitReset waits until a far end that has ended its direction is gone altogether: it has reset the connection, or does
// not answer any more. It returns the reason, or net.ErrClosed.
func (c *kernelConn) AwaitReset() error {
	raw, err := c.TCPConn.SyscallConn()
	if err != nil {
		return err
	}
	reason := syscall.ECONNRESET
	err = raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.State != tcpClosed {
			return false // the next event of the socket comes here again
		}
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && n != 0 {
			reason = syscall.Errno(n)
		}
		return true
	})
	if err != nil {
		return err
	}
	return reason
}

var _ interface {
	HalfCloser
	undeliverer
	syscall.Conn
} = (*kernelConn)(nil)
