package bip

import (
	"net"
	"net/netip"
	"testing"
)

// addressed is a connection that has nothing but its addresses.
type addressed struct {
	net.Conn
	local, remote net.TCPAddr
}

func (a *addressed) LocalAddr() net.Addr  { return &a.local }
func (a *addressed) RemoteAddr() net.Addr { return &a.remote }

// TestMayConnect has clients told apart by where they come from: without a rule only this machine's may connect.
func TestMayConnect(t *testing.T) {
	lan := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tc := range []struct {
		remote, local string
		machine, lan  bool
	}{
		{"127.0.0.1", "127.0.0.1", true, false},
		{"127.0.0.9", "127.0.0.1", true, false},
		{"::ffff:127.0.0.1", "::ffff:127.0.0.1", true, false},
		{"::1", "::1", true, false},
		{"192.168.1.5", "192.168.1.5", true, true}, // the machine's own address
		{"192.168.1.6", "192.168.1.5", false, true},
		{"::ffff:192.168.1.6", "::ffff:192.168.1.5", false, true},
		{"192.168.2.6", "192.168.1.5", false, false},
		{"10.0.0.1", "127.0.0.1", false, false},
		{"203.0.113.9", "203.0.113.8", false, false},
		{"2001:db8::9", "2001:db8::8", false, true},
		{"2001:db9::9", "2001:db9::8", false, false},
		{"fe80::2%lo", "fe80::1%lo", false, false},
	} {
		conn := &addressed{
			local:  *net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tc.local), 8000)),
			remote: *net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(tc.remote), 40000)),
		}
		if got := (&kernelListener{}).mayConnect(conn); got != tc.machine {
			t.Errorf("%s to %s, without a rule: %v", tc.remote, tc.local, got)
		}
		if got := (&kernelListener{from: lan}).mayConnect(conn); got != tc.lan {
			t.Errorf("%s to %s, from %v: %v", tc.remote, tc.local, lan, got)
		}
	}
}
