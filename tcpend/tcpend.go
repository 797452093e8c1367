// Package tcpend is what both daemons need to end a TCP connection of the host's stack: in order where the far end gets
// every octet that was written, and by a reset otherwise.
package tcpend

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoTCP is the error for a connection that is no TCP socket of the host's stack.
var ErrNoTCP = errors.New("tcpend: no TCP socket")

// MaxSurplus is how many octets are still read and dropped of a far end that has acknowledged everything, and the end (FIN),
// but goes on sending. It is what can be under way when the far end learns of the end, with 100 Mbit/s and a round trip of
// 80 ms; more than that costs a metered network for nothing. Then the connection is closed, at which the kernel resets it:
// none of what was written is lost by that.
const MaxSurplus = 1 << 20

// ResetOnClose has Close reset the connection (SO_LINGER with a time of 0), or end it in order. The same holds when the
// process is killed.
func ResetOnClose(c net.Conn, on bool) error {
	tcp, ok := c.(interface{ SetLinger(sec int) error })
	switch {
	case !ok:
		return ErrNoTCP
	case on:
		return tcp.SetLinger(0)
	}
	return tcp.SetLinger(-1)
}

// Unacknowledged returns how many octets, an end (FIN) among them as one, were written that the far end's host has not
// acknowledged. over reports whether the connection is dead, by RST or by a time-out, or has ended at both sides: then none
// of them arrives any more.
func Unacknowledged(c net.Conn) (octets int, over bool, err error) {
	sock, ok := c.(syscall.Conn)
	if !ok {
		return 0, false, ErrNoTCP
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	if ctlErr := raw.Control(func(fd uintptr) {
		if over, err = isOver(fd); err == nil {
			octets, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) // after the state: the last acknowledgement ends the connection
		}
	}); ctlErr != nil {
		err = ctlErr
	}
	return octets, over, err
}

// AwaitOver waits until the connection is over, as Unacknowledged has it. It returns the reason, or net.ErrClosed.
func AwaitOver(c syscall.Conn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	reason := syscall.ECONNRESET
	err = raw.Read(func(fd uintptr) bool {
		if over, err := isOver(fd); err == nil && !over {
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

// isOver reports whether the socket is in state CLOSE, which has the same number in enum tcp_state and for BPF.
func isOver(fd uintptr) (bool, error) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == unix.BPF_TCP_CLOSE, err
}
