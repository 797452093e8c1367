package egress

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Classes of addresses that no card reaches unless a rule names them.
const (
	unspecified = "unspecified"
	loopback    = "loopback"
	multicast   = "multicast"
	broadcast   = "broadcast"
	ownAddress  = "own address"
	nextHop     = "next hop"
	ownSubnet   = "own subnet"
)

// special is a range of which the class is known. The class "" passes.
type special struct {
	prefix netip.Prefix
	class  string
}

// specials are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 with its updates), in which
// everything that is not marked as globally reachable is denied, and what else no card has a use for. The longest
// prefix that holds an address decides.
var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), unspecified}, // RFC 1122 3.2.1.3; Linux takes 0.0.0.0 for the host itself
	{netip.MustParsePrefix("10.0.0.0/8"), "private"},  // RFC 1918
	{netip.MustParsePrefix("100.64.0.0/10"), "private"},
	{netip.MustParsePrefix("127.0.0.0/8"), loopback},
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud platform"}, // Azure's platform; reached from its virtual machines only
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},       // RFC 3927; metadata services of clouds
	{netip.MustParsePrefix("172.16.0.0/12"), "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignment"},
	{netip.MustParsePrefix("192.0.0.10/32"), ""}, // TURN, RFC 8155. The PCP server's 192.0.0.9 would open ports to the gateway.
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), "deprecated"}, // 6to4 relays, RFC 7526
	{netip.MustParsePrefix("192.168.0.0/16"), "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), multicast},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("255.255.255.255/32"), broadcast},

	// Only 2000::/3 is unicast that reaches the world (RFC 4291 2.4 and IANA's IPv6 address space).
	{netip.MustParsePrefix("::/3"), "reserved"},
	{netip.MustParsePrefix("4000::/2"), "reserved"},
	{netip.MustParsePrefix("8000::/1"), "reserved"},
	{netip.MustParsePrefix("::/128"), unspecified},
	{netip.MustParsePrefix("::1/128"), loopback},
	{compatible, ""}, // judged by the IPv4 address within, as are translated, nat64, teredo and sixToFour
	{translated, ""},
	{nat64, ""},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local translation"}, // RFC 8215; where the IPv4 address stands is not known
	{netip.MustParsePrefix("100::/64"), "discard-only"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "dummy"}, // RFC 9780
	{netip.MustParsePrefix("2001::/23"), "protocol assignment"},
	{teredo, ""},
	{netip.MustParsePrefix("2001:1::2/128"), ""}, // TURN, RFC 8155; not 2001:1::1, PCP
	{netip.MustParsePrefix("2001:1::3/128"), ""}, // DNS-SD SRP, RFC 9665
	{netip.MustParsePrefix("2001:3::/32"), ""},
	{netip.MustParsePrefix("2001:4:112::/48"), ""},
	{netip.MustParsePrefix("2001:20::/28"), ""},
	{netip.MustParsePrefix("2001:30::/28"), ""},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{sixToFour, ""},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},   // RFC 9637
	{netip.MustParsePrefix("5f00::/16"), "segment routing"}, // RFC 9602
	{netip.MustParsePrefix("fc00::/7"), "private"},          // RFC 4193
	{netip.MustParsePrefix("fe80::/10"), "link-local"},      // RFC 4291
	{netip.MustParsePrefix("fec0::/10"), "private"},         // site-local, RFC 3879; still routed by old hosts
	{netip.MustParsePrefix("ff00::/8"), multicast},
}

// specialOf returns the special range that addr, unmapped and without zone, is in; the zero special where it is in none.
func specialOf(addr netip.Addr) special {
	best := special{prefix: netip.Prefix{}}
	for _, s := range specials {
		if s.prefix.Contains(addr) && (!best.prefix.IsValid() || s.prefix.Bits() > best.prefix.Bits()) {
			best = s
		}
	}
	if best.class == "" {
		return special{}
	}
	return best
}

// classify names why addr, unmapped and without zone, is denied by default and the range it is denied in; "" for an
// address that is not. An own address and a next hop are ranges of their own, so that allowing the LAN does not open
// the gateway; loopback stays loopback, though every gateway owns it.
func (p *Policy) classify(addr netip.Addr, links *Links, route Route) (class string, within netip.Prefix) {
	s := specialOf(addr)
	switch s.class {
	case unspecified, loopback, multicast, broadcast:
		return s.class, s.prefix
	}
	alone := netip.PrefixFrom(addr, addr.BitLen())
	if p != nil {
		for _, o := range p.own {
			if o.Contains(addr) {
				return ownAddress, alone
			}
		}
	}
	for _, a := range links.Addrs {
		own, bits := a.Prefix.Addr(), a.Prefix.Bits()
		switch {
		case own == addr, isRouterAnycast(addr, own, bits):
			return ownAddress, alone
		case isBroadcast(addr, own, bits):
			return broadcast, alone
		}
	}
	switch route.Type {
	case RouteLocal:
		return ownAddress, alone
	case RouteBroadcast:
		return broadcast, alone
	case RouteMulticast:
		return multicast, alone
	}
	// A connection that is bound to an interface, or that a rule of policy routing sends to another table, does not ask these
	// routes, but may come back to them from a router.
	if slices.ContainsFunc(links.Taken, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return ownAddress, alone
	}
	if links.NextHops[addr] {
		return nextHop, alone
	}
	if s.class != "" {
		return s.class, s.prefix
	}
	for _, subnet := range links.Subnets {
		if subnet.Contains(addr) {
			return ownSubnet, subnet
		}
	}
	return "", netip.Prefix{}
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
