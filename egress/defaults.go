package egress

import (
	"encoding/binary"
	"net/netip"
)

// special is a range that no card reaches unless a rule names it.
type special struct {
	prefix netip.Prefix
	class  string
}

var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"}, // RFC 1122 3.2.1.3; Linux takes 0.0.0.0 for the host itself
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"}, // RFC 3927; metadata services of clouds
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private"}, // RFC 1918
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), "private"}, // RFC 6598, shared with carriers' NAT
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fc00::/7"), "private"},  // RFC 4193
	{netip.MustParsePrefix("fec0::/10"), "private"}, // site-local, RFC 3879; still routed by old hosts
}

// classify names why addr, unmapped and without zone, is denied by default and the range it is denied in; "" for an
// address that is not. An own address is a range of its own, so that allowing the LAN does not open the gateway;
// loopback stays loopback, though every gateway owns it.
func classify(addr netip.Addr, own []netip.Prefix) (class string, within netip.Prefix) {
	for _, s := range specials {
		if s.prefix.Contains(addr) {
			class, within = s.class, s.prefix
			break
		}
	}
	if class == "loopback" {
		return class, within
	}
	for _, p := range own {
		a, bits := p.Addr().Unmap().WithZone(""), p.Bits()
		if p.Addr().Is4In6() {
			bits -= 96
		}
		switch {
		case a == addr, isRouterAnycast(addr, a, bits):
			return "own address", netip.PrefixFrom(addr, addr.BitLen())
		case isBroadcast(addr, a, bits):
			return "broadcast", netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	return class, within
}

// isBroadcast says whether addr is the directed broadcast address of own's subnet, or its old form with all host bits
// zero, which kernels before Linux 5.14 also broadcast (RFC 1122 clause 3.3.6).
func isBroadcast(addr, own netip.Addr, bits int) bool {
	if !addr.Is4() || !own.Is4() || bits < 1 || bits > 30 {
		return false
	}
	a, o := addr.As4(), own.As4()
	host := ^uint32(0) >> bits
	x, y := binary.BigEndian.Uint32(a[:]), binary.BigEndian.Uint32(o[:])
	return x&^host == y&^host && (x&host == host || x&host == 0)
}

// isRouterAnycast says whether addr is the subnet-router anycast address of own's subnet (RFC 4291 clause 2.6.1): a
// gateway that forwards answers to it itself.
func isRouterAnycast(addr, own netip.Addr, bits int) bool {
	return addr.Is6() && own.Is6() && bits >= 1 && bits <= 126 && addr == netip.PrefixFrom(own, bits).Masked().Addr()
}

// Prefixes whose addresses carry an IPv4 address.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 2.5.5.1, deprecated
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // SIIT, RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215; the IPv4 address is taken from the last 32 bits
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056: bits 16 to 47
)

// embedded returns the IPv4 address that an IPv6 one becomes on its way, if any.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case addr == netip.IPv6Unspecified(), addr == netip.IPv6Loopback():
		return netip.Addr{}, false
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr), nat64Local.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}
