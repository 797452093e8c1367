package ap

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"bipd/internal/netbed"
	"bipd/ptylink"
)

// The state of interfaces in a namespace of its own, from nothing to an address.
func TestInterfaces(t *testing.T) {
	host, err := netbed.ForTest(t).Host("gateway")
	if err != nil {
		t.Fatal(err)
	}
	status := func(iface string) Status {
		t.Helper()
		var s Status
		err := host.Do(func() (err error) {
			s, err = Interfaces{}.Status(context.Background(), iface)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := func(iface string, up bool, gives, reason string) {
		t.Helper()
		if s := status(iface); s.Up != up || s.Interface != gives || !strings.Contains(s.Reason, reason) || up != (s.Reason == "") {
			t.Errorf("interface %q: %+v, want up %v, %q, %q", iface, s, up, gives, reason)
		}
	}
	change := func(what string, f func() error) {
		t.Helper()
		if err := host.Do(f); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}

	want("", false, "", "no interface but loopback")
	want("wlan7", false, "wlan7", "no such interface")
	want("lo", true, "lo", "") // asked for by name it counts

	// A veth whose other end is down has no carrier, as a WLAN without association.
	wlan := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wlan7"}, PeerName: "far"}
	change("add", func() error { return netlink.LinkAdd(wlan) })
	want("wlan7", false, "wlan7", "interface is down")
	want("", false, "", "interface is down")

	addr, err := netlink.ParseAddr("192.0.2.1/24")
	if err != nil {
		t.Fatal(err)
	}
	change("up", func() error { return errors.Join(netlink.LinkSetUp(wlan), netlink.AddrAdd(wlan, addr)) })
	want("wlan7", false, "wlan7", "no carrier or association")
	want("", false, "", "") // the reason is that of either end

	change("associate", func() error {
		far, err := netlink.LinkByName("far")
		return errors.Join(err, netlink.LinkSetUp(far))
	})
	if !eventually(func() bool { return status("wlan7").Up }) { // the kernel tells the carrier a little later
		t.Errorf("associated: %+v", status("wlan7"))
	}
	want("", true, "wlan7", "")

	change("remove the address", func() error { return netlink.AddrDel(wlan, addr) })
	want("wlan7", false, "wlan7", "no address") // link-local at most
	want("", false, "", "no address and no route")

	dst, err := netlink.ParseIPNet("198.51.100.0/24")
	if err != nil {
		t.Fatal(err)
	}
	change("route", func() error {
		return netlink.RouteAdd(&netlink.Route{LinkIndex: wlan.Index, Dst: dst, Scope: netlink.SCOPE_LINK})
	})
	want("wlan7", false, "wlan7", "no address")
	want("", true, "wlan7", "")
}

// switchable is a Network that a test switches.
type switchable struct {
	mu  sync.Mutex
	now Status
	err error
}

func (s *switchable) set(now Status, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.err = now, err
}

func (s *switchable) Status(context.Context, string) (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.err
}

// The CP is told when the network changes, and only then.
func TestNetworkChanges(t *testing.T) {
	network := &switchable{now: Status{Up: true, Access: ptylink.AccessWLAN, Interface: "wlan0"}}
	a := newAP(t, func(cfg *Config) { cfg.Network, cfg.NetworkEvery = network, 5*time.Millisecond })
	c := serve(t, a.AP, "line1")
	if n, err := c.link.NetStat(c.ctx()); err != nil || n != (ptylink.NetStat{Access: ptylink.AccessWLAN, Up: true, Interface: "wlan0"}) {
		t.Errorf("state %+v, %v", n, err)
	}
	network.set(Status{}, errors.New("unknown for a while"))
	network.set(Status{Access: ptylink.AccessWLAN, Interface: "wlan0", Reason: "no association"}, nil)
	if code := receive(t, c.codes, "%NETSTAT"); code != `%NETSTAT: 100,0,"wlan0"` {
		t.Errorf("unsolicited %s", code)
	}
	network.set(Status{Up: true, Access: ptylink.AccessWired, Interface: "eth0"}, nil)
	if code := receive(t, c.codes, "%NETSTAT"); code != `%NETSTAT: 101,1,"eth0"` {
		t.Errorf("unsolicited %s", code)
	}
	if len(c.codes) != 0 {
		t.Errorf("unsolicited %s without a change", <-c.codes)
	}
}
