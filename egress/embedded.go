package egress

import (
	"encoding/binary"
	"net/netip"
)

// Prefixes whose addresses carry IPv4 addresses.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 2.5.5.1, deprecated
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // SIIT, RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056: bits 16 to 47
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380 4: the server in bits 32 to 63, the client inverted in the last 32
)

// isatap are the interface identifiers of ISATAP (RFC 5214 6.1) without their IPv4 address, by the universal bit.
var isatap = [2]uint32{0x0000_5efe, 0x0200_5efe}

// maxEmbedded is how many IPv4 addresses an IPv6 one may carry: 6to4 or Teredo's two, and that of ISATAP.
const maxEmbedded = 3

// appendEmbedded appends the IPv4 addresses that packets to an IPv6 one reach on their way, if any.
func appendEmbedded(list []netip.Addr, addr netip.Addr) []netip.Addr {
	if !addr.Is6() || addr == netip.IPv6Unspecified() || addr == netip.IPv6Loopback() {
		return list
	}
	b := addr.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case sixToFour.Contains(addr):
		list = append(list, netip.AddrFrom4([4]byte(b[2:6])))
	case teredo.Contains(addr):
		list = append(list, netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		return append(list, last)
	}
	if id := binary.BigEndian.Uint32(b[8:12]); id == isatap[0] || id == isatap[1] {
		list = append(list, last)
	}
	return list
}
