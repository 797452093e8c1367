package egress

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// closedToo are the globally reachable entries that cards do not reach all the same: a Port Control Protocol server
// opens ports of the NAT to whoever asks, hence to the gateway.
var closedToo = map[string]bool{"192.0.0.9/32": true, "2001:1::1/128": true}

// decoded are entries of which an address is judged by the IPv4 addresses that it carries.
var decoded = map[string]bool{"64:ff9b::/96": true, "2001::/32": true, "2002::/16": true, "::ffff:0:0/96": true}

type entry struct {
	prefix    netip.Prefix
	reachable string
}

// registry reads the list.
func registry(t *testing.T) []entry {
	t.Helper()
	text, err := os.ReadFile("testdata/special-purpose.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		p, err := netip.ParsePrefix(fields[0])
		if err != nil || p != p.Masked() || len(fields) < 4 || !strings.HasPrefix(fields[2], "RFC") || !strings.Contains("yes no -", fields[1]) {
			t.Fatalf("bad line %q: %v", lines.Text(), err)
		}
		list = append(list, entry{p, fields[1]})
	}
	return list
}

// last is the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// The defaults are the registries': what is globally reachable passes, nothing else does.
func TestDefaultsFollowRegistries(t *testing.T) {
	p, err := New(Config{Host: &machine{}})
	if err != nil {
		t.Fatal(err)
	}
	list := registry(t)
	if len(list) != 51 {
		t.Errorf("%d entries, want 51", len(list))
	}
	tried := 0
	for _, e := range list {
		if decoded[e.prefix.String()] {
			continue
		}
		for _, addr := range []netip.Addr{e.prefix.Addr(), e.prefix.Addr().Next(), last(e.prefix).Prev(), last(e.prefix)} {
			if !e.prefix.Contains(addr) || inLonger(list, e.prefix, addr) {
				continue
			}
			tried++
			want := e.reachable == "yes" && !closedToo[e.prefix.String()]
			if err := check(p, "tcp", netip.AddrPortFrom(addr, 443)); (err == nil) != want {
				t.Errorf("%s of %s: %v, want it to pass: %v", addr, e.prefix, err, want)
			}
		}
	}
	if tried < 2*len(list) {
		t.Errorf("only %d addresses tried", tried)
	}
	for prefix := range decoded {
		var carries [maxEmbedded]netip.Addr
		addr := netip.MustParsePrefix(prefix).Addr().Next().Next() // not ::1
		if addr.Is4In6() {
			continue // is an IPv4 address before anything else
		}
		if len(appendEmbedded(carries[:0], addr)) == 0 {
			t.Errorf("%s carries no IPv4 address", addr)
		}
	}
}

func inLonger(list []entry, than netip.Prefix, addr netip.Addr) bool {
	for _, e := range list {
		if e.prefix.Bits() > than.Bits() && e.prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Every entry that is denied can be opened by a rule that names it, and by no wider one.
func TestAllowOpensWhatItNames(t *testing.T) {
	wide, err := New(Config{Host: &machine{}, Rules: []Rule{{Action: "allow"}, {Action: "allow", Prefix: []string{"0.0.0.0/0", "::/0"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range registry(t) {
		if e.prefix.Addr().Is4In6() {
			continue
		}
		dst := netip.AddrPortFrom(e.prefix.Addr().Next(), 443)
		if e.prefix.IsSingleIP() {
			dst = netip.AddrPortFrom(e.prefix.Addr(), 443)
		}
		prefixes := []string{e.prefix.String(), specialOf(dst.Addr()).prefix.String()}
		if prefixes[1] == "invalid Prefix" {
			continue // passes without a rule
		}
		exact, err := New(Config{Host: &machine{}, Rules: []Rule{{Action: "allow", Prefix: prefixes}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := check(exact, "tcp", dst); err != nil {
			t.Errorf("allow %s: %v", prefixes, err)
		}
		if check(wide, "tcp", dst) == nil {
			t.Errorf("a rule for everything opens %s", dst)
		}
		if next := last(netip.MustParsePrefix(prefixes[1])).Next(); next.IsValid() {
			dst := netip.AddrPortFrom(next, 443)
			if (check(exact, "tcp", dst) == nil) != (check(wide, "tcp", dst) == nil) {
				t.Errorf("allow %s changes the answer for %s", prefixes, dst)
			}
		}
	}
}
