package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// own is a gateway with a LAN, a public address and IPv6.
func own() ([]netip.Prefix, error) {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.1/8"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("192.168.1.1/24"),
		netip.MustParsePrefix("203.0.113.5/28"),
		netip.MustParsePrefix("::ffff:198.51.100.9/126"), // 198.51.100.8/30
		netip.MustParsePrefix("2001:db8:1::7/64"),
		netip.MustParsePrefix("fe80::7/64"),
	}, nil
}

func mustNew(t testing.TB, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(rules, own)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ruleOf returns what denied, or "" where dst passed.
func ruleOf(t testing.TB, p *Policy, card, network, dst string) string {
	t.Helper()
	err := p.Check(card, network, netip.MustParseAddrPort(dst))
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
		{"203.0.113.6:443", ""}, // a neighbour
		{"[2606:4700::1111]:443", ""},
		{"[::ffff:8.8.8.8]:443", ""},
		{"[64:ff9b::8.8.8.8]:443", ""},
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
		{"[64:ff9b:1::127.0.0.1]:80", "default: loopback"},
		{"[::ffff:0:127.0.0.1]:80", "default: loopback"},
		{"[2002:7f00:1::]:80", "default: loopback"},
		{"169.254.169.254:80", "default: link-local"},
		{"[::ffff:169.254.169.254]:80", "default: link-local"},
		{"[fe80::1]:80", "default: link-local"},
		{"[fe80::1%eth0]:80", "default: link-local"},
		{"[febf::1]:80", "default: link-local"},
		{"224.0.0.251:5353", "default: multicast"},
		{"239.255.255.250:1900", "default: multicast"},
		{"[ff02::fb]:5353", "default: multicast"},
		{"255.255.255.255:67", "default: broadcast"},
		{"192.168.1.255:67", "default: broadcast"},
		{"192.168.1.0:67", "default: broadcast"},
		{"203.0.113.15:67", "default: broadcast"},
		{"203.0.113.0:67", "default: broadcast"},
		{"198.51.100.11:67", "default: broadcast"},
		{"192.168.1.1:22", "default: own address"},
		{"203.0.113.5:22", "default: own address"},
		{"198.51.100.9:22", "default: own address"},
		{"[2001:db8:1::7]:22", "default: own address"},
		{"[2001:db8:1::]:22", "default: own address"}, // subnet-router anycast
		{"[64:ff9b::203.0.113.5]:22", "default: own address"},
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
		if err := p.Check("c", c.network, c.dst); !errors.As(err, &d) || d.Rule != c.rule {
			t.Errorf("%q %v: %v, want %q", c.network, c.dst, err, c.rule)
		}
	}
}

// Own addresses are asked for at each check, and not to know them denies.
func TestOwnAddressesAtCheckTime(t *testing.T) {
	var list []netip.Prefix
	var fail error
	p, err := New(nil, func() ([]netip.Prefix, error) { return list, fail })
	if err != nil {
		t.Fatal(err)
	}
	const dst = "203.0.113.77:443"
	if got := ruleOf(t, p, "c", "tcp", dst); got != "" {
		t.Errorf("denied by %q before it is an own address", got)
	}
	list = []netip.Prefix{netip.MustParsePrefix("203.0.113.77/32")}
	if got := ruleOf(t, p, "c", "tcp", dst); got != "default: own address" {
		t.Errorf("denied by %q, want own address", got)
	}
	fail = errors.New("netlink says no")
	if got := ruleOf(t, p, "c", "tcp", "8.8.8.8:1"); !strings.Contains(got, "netlink says no") {
		t.Errorf("denied by %q, want the cause", got)
	}
}

func TestHostAddrs(t *testing.T) {
	own, err := HostAddrs()
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	if len(own) != len(want) {
		t.Errorf("%d addresses, package net has %d", len(own), len(want))
	}
	p, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if got := ruleOf(t, p, "c", "tcp", netip.AddrPortFrom(a.Addr(), 80).String()); got == "" {
			t.Errorf("own address %s passes", a)
		}
	}
}

func TestRules(t *testing.T) {
	p := mustNew(t,
		Rule{Action: "deny", Ports: []string{"25", "135-139"}},
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
		{"203.0.113.5:80", "203.0.113.5"},
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
		p, err := New(c.rules, own)
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
	err := p.Check("card1", "tcp", netip.MustParseAddrPort("10.1.1.1:443"))
	if want := `egress: card "card1" may not reach tcp 10.1.1.1:443: rule 2 (deny 10.0.0.0/8)`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	err = p.Check("card1", "udp", netip.MustParseAddrPort("127.0.0.1:53"))
	want := `egress: card "card1" may not reach udp 127.0.0.1:53: default: loopback (an allow rule within 127.0.0.0/8 would open it)`
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
				if err := p.Check("card1", "tcp", dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("host", func(b *testing.B) { // with the kernel asked for the own addresses
		p, err := New(nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		dst := netip.MustParseAddrPort("8.8.8.8:443")
		for b.Loop() {
			if err := p.Check("card1", "tcp", dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}
