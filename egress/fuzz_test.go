package egress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// oracle says by package net, which knows nothing of this package's tables, whether ip is denied by default.
func oracle(ip net.IP) bool {
	if v4 := ip.To4(); v4 != nil {
		if v4[0] == 0 || v4[0] >= 240 || v4[0] == 100 && v4[1]&0xc0 == 64 || v4[0] == 198 && v4[1]&0xfe == 18 {
			return true
		}
	} else if ip[0]&0xe0 != 0x20 && (ip[0] != 0 || ip[1] != 0x64 || ip[2] != 0xff) && !zero(ip[:8]) {
		return true
	}
	return ip.IsUnspecified() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsPrivate()
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// forms lists the IPv6 addresses that end at the IPv4 address v4.
func forms(v4 [4]byte) []netip.Addr {
	out := []netip.Addr{netip.AddrFrom4(v4)}
	for _, prefix := range []string{"::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "2606:4700::5efe:0:0", "2606:4700:1:2:200:5efe::"} {
		b := netip.MustParseAddr(prefix).As16()
		copy(b[12:], v4[:])
		out = append(out, netip.AddrFrom16(b))
	}
	sixToFour := [16]byte{0x20, 0x02, 15: 1}
	copy(sixToFour[2:], v4[:])
	out = append(out, netip.AddrFrom16(sixToFour))
	server := [16]byte{0x20, 0x01, 12: 0xf7, 0xf7, 0xf7, 0xf7}
	copy(server[4:], v4[:])
	client := [16]byte{0x20, 0x01, 4: 8, 8, 8, 8}
	for i := range v4 {
		client[12+i] = ^v4[i]
	}
	return append(out, netip.AddrFrom16(server), netip.AddrFrom16(client))
}

// check asks p for a card "c".
func check(p *Policy, network string, dst netip.AddrPort) error {
	return p.Check(Request{Card: "c", Network: network, Destination: dst})
}

// No text that package netip takes for an address reaches anything denied by default, whatever deny rules and wide
// allow rules there are; and what passes is not one of the own addresses.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "[::ffff:7f00:1%lo]:80", "[0:0:0:0:0:FFFF:a9fe:a9fe]:80", "[fe80::1%2]:1",
		"[64:ff9b::a00:1]:443", "8.8.8.8:53", "[2001:4860:4860::8888]:53", "255.255.255.255:67", "0.0.0.0:1", "[ff05::2]:9", "5.6.7.5:22", "[2a00:1:2:3::8]:22", "[2001:0:7f00:1::1]:1", "[2606:4700::5efe:7f00:1]:1", "13.0.0.1:1", "[64:ff9b:1::1]:2",
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
		got := check(bare, network, dst)
		if (check(wide, network, dst) == nil) != (got == nil) {
			t.Fatalf("%s: a wide allow rule changes the default", s)
		}
		ip := net.IP(dst.Addr().AsSlice())
		if oracle(ip) && got == nil {
			t.Fatalf("%s passes", s)
		}
		mapped := netip.AddrFrom16(dst.Addr().As16())
		if (check(bare, network, netip.AddrPortFrom(mapped, dst.Port())) == nil) != (got == nil) {
			t.Fatalf("%s: the mapped form gets another answer", s)
		}
		links, _ := gateway().Links()
		for _, p := range links.Subnets {
			if p.Bits() != p.Addr().BitLen() && p.Contains(dst.Addr().Unmap().WithZone("")) && got == nil {
				t.Fatalf("%s of an own subnet passes", s)
			}
		}
		for _, a := range links.Addrs {
			if a.Prefix.Addr() == dst.Addr().Unmap().WithZone("") && got == nil {
				t.Fatalf("own address %s passes", s)
			}
		}
		// To be told of as a DNS server opens port 53, and never the machine itself.
		asked := netip.AddrPortFrom(dst.Addr(), dnsPort)
		err = bare.Check(Request{Card: "c", Network: network, Destination: asked, DNS: []netip.Addr{dst.Addr().WithZone("")}})
		var denied *Denied
		errors.As(check(bare, network, asked), &denied)
		itself := denied != nil && !mayServe(strings.TrimPrefix(denied.Rule, "default: "))
		carries := appendEmbedded(nil, dst.Addr()) != nil // any of which may be the machine
		if err == nil && itself || err != nil && !itself && !carries {
			t.Fatalf("%s: as a DNS server's %v, else %v", s, err, denied)
		}
		if err := bare.Check(Request{Card: "c", Network: network, Destination: dst, DNS: []netip.Addr{dst.Addr().WithZone("")}}); dst.Port() != dnsPort && (err == nil) != (got == nil) {
			t.Fatalf("%s: opened by the name of a DNS server: %v", s, err)
		}
		// A card never connects from what is not the machine's.
		if err := bare.Check(Request{Card: "c", Network: network, Destination: netip.MustParseAddrPort("8.8.8.8:1"), Local: dst.Addr()}); err == nil &&
			!dst.Addr().IsUnspecified() && !dst.Addr().Unmap().IsUnspecified() && !slices.ContainsFunc(links.Addrs, func(a Address) bool { return a.Prefix.Addr() == dst.Addr().Unmap() }) {
			t.Fatalf("connects from %s", s)
		}
		again, err := netip.ParseAddrPort(dst.String())
		if err != nil || (check(bare, network, again) == nil) != (got == nil) {
			t.Fatalf("%s: printed and parsed it gets another answer", s)
		}
	})
}

// Every IPv4 address of a default-denied range is denied in every form that ends at it, and the same form of a public
// address is not.
func TestNoFormPasses(t *testing.T) {
	p := mustNew(t, Rule{Action: "allow"}, Rule{Action: "allow", Prefix: []string{"64:ff9b::/96", "::/0"}})
	rnd := rand.New(rand.NewPCG(1, 2))
	try := func(v4 [4]byte) {
		denied := oracle(v4[:]) || check(p, "tcp", netip.AddrPortFrom(netip.AddrFrom4(v4), 443)) != nil
		for _, a := range forms(v4) {
			err := check(p, "tcp", netip.AddrPortFrom(a, 443))
			if denied && err == nil {
				t.Errorf("%s (%v) passes", a, v4)
			}
			if !denied && err != nil {
				t.Errorf("%s (%v): %v", a, v4, err)
			}
		}
	}
	for range 20000 {
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], rnd.Uint32())
		try(v4)
	}
	for _, s := range specials {
		if !s.prefix.Addr().Is4() {
			continue
		}
		first := s.prefix.Addr().As4()
		last := first
		binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(first[:])|uint32(uint64(0xffffffff)>>s.prefix.Bits()))
		try(first)
		try(last)
		if n := netip.AddrFrom4(last).Next(); n.IsValid() {
			try(n.As4())
		}
		if n := netip.AddrFrom4(first).Prev(); n.IsValid() {
			try(n.As4())
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
		p, err := New(Config{Rules: []Rule{r}, Host: gateway()})
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
		got := p.Check(Request{Card: card, Network: transport, Destination: netip.AddrPortFrom(addr, c.ports[0].first)})
		if appendEmbedded(nil, addr) != nil {
			return // judged twice
		}
		switch base := mustNew(t).Check(Request{Card: card, Network: transport, Destination: netip.AddrPortFrom(addr, 1)}); {
		case inRule && !c.allow && got == nil:
			t.Fatalf("%+v lets %s pass", r, addr)
		case !inRule && (got == nil) != (base == nil):
			t.Fatalf("%+v changes the answer for %s, which it does not contain", r, addr)
		case c.allow && base == nil && got != nil:
			t.Fatalf("%+v denies %s, which passes by default: %v", r, addr, got)
		}
	})
}
