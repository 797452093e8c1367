package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// machine is a Host: a gateway with a LAN, a public address and IPv6.
type machine struct {
	links  Links
	routes map[netip.Addr]Route // others are unicast by interface 2
	err    error
}

func (m *machine) Links() (*Links, error) { return &m.links, m.err }

func (m *machine) Route(addr netip.Addr, _ string) (Route, error) {
	if r, ok := m.routes[addr]; ok {
		return r, nil
	}
	return Route{Type: RouteUnicast, Interface: 2}, nil
}

// gateway is the machine of most tests.
func gateway() *machine {
	m := &machine{links: Links{NextHops: map[netip.Addr]bool{}}, routes: map[netip.Addr]Route{}}
	for i, list := range [][]string{
		1: {"127.0.0.1/8", "::1/128"},
		2: {"192.168.1.1/24", "192.168.1.2/24", "5.6.7.5/28", "9.8.7.9/30", "2a00:1:2:3::7/64", "fe80::7/64"},
		3: {"11.0.0.1/32"},
	} {
		for _, s := range list {
			prefix := netip.MustParsePrefix(s)
			m.links.Addrs = append(m.links.Addrs, Address{prefix, i})
			m.links.Subnets = append(m.links.Subnets, prefix.Masked())
		}
	}
	for _, s := range []string{"192.168.1.254", "12.0.0.1", "2a00:9::1", "2a00:1:2:3::ff"} {
		m.links.NextHops[netip.MustParseAddr(s)] = true
	}
	m.routes[netip.MustParseAddr("13.0.0.1")] = Route{Type: RouteLocal, Interface: 1}
	m.routes[netip.MustParseAddr("2a00:a::1")] = Route{Type: RouteLocal, Interface: 1}
	m.routes[netip.MustParseAddr("13.0.0.255")] = Route{Type: RouteBroadcast, Interface: 2}
	m.routes[netip.MustParseAddr("13.0.1.1")] = Route{Type: RouteMulticast, Interface: 2}
	m.routes[netip.MustParseAddr("14.0.0.1")] = Route{}
	return m
}

func mustNew(t testing.TB, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(Config{Rules: rules, Host: gateway()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ruleOf returns what denied, or "" where dst passed.
func ruleOf(t testing.TB, p *Policy, card, network, dst string) string {
	t.Helper()
	err := p.Check(Request{Card: card, Network: network, Destination: netip.MustParseAddrPort(dst)})
	if err == nil {
		return ""
	}
	var d *Denied
	if !errors.As(err, &d) {
		t.Fatalf("Check gave %T, want *Denied: %v", err, err)
	}
	if d.Card != card || d.Network != network || d.Destination.String() != netip.MustParseAddrPort(dst).String() {
		t.Errorf("Denied %+v does not say what was asked for", d)
	}
	if !strings.Contains(err.Error(), d.Rule) {
		t.Errorf("error %q does not name %q", err, d.Rule)
	}
	return d.Rule
}

func TestDefaults(t *testing.T) {
	p := mustNew(t)
	for _, c := range []struct{ dst, rule string }{
		{"8.8.8.8:53", ""},
		{"[2606:4700::1111]:443", ""},
		{"[::ffff:8.8.8.8]:443", ""},
		{"[64:ff9b::8.8.8.8]:443", ""},
		{"[2002:808:808::1]:443", ""},
		{"[2001:0:808:808::f7f7:f7f7]:443", ""}, // Teredo, 8.8.8.8 twice
		{"[2606:4700::5efe:808:808]:443", ""},   // ISATAP
		{"14.0.0.1:443", ""},                    // no route: the connection fails by itself
		{"100.63.255.255:1", ""},
		{"100.128.0.0:1", ""},
		{"172.15.255.255:1", ""},
		{"172.32.0.0:1", ""},
		{"223.255.255.255:1", ""},
		{"169.253.255.255:1", ""},
		{"0.0.0.0:80", "default: unspecified"},
		{"0.1.2.3:80", "default: unspecified"},
		{"[::]:80", "default: unspecified"},
		{"127.0.0.1:80", "default: loopback"},
		{"127.255.255.254:80", "default: loopback"},
		{"[::1]:80", "default: loopback"},
		{"[::ffff:127.0.0.1]:80", "default: loopback"},
		{"[::ffff:7f00:1%eth0]:80", "default: loopback"},
		{"[::127.0.0.1]:80", "default: loopback"},
		{"[64:ff9b::127.0.0.1]:80", "default: loopback"},
		{"[::ffff:0:127.0.0.1]:80", "default: loopback"},
		{"[2002:7f00:1::]:80", "default: loopback"},
		{"[2001:0:7f00:1::f7f7:f7f7]:80", "default: loopback"},        // Teredo's server
		{"[2001:0:808:808::80ff:fffe]:80", "default: loopback"},       // Teredo's client, inverted
		{"[2001:0:808:808::f5ff:fffe]:80", "default: private"},        // 10.0.0.1, inverted
		{"[2606:4700::5efe:7f00:1]:80", "default: loopback"},          // ISATAP
		{"[2606:4700::200:5efe:c0a8:201]:80", "default: private"},     // ISATAP, globally unique
		{"[2002:808:808::5efe:7f00:1]:80", "default: loopback"},       // 6to4 and ISATAP
		{"[2001:0:808:808:0:5efe:f7f7:f7f7]:80", "default: reserved"}, // Teredo and ISATAP: 247.247.247.247
		{"[64:ff9b:1::8.8.8.8]:80", "default: local translation"},
		{"[64:ff9b:1:8:808:800::]:80", "default: local translation"},
		{"169.254.169.254:80", "default: link-local"},
		{"[::ffff:169.254.169.254]:80", "default: link-local"},
		{"168.63.129.16:80", "default: cloud platform"},
		{"[fe80::1]:80", "default: link-local"},
		{"[fe80::1%eth0]:80", "default: link-local"},
		{"[febf::1]:80", "default: link-local"},
		{"224.0.0.251:5353", "default: multicast"},
		{"239.255.255.250:1900", "default: multicast"},
		{"[ff02::fb]:5353", "default: multicast"},
		{"13.0.1.1:80", "default: multicast"}, // by the route's type
		{"255.255.255.255:67", "default: broadcast"},
		{"192.168.1.255:67", "default: broadcast"},
		{"192.168.1.0:67", "default: broadcast"},
		{"5.6.7.15:67", "default: broadcast"},
		{"5.6.7.0:67", "default: broadcast"},
		{"9.8.7.11:67", "default: broadcast"},
		{"13.0.0.255:67", "default: broadcast"}, // by the route's type
		{"192.168.1.1:22", "default: own address"},
		{"5.6.7.5:22", "default: own address"},
		{"9.8.7.9:22", "default: own address"},
		{"[2a00:1:2:3::7]:22", "default: own address"},
		{"[2a00:1:2:3::]:22", "default: own address"}, // subnet-router anycast
		{"[64:ff9b::5.6.7.5]:22", "default: own address"},
		{"13.0.0.1:22", "default: own address"}, // by the route's type
		{"[2a00:a::1]:22", "default: own address"},
		{"192.168.1.254:22", "default: next hop"},
		{"12.0.0.1:22", "default: next hop"},
		{"[2a00:9::1]:22", "default: next hop"},
		{"[2a00:1:2:3::ff]:22", "default: next hop"},
		{"5.6.7.6:443", "default: own subnet"}, // a neighbour
		{"5.6.7.14:443", "default: own subnet"},
		{"5.6.7.16:443", ""},
		{"[2a00:1:2:3::8]:443", "default: own subnet"},
		{"[2a00:1:2:3:ffff:ffff:ffff:ffff]:443", "default: own subnet"},
		{"[2a00:1:2:4::8]:443", ""},
		{"11.0.0.2:443", ""}, // an own address without a subnet
		{"192.168.1.3:80", "default: private"},
		{"10.0.0.0:80", "default: private"},
		{"10.255.255.255:80", "default: private"},
		{"172.16.0.1:80", "default: private"},
		{"172.31.255.255:80", "default: private"},
		{"192.168.2.1:80", "default: private"},
		{"100.64.0.1:80", "default: private"},
		{"100.127.255.255:80", "default: private"},
		{"[fc00::1]:80", "default: private"},
		{"[fdff::1]:80", "default: private"},
		{"[fec0::1]:80", "default: private"},
		{"[2002:a00:1::1]:80", "default: private"},
		{"192.0.2.1:80", "default: documentation"},
		{"198.19.255.255:80", "default: benchmarking"},
		{"240.0.0.1:80", "default: reserved"},
		{"255.255.255.254:80", "default: reserved"},
		{"[4000::1]:80", "default: reserved"},
		{"[100::1]:80", "default: discard-only"},
	} {
		for _, network := range []string{"tcp", "udp", "tcp4", "udp6"} {
			if got := ruleOf(t, p, "card1", network, c.dst); got != c.rule {
				t.Errorf("%s %s: denied by %q, want %q", network, c.dst, got, c.rule)
			}
		}
	}
}

func TestDefaultsOfNilPolicy(t *testing.T) {
	for name, p := range map[string]*Policy{"nil": nil, "zero": {}} {
		if got := ruleOf(t, p, "c", "tcp", "127.0.0.1:80"); got != "default: loopback" {
			t.Errorf("%s policy: denied by %q", name, got)
		}
		if got := ruleOf(t, p, "c", "tcp", "8.8.8.8:80"); got != "" {
			t.Errorf("%s policy: denied by %q", name, got)
		}
	}
}

func TestBadDestination(t *testing.T) {
	p := mustNew(t, Rule{Action: "allow"})
	for _, c := range []struct {
		network string
		dst     netip.AddrPort
		rule    string
	}{
		{"tcp", netip.AddrPort{}, "default: not an address"},
		{"sctp", netip.MustParseAddrPort("8.8.8.8:53"), "default: transport not offered"},
		{"", netip.MustParseAddrPort("8.8.8.8:53"), "default: transport not offered"},
	} {
		var d *Denied
		if err := p.Check(Request{Card: "c", Network: c.network, Destination: c.dst}); !errors.As(err, &d) || d.Rule != c.rule {
			t.Errorf("%q %v: %v, want %q", c.network, c.dst, err, c.rule)
		}
	}
}

// The machine is asked at each check, and not to know it denies.
func TestMachineAtCheckTime(t *testing.T) {
	m := &machine{}
	p, err := New(Config{Host: m})
	if err != nil {
		t.Fatal(err)
	}
	const dst = "5.6.7.77:443"
	if got := ruleOf(t, p, "c", "tcp", dst); got != "" {
		t.Errorf("denied by %q before it is an own address", got)
	}
	m.links.Addrs = []Address{{netip.MustParsePrefix("5.6.7.77/32"), 2}}
	if got := ruleOf(t, p, "c", "tcp", dst); got != "default: own address" {
		t.Errorf("denied by %q, want own address", got)
	}
	m.err = errors.New("netlink says no")
	if got := ruleOf(t, p, "c", "tcp", "8.8.8.8:1"); !strings.Contains(got, "netlink says no") {
		t.Errorf("denied by %q, want the cause", got)
	}
}

// Own addresses of the configuration count as the machine's: each has to be named to be opened.
func TestFurtherOwnAddresses(t *testing.T) {
	p, err := New(Config{
		Own:  []string{"7.7.7.7", "2a00:7::/32", "6.0.0.0/30"},
		Host: gateway(), File: "/etc/apd/apd.toml",
		Rules: []Rule{{Action: "allow", Prefix: []string{"6.0.0.0/30", "6.0.0.1"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for dst, want := range map[string]string{
		"7.7.7.7:443": "default: own address", "7.7.7.8:443": "", "[64:ff9b::7.7.7.7]:443": "default: own address",
		"[2a00:7:8::1]:443": "default: own address", "6.0.0.2:443": "default: own address", "6.0.0.1:443": "",
	} {
		if got := ruleOf(t, p, "c", "tcp", dst); got != want {
			t.Errorf("%s: denied by %q, want %q", dst, got, want)
		}
	}
	for _, bad := range []string{"", "host", "7.7.7.7/24", "fe80::1%eth0"} {
		if _, err := New(Config{Own: []string{bad}}); err == nil || !strings.Contains(err.Error(), "own_addresses") {
			t.Errorf("own address %q: error %v", bad, err)
		}
	}
}

// A card may ask the DNS servers that it was told of, and nobody else there.
func TestDNSServers(t *testing.T) {
	dns := []netip.Addr{
		netip.MustParseAddr("192.168.1.254"), netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("2a00:1:2:3::53"), netip.MustParseAddr("5.6.7.6"),
		netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("13.0.0.1"), netip.MustParseAddr("224.0.0.251"),
		netip.MustParseAddr("64:ff9b::127.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.54"), netip.MustParseAddr("10.9.9.9"),
	}
	p := mustNew(t, Rule{Action: "deny", Prefix: []string{"10.9.0.0/16"}})
	for _, c := range []struct{ dst, rule string }{
		{"192.168.1.254:53", ""}, // a next hop
		{"10.0.0.53:53", ""},
		{"[::ffff:10.0.0.53]:53", ""},
		{"10.0.0.54:53", ""},
		{"[2a00:1:2:3::53]:53", ""},
		{"5.6.7.6:53", ""},
		{"10.0.0.53:54", "default: private"},
		{"10.0.0.53:443", "default: private"},
		{"10.0.0.55:53", "default: private"},
		{"[64:ff9b::10.0.0.53]:53", "default: private"},
		{"127.0.0.53:53", "default: loopback"},
		{"192.168.1.1:53", "default: own address"},
		{"13.0.0.1:53", "default: own address"},
		{"224.0.0.251:53", "default: multicast"},
		{"[64:ff9b::127.0.0.1]:53", "default: loopback"},
		{"10.9.9.9:53", "rule 1 (deny 10.9.0.0/16)"},
	} {
		for _, network := range []string{"tcp", "udp"} {
			err := p.Check(Request{Card: "c", Network: network, Destination: netip.MustParseAddrPort(c.dst), DNS: dns})
			var d *Denied
			if got := errors.As(err, &d); got != (c.rule != "") || got && d.Rule != c.rule {
				t.Errorf("%s %s: %v, want %q", network, c.dst, err, c.rule)
			}
		}
	}
}

// A card connects from an address of the interface by which the destination is reached, or not at all.
func TestLocalAddress(t *testing.T) {
	m := gateway()
	m.routes[netip.MustParseAddr("15.0.0.1")] = Route{Type: RouteUnicast, Interface: 3, Source: netip.MustParseAddr("192.168.1.2")}
	p, err := New(Config{Host: m, Rules: []Rule{{Action: "allow", Prefix: []string{"127.0.0.1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	m.routes[netip.MustParseAddr("127.0.0.1")] = Route{Type: RouteLocal, Interface: 1, Source: netip.MustParseAddr("127.0.0.1")}
	for _, c := range []struct {
		local, dst string
		ok         bool
	}{
		{"0.0.0.0", "8.8.8.8:443", true},
		{"::", "8.8.8.8:443", true},
		{"192.168.1.1", "8.8.8.8:443", true},
		{"::ffff:192.168.1.1", "8.8.8.8:443", true},
		{"192.168.1.2", "8.8.8.8:443", true},
		{"2a00:1:2:3::7", "[2606:4700::1111]:443", true},
		{"127.0.0.1", "127.0.0.1:443", true},
		{"11.0.0.1", "15.0.0.1:443", true},    // of the interface
		{"192.168.1.2", "15.0.0.1:443", true}, // that the route names
		{"192.168.1.3", "14.0.0.1:443", true}, // no route: the connection fails by itself
		{"192.168.1.1", "15.0.0.1:443", false},
		{"192.168.1.3", "8.8.8.8:443", false}, // a neighbour's
		{"127.0.0.1", "8.8.8.8:443", false},
		{"11.0.0.1", "8.8.8.8:443", false}, // of another interface
		{"8.8.8.8", "8.8.8.8:443", false},
		{"2a00:1:2:3::7", "8.8.8.8:443", false}, // of the other family
		{"192.168.1.1", "[2606:4700::1111]:443", false},
		{"192.168.1.1", "127.0.0.1:443", false},
	} {
		r := Request{Card: "c", Network: "tcp", Destination: netip.MustParseAddrPort(c.dst), Local: netip.MustParseAddr(c.local)}
		err := p.Check(r)
		var l *LocalError
		if c.ok != (err == nil) || !c.ok && (!errors.As(err, &l) || l.Local != r.Local || !strings.Contains(err.Error(), c.local)) {
			t.Errorf("from %s to %s: %v, want it to pass: %v", c.local, c.dst, err, c.ok)
		}
	}
}

func TestRules(t *testing.T) {
	p := mustNew(t,
		Rule{Action: "deny", Ports: []string{"25-25", "135-139"}},
		Rule{Action: "allow", Prefix: []string{"10.1.2.3"}, Ports: []string{"443"}, Transport: []string{"tcp"}},
		Rule{Action: "deny", Prefix: []string{"192.0.2.0/24", "10.0.0.0/8"}},
		Rule{Action: "allow", Cards: []string{"bench*"}, Prefix: []string{"127.0.0.0/8", "::1"}},
		Rule{Action: "deny", Cards: []string{"ACR?? [a/b]*"}, Transport: []string{"udp"}},
		Rule{Action: "deny", Prefix: []string{"2001:db8::/32"}},
		Rule{Action: "allow", Prefix: []string{"192.168.0.0/16"}},
		Rule{Action: "allow", Prefix: []string{"0.0.0.0/0", "::/0"}},
		Rule{Action: "allow", Prefix: []string{"169.254.0.0/16"}, Cards: []string{"meta"}},
		Rule{Action: "allow", Prefix: []string{"192.168.1.1"}, Ports: []string{"8080"}},
	)
	for _, c := range []struct{ card, network, dst, rule string }{
		{"c", "tcp", "8.8.8.8:25", "rule 1 (deny any)"},
		{"c", "tcp", "8.8.8.8:134", ""},
		{"c", "tcp", "8.8.8.8:135", "rule 1 (deny any)"},
		{"c", "tcp", "8.8.8.8:139", "rule 1 (deny any)"},
		{"c", "tcp", "8.8.8.8:140", ""},
		{"c", "tcp", "10.1.2.3:443", ""},
		{"c", "tcp", "[::ffff:10.1.2.3]:443", ""},
		{"c", "udp", "10.1.2.3:443", "rule 3 (deny 10.0.0.0/8)"},
		{"c", "tcp", "10.1.2.3:444", "rule 3 (deny 10.0.0.0/8)"},
		{"c", "tcp", "10.1.2.4:443", "rule 3 (deny 10.0.0.0/8)"},
		{"c", "tcp", "192.0.2.255:443", "rule 3 (deny 192.0.2.0/24)"},
		{"c", "tcp", "[::ffff:192.0.2.1]:443", "rule 3 (deny 192.0.2.0/24)"},
		{"c", "tcp", "[64:ff9b::192.0.2.1]:443", "rule 3 (deny 192.0.2.0/24)"},
		{"c", "tcp", "[2002:c000:201::1]:443", "rule 3 (deny 192.0.2.0/24)"},
		{"bench 7", "tcp", "127.0.0.1:443", ""},
		{"bench", "tcp", "[::1]:443", ""},
		{"xbench", "tcp", "127.0.0.1:443", "default: loopback"},
		{"ACR39 [a/b] 00", "udp", "8.8.8.8:443", "rule 5 (deny any)"},
		{"ACR39 [a/b] 00", "tcp", "8.8.8.8:443", ""},
		{"ACR3 [a/b] 00", "udp", "8.8.8.8:443", ""},
		{"c", "tcp", "[2001:db8:ffff::1]:443", "rule 6 (deny 2001:db8::/32)"},
		{"c", "tcp", "192.168.77.1:443", ""},
		// Wide allow rules do not open what defaults deny.
		{"c", "tcp", "192.168.1.1:443", "default: own address"},
		{"c", "tcp", "192.168.1.254:443", "default: next hop"},
		{"c", "tcp", "192.168.1.3:443", ""},
		{"c", "tcp", "5.6.7.6:443", "default: own subnet"},
		{"c", "tcp", "[2a00:1:2:3::8]:443", "default: own subnet"},
		{"c", "tcp", "203.0.113.1:443", "default: documentation"},
		{"c", "tcp", "192.168.1.1:8080", ""},
		{"c", "tcp", "127.0.0.1:80", "default: loopback"},
		{"c", "tcp", "[::1]:80", "default: loopback"},
		{"c", "tcp", "169.254.169.254:80", "default: link-local"},
		{"meta", "tcp", "169.254.169.254:80", ""},
		{"c", "tcp", "[64:ff9b::169.254.169.254]:80", "default: link-local"},
	} {
		if got := ruleOf(t, p, c.card, c.network, c.dst); got != c.rule {
			t.Errorf("%s %s %s: denied by %q, want %q", c.card, c.network, c.dst, got, c.rule)
		}
	}
}

// Every default can be opened by a rule that names it.
func TestAllowOverridesDefaults(t *testing.T) {
	for _, c := range []struct{ dst, prefix string }{
		{"127.0.0.1:80", "127.0.0.0/8"},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1"},
		{"127.0.0.1:80", "::ffff:127.0.0.0/104"},
		{"[::1]:80", "::1/128"},
		{"0.0.0.0:80", "0.0.0.0"},
		{"[::]:80", "::"},
		{"169.254.169.254:80", "169.254.0.0/16"},
		{"[fe80::1%eth0]:80", "fe80::/64"},
		{"224.0.0.251:5353", "224.0.0.0/24"},
		{"[ff02::fb]:5353", "ff02::/16"},
		{"255.255.255.255:67", "255.255.255.255/32"},
		{"192.168.1.255:67", "192.168.1.255"},
		{"192.168.1.1:80", "192.168.1.1"},
		{"5.6.7.5:80", "5.6.7.5"},
		{"5.6.7.6:80", "5.6.7.0/28"},
		{"[2a00:1:2:3::8]:80", "2a00:1:2:3::/64"},
		{"12.0.0.1:80", "12.0.0.1"},
		{"13.0.0.1:80", "13.0.0.1"},
		{"203.0.113.1:80", "203.0.113.0/24"},
		{"[64:ff9b:1::1]:80", "64:ff9b:1::/48"},
		{"10.0.0.1:80", "10.0.0.0/8"},
		{"100.64.0.1:80", "100.64.0.0/10"},
		{"[fd00::1]:80", "fd00::/8"},
	} {
		p := mustNew(t, Rule{Action: "allow", Prefix: []string{c.prefix}})
		if got := ruleOf(t, p, "c", "udp", c.dst); got != "" {
			t.Errorf("%s with allow %s: denied by %q", c.dst, c.prefix, got)
		}
		if got := ruleOf(t, mustNew(t, Rule{Action: "allow"}), "c", "udp", c.dst); !strings.HasPrefix(got, "default: ") {
			t.Errorf("%s with allow of anything: %q, want a default to deny", c.dst, got)
		}
	}
}

func TestValidation(t *testing.T) {
	ok := Rule{Action: "allow"}
	for _, c := range []struct {
		rules []Rule
		want  []string
	}{
		{[]Rule{{}}, []string{"rule 1", "action", `""`}},
		{[]Rule{ok, {Action: "Allow"}}, []string{"rule 2", "action", `"Allow"`}},
		{[]Rule{ok, ok, {Action: "deny", Prefix: []string{"10.0.0.0/8", "10.0.0.0/33"}}}, []string{"rule 3", "prefix", "10.0.0.0/33"}},
		{[]Rule{{Action: "deny", Prefix: []string{"10.0.0.1/8"}}}, []string{"rule 1", "prefix", "did you mean 10.0.0.0/8"}},
		{[]Rule{{Action: "deny", Prefix: []string{"localhost"}}}, []string{"prefix", `"localhost"`}},
		{[]Rule{{Action: "deny", Prefix: []string{"fe80::1%eth0"}}}, []string{"prefix", "zone"}},
		{[]Rule{{Action: "deny", Prefix: []string{""}}}, []string{"prefix"}},
		{[]Rule{{Action: "deny", Prefix: []string{}}}, []string{"prefix", "leave it out"}},
		{[]Rule{{Action: "deny", Ports: []string{"0"}}}, []string{"ports", `"0"`}},
		{[]Rule{{Action: "deny", Ports: []string{"65536"}}}, []string{"ports"}},
		{[]Rule{{Action: "deny", Ports: []string{"-5"}}}, []string{"ports"}},
		{[]Rule{{Action: "deny", Ports: []string{"5-"}}}, []string{"ports"}},
		{[]Rule{{Action: "deny", Ports: []string{"1-2-3"}}}, []string{"ports"}},
		{[]Rule{{Action: "deny", Ports: []string{"http"}}}, []string{"ports"}},
		{[]Rule{{Action: "deny", Ports: []string{"9-8"}}}, []string{"ports", "backwards"}},
		{[]Rule{{Action: "deny", Transport: []string{"TCP"}}}, []string{"transport", `"TCP"`}},
		{[]Rule{{Action: "deny", Cards: []string{""}}}, []string{"cards"}},
	} {
		p, err := New(Config{Rules: c.rules})
		if err == nil || p != nil {
			t.Errorf("%+v: no error", c.rules)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: error %q lacks %q", c.rules, err, w)
			}
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		glob, name string
		want       bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"**", "x", true}, {"?", "", false}, {"?", "x", true}, {"a*c", "abcc", true},
		{"a*c", "abcd", false}, {"*a*b*", "xxaxxbxx", true}, {"*a*b", "xxaxxbxx", false}, {"[x]", "x", false}, {"[x]", "[x]", true},
		{"abc", "abcd", false}, {"abcd", "abc", false}, {"a?c*", "abc", true},
		{strings.Repeat("*a", 30) + "b", strings.Repeat("a", 5000), false}, // backtracking must stay bounded
	} {
		if got := matchGlob(c.glob, c.name); got != c.want {
			t.Errorf("matchGlob(%.20q, %.20q) = %v", c.glob, c.name, got)
		}
	}
}

func TestDeniedError(t *testing.T) {
	p := mustNew(t, Rule{Action: "allow"}, Rule{Action: "deny", Prefix: []string{"10.0.0.0/8"}})
	err := p.Check(Request{Card: "card1", Network: "tcp", Destination: netip.MustParseAddrPort("10.1.1.1:443")})
	if want := `egress: card "card1" may not reach tcp 10.1.1.1:443: rule 2 (deny 10.0.0.0/8)`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	p.file = "/etc/apd/apd.toml"
	err = p.Check(Request{Card: "card1", Network: "udp", Destination: netip.MustParseAddrPort("127.0.0.1:53")})
	want := `egress: card "card1" may not reach udp 127.0.0.1:53: default: loopback (an allow rule of /etc/apd/apd.toml for a prefix within 127.0.0.0/8 would open it)`
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{0, 10, 100} {
		var rules []Rule
		for i := range n {
			rules = append(rules, Rule{Action: "deny", Prefix: []string{fmt.Sprintf("198.18.%d.0/24", i)}, Ports: []string{"1-1024"}, Cards: []string{"card*"}})
		}
		p := mustNew(b, rules...)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			dst := netip.MustParseAddrPort("8.8.8.8:443")
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Check(Request{Card: "card1", Network: "tcp", Destination: dst}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("host", func(b *testing.B) { // with the kernel asked for the own addresses
		p, err := New(Config{})
		if err != nil {
			b.Fatal(err)
		}
		dst := netip.MustParseAddrPort("8.8.8.8:443")
		for b.Loop() {
			if err := p.Check(Request{Card: "card1", Network: "tcp", Destination: dst}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A rule may name the profile, in any case, and the interface: the one that the connection is bound to, else the route's.
func TestProfileAndInterface(t *testing.T) {
	host := gateway()
	host.links.Names = map[int]string{1: "lo", 2: "lan0"}
	for name, tc := range map[string]struct {
		rule Rule
		ask  Request
		ok   bool
	}{
		"profile":               {Rule{Profiles: []string{"OTA.*"}}, Request{Profile: "ota.Example"}, false},
		"another profile":       {Rule{Profiles: []string{"ota.*"}}, Request{Profile: "internet"}, true},
		"no profile":            {Rule{Profiles: []string{"ota.*"}}, Request{}, true},
		"bound":                 {Rule{Interfaces: []string{"wlan?"}}, Request{Interface: "wlan0"}, false},
		"bound elsewhere":       {Rule{Interfaces: []string{"lan*"}}, Request{Interface: "wlan0"}, true},
		"by the route":          {Rule{Interfaces: []string{"lan*"}}, Request{}, false},
		"by another route":      {Rule{Interfaces: []string{"wlan*"}}, Request{}, true},
		"interfaces are exact":  {Rule{Interfaces: []string{"LAN0"}}, Request{}, true},
		"both, and one differs": {Rule{Profiles: []string{"a"}, Interfaces: []string{"lan0"}}, Request{Profile: "b"}, true},
		"both":                  {Rule{Profiles: []string{"a"}, Interfaces: []string{"lan0"}}, Request{Profile: "a"}, false},
	} {
		tc.rule.Action = "deny"
		p, err := New(Config{Rules: []Rule{tc.rule}, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		tc.ask.Card, tc.ask.Network, tc.ask.Destination = "c", "tcp", netip.MustParseAddrPort("8.8.8.8:443")
		if err := p.Check(tc.ask); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	profiles, interfaces := []string{"A"}, []string{"lan0"}
	for _, tc := range []struct {
		rule           Rule
		server         string
		profile, iface string // of the profile that tells of the server
		ok             bool
	}{
		{Rule{Action: "deny", Profiles: profiles}, "8.8.8.8", "b", "", true},
		{Rule{Action: "deny", Profiles: profiles}, "8.8.8.8", "a", "", false},
		{Rule{Action: "deny", Profiles: profiles, Cards: []string{"c"}}, "8.8.8.8", "a", "", true},
		{Rule{Action: "deny", Interfaces: interfaces}, "8.8.8.8", "a", "", true}, // the routes may be others then
		{Rule{Action: "deny", Interfaces: interfaces}, "8.8.8.8", "a", "wlan0", true},
		{Rule{Action: "deny", Interfaces: interfaces}, "8.8.8.8", "a", "lan0", false},
		{Rule{Action: "allow", Prefix: []string{"127.0.0.53"}, Profiles: profiles}, "127.0.0.53", "b", "", false},
		{Rule{Action: "allow", Prefix: []string{"127.0.0.53"}, Profiles: profiles}, "127.0.0.53", "a", "", true},
		{Rule{Action: "allow", Prefix: []string{"127.0.0.53"}, Interfaces: interfaces}, "127.0.0.53", "a", "", true},
		{Rule{Action: "allow", Prefix: []string{"127.0.0.53"}, Interfaces: interfaces}, "127.0.0.53", "a", "wlan0", false},
	} {
		p, err := New(Config{Rules: []Rule{tc.rule}, Host: host})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.CheckDNS(netip.MustParseAddr(tc.server), tc.profile, tc.iface); (err == nil) != tc.ok {
			t.Errorf("%+v, DNS server %s of profile %s at %q: %v", tc.rule, tc.server, tc.profile, tc.iface, err)
		}
	}
	for field, r := range map[string]Rule{
		"profiles": {Action: "deny", Profiles: []string{}}, "interfaces": {Action: "deny", Interfaces: []string{""}}, "cards": {Action: "deny", Cards: []string{}},
	} {
		if _, err := New(Config{Rules: []Rule{r}, Host: host}); err == nil || !strings.Contains(err.Error(), "rule 1: "+field) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
