package egress

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
)

// oracle says by package net, which knows nothing of this package's tables, whether ip is denied by default.
func oracle(ip net.IP) bool {
	if v4 := ip.To4(); v4 != nil {
		if v4[0] == 0 || v4[0] == 100 && v4[1]&0xc0 == 64 || v4.Equal(net.IPv4bcast) {
			return true
		}
	}
	return ip.IsUnspecified() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsPrivate()
}

// forms lists the IPv6 addresses that end at the IPv4 address v4.
func forms(v4 [4]byte) []netip.Addr {
	out := []netip.Addr{netip.AddrFrom4(v4)}
	for _, prefix := range []string{"::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:2:3::"} {
		b := netip.MustParseAddr(prefix).As16()
		copy(b[12:], v4[:])
		out = append(out, netip.AddrFrom16(b))
	}
	sixToFour := [16]byte{0x20, 0x02, 15: 1}
	copy(sixToFour[2:], v4[:])
	return append(out, netip.AddrFrom16(sixToFour))
}

// No text that package netip takes for an address reaches anything denied by default, whatever deny rules and wide
// allow rules there are; and what passes is not one of the own addresses.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "[::ffff:7f00:1%lo]:80", "[0:0:0:0:0:FFFF:a9fe:a9fe]:80", "[fe80::1%2]:1",
		"[64:ff9b::a00:1]:443", "8.8.8.8:53", "[2001:4860:4860::8888]:53", "255.255.255.255:67", "0.0.0.0:1", "[ff05::2]:9", "203.0.113.5:22",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	bare := mustNew(f)
	wide := mustNew(f, Rule{Action: "allow", Prefix: []string{"0.0.0.0/0", "::/0"}}, Rule{Action: "allow"})
	f.Fuzz(func(t *testing.T, s string, udp bool) {
		dst, err := netip.ParseAddrPort(s)
		if err != nil {
			return
		}
		network := "tcp"
		if udp {
			network = "udp"
		}
		got := bare.Check("c", network, dst)
		if (wide.Check("c", network, dst) == nil) != (got == nil) {
			t.Fatalf("%s: a wide allow rule changes the default", s)
		}
		ip := net.IP(dst.Addr().AsSlice())
		if oracle(ip) && got == nil {
			t.Fatalf("%s passes", s)
		}
		mapped := netip.AddrFrom16(dst.Addr().As16())
		if (bare.Check("c", network, netip.AddrPortFrom(mapped, dst.Port())) == nil) != (got == nil) {
			t.Fatalf("%s: the mapped form gets another answer", s)
		}
		list, _ := own()
		for _, p := range list {
			if p.Addr().Unmap() == dst.Addr().Unmap().WithZone("") && got == nil {
				t.Fatalf("own address %s passes", s)
			}
		}
		again, err := netip.ParseAddrPort(dst.String())
		if err != nil || (bare.Check("c", network, again) == nil) != (got == nil) {
			t.Fatalf("%s: printed and parsed it gets another answer", s)
		}
	})
}

// Every IPv4 address of a default-denied range is denied in every form that ends at it, and the same form of a public
// address is not.
func TestNoFormPasses(t *testing.T) {
	p := mustNew(t, Rule{Action: "allow"}, Rule{Action: "allow", Prefix: []string{"64:ff9b::/96", "::/0"}})
	rnd := rand.New(rand.NewPCG(1, 2))
	check := func(v4 [4]byte) {
		denied := oracle(v4[:])
		for _, a := range forms(v4) {
			err := p.Check("c", "tcp", netip.AddrPortFrom(a, 443))
			if denied && err == nil {
				t.Errorf("%s (%v) passes", a, v4)
			}
			if !denied && err != nil && v4[0] != 203 && v4[0] != 198 { // own addresses lie there
				t.Errorf("%s (%v): %v", a, v4, err)
			}
		}
	}
	for range 20000 {
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], rnd.Uint32())
		check(v4)
	}
	for _, s := range specials {
		if !s.prefix.Addr().Is4() {
			continue
		}
		first := s.prefix.Addr().As4()
		last := first
		binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|uint32(uint64(0xffffffff)>>s.prefix.Bits()))
		check(first)
		check(last)
		if n := netip.AddrFrom4(last).Next(); n.IsValid() {
			check(n.As4())
		}
		if n := netip.AddrFrom4(first).Prev(); n.IsValid() {
			check(n.As4())
		}
	}
}

// A rule list either fails with an error that names a rule, or gives a policy that denies by a rule only what its
// prefix contains.
func FuzzRule(f *testing.F) {
	f.Add("deny", "10.0.0.0/8", "443", "tcp", "*", "10.1.1.1")
	f.Add("allow", "127.0.0.1", "8000-8100", "udp", "card?", "127.0.0.1")
	f.Add("allow", "::ffff:10.0.0.0/104", "1-65535", "tcp", "a*b*", "10.0.0.9")
	f.Fuzz(func(t *testing.T, action, prefix, ports, transport, card, dst string) {
		r := Rule{Action: action, Prefix: []string{prefix}, Ports: []string{ports}, Transport: []string{transport}, Cards: []string{card}}
		p, err := New([]Rule{r}, own)
		if err != nil {
			return
		}
		c := p.rules[0]
		if again, err := parsePrefix(c.prefixes[0].String()); err != nil || again != c.prefixes[0] {
			t.Fatalf("prefix %q prints as %s, which parses to %v, %v", prefix, c.prefixes[0], again, err)
		}
		addr, err := netip.ParseAddr(dst)
		if err != nil {
			return
		}
		addr = addr.Unmap().WithZone("")
		inRule := c.prefixes[0].Contains(addr)
		got := p.Check(card, transport, netip.AddrPortFrom(addr, c.ports[0].first))
		if _, two := embedded(addr); two {
			return // judged twice
		}
		switch base := mustNew(t).Check(card, transport, netip.AddrPortFrom(addr, 1)); {
		case inRule && !c.allow && got == nil:
			t.Fatalf("%+v lets %s pass", r, addr)
		case !inRule && (got == nil) != (base == nil):
			t.Fatalf("%+v changes the answer for %s, which it does not contain", r, addr)
		case c.allow && base == nil && got != nil:
			t.Fatalf("%+v denies %s, which passes by default: %v", r, addr, got)
		}
	})
}
