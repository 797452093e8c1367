package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bipd/internal/netbed"
)

// The process's own interfaces are known without any privilege.
func TestKernelAddresses(t *testing.T) {
	links, err := new(Kernel).Links()
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if len(links.Addrs) != len(want) {
		t.Errorf("%d addresses, package net has %d", len(links.Addrs), len(want))
	}
	for _, a := range want {
		addr := netip.MustParsePrefix(a.String())
		if got := ruleOf(t, p, "c", "tcp", netip.AddrPortFrom(addr.Addr(), 80).String()); got == "" {
			t.Errorf("own address %s passes", a)
		}
	}
}

// bedOf is a machine at a link, "to-host" there, whose routes lead through the host, and a Kernel that belongs to it.
func bedOf(t *testing.T) (*netbed.Host, *Kernel) {
	t.Helper()
	bed := netbed.ForTest(t)
	machine, err := bed.Host("machine")
	if err != nil {
		t.Fatal(err)
	}
	host, err := bed.Host("host")
	if err != nil {
		t.Fatal(err)
	}
	if err := bed.Link(machine, host, "9.8.7.2/24", "9.8.7.1/24", netbed.DefaultRoute(machine)); err != nil {
		t.Fatal(err)
	}
	if err := bed.Link(machine, host, "2a00:1:2:3::2/64", "2a00:1:2:3::1/64", netbed.DefaultRoute(machine)); err != nil {
		t.Fatal(err)
	}
	k := new(Kernel)
	if err := machine.Do(func() error { _, err := k.Links(); return err }); err != nil {
		t.Fatal(err)
	}
	return machine, k
}

// route is a route to dst over the interface, of a type, through a next hop if any.
func route(dst, iface string, kind int, via string) error {
	link, err := netlink.LinkByName(iface)
	if err != nil {
		return err
	}
	_, to, err := net.ParseCIDR(dst)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: to, Type: kind, Gw: net.ParseIP(via)}
	if kind != unix.RTN_UNICAST {
		r.Table = unix.RT_TABLE_LOCAL
	}
	if via == "" {
		r.Scope = netlink.SCOPE_LINK
	}
	if kind == unix.RTN_LOCAL {
		r.Scope = netlink.SCOPE_HOST
	}
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("route to %s: %w", dst, err)
	}
	return nil
}

// What the kernel of a network namespace says counts, at each check: addresses, subnets, next hops, and the types of routes.
func TestKernelInNamespace(t *testing.T) {
	machine, k := bedOf(t)
	p, err := New(Config{Host: k})
	if err != nil {
		t.Fatal(err)
	}
	want := func(when string, answers map[string]string) {
		t.Helper()
		for dst, rule := range answers {
			if got := ruleOf(t, p, "c", "tcp", dst); got != rule {
				t.Errorf("%s: %s is denied by %q, want %q", when, dst, got, rule)
			}
		}
	}
	do := func(f func() error) {
		t.Helper()
		if err := machine.Do(f); err != nil {
			t.Fatal(err)
		}
	}
	want("at first", map[string]string{
		"8.8.8.8:443": "", "[2606:4700::1111]:443": "", "9.8.6.1:443": "", "[2a00:1:2:4::1]:443": "",
		"9.8.7.2:443": "default: own address", "[2a00:1:2:3::2]:443": "default: own address",
		"9.8.7.1:443": "default: next hop", "[2a00:1:2:3::1]:443": "default: next hop",
		"9.8.7.9:443": "default: own subnet", "[2a00:1:2:3::9]:443": "default: own subnet",
		"9.8.7.255:443": "default: broadcast", "[2a00:1:2:3::]:443": "default: own address",
		"11.2.0.5:443": "", "[2a00:5::5]:443": "", "12.1.0.7:443": "", "13.1.0.7:443": "", "9.9.9.9:443": "", "14.0.0.1:443": "",
		"15.0.0.1:443": "", "15.0.0.2:443": "", "16.0.0.1:443": "", "17.0.0.1:443": "",
	})
	do(func() error { // AnyIP, on-link routes, more next hops
		return errors.Join(
			route("11.2.0.0/24", "lo", unix.RTN_LOCAL, ""),
			route("2a00:5::/64", "lo", unix.RTN_LOCAL, ""),
			route("14.0.0.1/32", "to-host", unix.RTN_BROADCAST, ""),
			route("12.1.0.0/24", "to-host", unix.RTN_UNICAST, ""),
			route("9.9.9.0/24", "to-host", unix.RTN_UNICAST, "9.8.7.100"),
		)
	})
	want("with routes", map[string]string{
		"11.2.0.5:443": "default: own address", "11.2.1.5:443": "", "[2a00:5::5]:443": "default: own address",
		"[64:ff9b::11.2.0.5]:443": "default: own address", "14.0.0.1:443": "default: broadcast",
		"12.1.0.7:443": "default: own subnet", "9.8.7.100:443": "default: next hop", "9.9.9.9:443": "",
	})
	do(func() error { // a link on which nobody is asked for, as a tunnel or a modem
		link, err := netlink.LinkByName("to-host-2")
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetARPOff(link), route("13.1.0.0/24", "to-host-2", unix.RTN_UNICAST, ""))
	})
	want("with a modem", map[string]string{"13.1.0.7:443": ""})
	do(func() error { // two next hops of one route, and one of the other family
		link, err := netlink.LinkByName("to-host")
		if err != nil {
			return err
		}
		_, two, _ := net.ParseCIDR("15.1.0.0/16")
		_, other, _ := net.ParseCIDR("16.1.0.0/16")
		hop := func(gw string) *netlink.NexthopInfo {
			return &netlink.NexthopInfo{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gw), Flags: int(netlink.FLAG_ONLINK)}
		}
		six, err := netlink.LinkByName("to-host-2")
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Dst: two, MultiPath: []*netlink.NexthopInfo{hop("15.0.0.1"), hop("15.0.0.2")}}),
			netlink.RouteAdd(&netlink.Route{Dst: other, LinkIndex: six.Attrs().Index,
				Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("2a00:1:2:3::77")}}),
		)
	})
	want("with two next hops", map[string]string{
		"15.0.0.1:443": "default: next hop", "15.0.0.2:443": "default: next hop", "15.1.0.1:443": "",
		"[2a00:1:2:3::77]:443": "default: next hop", "16.1.0.1:443": "",
	})
	do(func() error { // the address, and with it the on-link routes, goes
		link, err := netlink.LinkByName("to-host")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("9.8.7.2/24")
		if err != nil {
			return err
		}
		return netlink.AddrDel(link, addr)
	})
	want("without the address", map[string]string{
		"9.8.7.2:443": "", "9.8.7.9:443": "", "9.8.7.1:443": "", "9.8.7.100:443": "", "[2a00:1:2:3::9]:443": "default: own subnet",
	})
}

// The local address has to be of the interface that the route, or the binding, leads to.
func TestKernelLocalAddress(t *testing.T) {
	machine, k := bedOf(t)
	if err := machine.Do(func() error {
		link, err := netlink.LinkByName("to-host-2")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("4.4.4.4/24")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(link, addr), route("8.0.0.0/8", "to-host-2", unix.RTN_UNICAST, "4.4.4.1"))
	}); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Host: k})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		local, iface, dst string
		ok                bool
	}{
		{"9.8.7.2", "", "9.9.9.9:53", true},
		{"9.8.7.2", "to-host", "9.9.9.9:53", true},
		{"4.4.4.4", "", "8.8.8.8:53", true},
		{"2a00:1:2:3::2", "", "[2606:4700::1111]:53", true},
		{"4.4.4.4", "", "9.9.9.9:53", false},
		{"9.8.7.2", "", "8.8.8.8:53", false},
		{"127.0.0.1", "", "9.9.9.9:53", false},
		{"9.8.7.77", "", "9.9.9.9:53", false},
		{"4.4.4.4", "to-host", "9.9.9.9:53", false},
		{"9.8.7.2", "to-host-2", "8.8.8.8:53", false},
		{"9.8.7.2", "nowhere", "9.9.9.9:53", true}, // the connection fails by itself
	} {
		r := Request{Card: "c", Network: "tcp", Destination: netip.MustParseAddrPort(c.dst), Local: netip.MustParseAddr(c.local), Interface: c.iface}
		if err := p.Check(r); c.ok != (err == nil) || !c.ok && !errors.As(err, new(*LocalError)) {
			t.Errorf("from %s by %q to %s: %v, want it to pass: %v", c.local, c.iface, c.dst, err, c.ok)
		}
	}
}

// Routes of type local count whatever the connection is bound to, and in whichever table they are: a router may send back
// what does not meet them on its way out. The default route of a set-up with TPROXY takes nothing.
func TestKernelLocalRoutesOfAnyTable(t *testing.T) {
	machine, k := bedOf(t)
	if err := machine.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		add := func(dst string) error {
			_, to, err := net.ParseCIDR(dst)
			if err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: to, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Table: 100})
		}
		return errors.Join(
			route("11.2.0.0/24", "lo", unix.RTN_LOCAL, ""), route("2a00:5::/64", "lo", unix.RTN_LOCAL, ""),
			add("11.3.0.0/24"), add("2a00:6::/64"), add("0.0.0.0/0"), add("::/0"),
		)
	}); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Host: k})
	if err != nil {
		t.Fatal(err)
	}
	for _, iface := range []string{"", "to-host", "to-host-2"} {
		for dst, rule := range map[string]string{
			"11.2.0.5": "default: own address", "2a00:5::5": "default: own address", "64:ff9b::11.2.0.5": "default: own address",
			"11.3.0.5": "default: own address", "2a00:6::5": "default: own address", "11.4.0.5": "", "2a00:7::5": "",
		} {
			err := p.Check(Request{Card: "c", Network: "tcp", Destination: netip.AddrPortFrom(netip.MustParseAddr(dst), 443), Interface: iface})
			var d *Denied
			if errors.As(err, &d); rule == "" && err != nil || rule != "" && (d == nil || d.Rule != rule) {
				t.Errorf("bound to %q: to %s: %v, want %q", iface, dst, err, rule)
			}
		}
	}
}
