package testkit

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ClosedPort is a port at which nobody listens, nor will: it is of a loopback address of this call's own, for at 127.0.0.1 others
// may be given it next.
func ClosedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	own := netip.AddrFrom4([4]byte{127, byte(2 + rand.N(250)), byte(rand.N(256)), byte(1 + rand.N(254))})
	l, err := net.Listen("tcp", netip.AddrPortFrom(own, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// BlackHole is a port of 127.0.0.1 that answers no connection, for its listener's queue is full. Where the kernel takes connections
// beyond that, the test is skipped.
func BlackHole(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, backlog))
	if err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	hole := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	for range 8 {
		c, err := net.DialTimeout("tcp", hole.String(), 100*time.Millisecond)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		// That a connection took too long may be the machine's doing: the kernel has to say so.
		if full, told := queueFull(fd); full || err != nil && !told {
			return hole
		}
	}
	t.Skip("this kernel takes connections beyond the listener's queue")
	return hole
}

// queueFull says whether the queue of a listener with room for one more than backlog is full, and whether the kernel tells: of a
// listener it has the connections that wait in place of segments without acknowledgement, and backlog in place of those
// acknowledged selectively.
func queueFull(fd int) (full, told bool) {
	for range 100 { // a connection may be in the queue a little after it stands at its other end
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.Sacked != backlog {
			return false, false
		}
		if info.Unacked > backlog {
			return true, true
		}
		time.Sleep(time.Millisecond)
	}
	return false, true
}

const backlog = 1
