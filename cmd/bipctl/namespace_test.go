package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bipd/cat"
	"bipd/internal/netbed"
	"bipd/softuicc"
	"bipd/trace"
)

// listed and unlisted are addresses of the host behind apd's namespace, of which apd's configuration has one.
const (
	listed   = "5.5.5.5"
	unlisted = "5.5.5.6"
)

// addAddress gives an interface of a host an address.
func (s *stand) addAddress(host *netbed.Host, iface, address string) {
	s.Helper()
	if err := host.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(link, addr)
	}); err != nil {
		s.Fatal(err)
	}
}

// greet has a host answer every connection to a port, whatever the address.
func (s *stand) greet(host *netbed.Host, port string) {
	s.Helper()
	l, err := host.Listen(s.ctx, "tcp", "0.0.0.0:"+port)
	if err != nil {
		s.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	s.Cleanup(func() {
		l.Close()
		<-ended
	})
}

// apd has a namespace of its own, through the host: a card reaches neither the host's addresses that apd.toml lists, nor
// the host as apd's next hop, nor what apd's namespace takes for itself. bipd, which sees only lo, lets all pass.
func TestApdInItsNamespace(t *testing.T) {
	needNamespaces(t)
	s := newStand(t, trace.Method2, map[string]string{
		"apd.toml rules": "[egress]\nown_addresses = [\"" + listed + "\"]\n",
	})
	const gateway = "203.0.113.81"
	s.addAddress(s.net.internet, "to-ap", gateway+"/24")
	s.addAddress(s.net.internet, "lo", listed+"/32")
	s.addAddress(s.net.internet, "lo", unlisted+"/32")
	if err := s.net.ap.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		_, any, _ := net.ParseCIDR("6.6.6.0/24")
		return errors.Join(
			netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}),
			netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: any, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST}),
		)
	}); err != nil {
		t.Fatal(err)
	}
	s.greet(s.net.internet, "7001")
	s.greet(s.net.ap, "7001")
	var greeting []byte
	if err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
		c, err := tk.Dialer(s.dial(cat.OpenImmediate))(ctx, "tcp", unlisted+":7001")
		if err != nil {
			return err
		}
		greeting, err = io.ReadAll(c)
		return errors.Join(err, c.Close())
	}); err != nil || string(greeting) != "hello" {
		t.Errorf("an address that nobody lists: %q, %v; it is as any other", greeting, err)
	}
	file := " (an allow rule of " + s.dir + "/apd.toml"
	s.refuses(
		refusal{listed + ":7001", cat.BIPSecurityError, []string{listed + ":7001", "default: own address" + file}, false},
		refusal{gateway + ":7001", cat.BIPSecurityError, []string{gateway + ":7001", "default: next hop" + file}, false},
		refusal{"6.6.6.6:7001", cat.BIPSecurityError, []string{"6.6.6.6:7001", "default: own address" + file}, false},
	)
	s.logged(s.term.cp, "6.6.6.6:7001", "by the rules of the AP")
}

// A card connects from the address of its choice where it is one of the interface that leads to the server.
func TestLocalAddressOfChoice(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, nil, func(s *stand) {
		const other, elsewhere = "203.0.113.3", "203.0.113.4"
		s.addAddress(s.inside(), "to-internet", other+"/24")
		s.addAddress(s.inside(), "lo", elsewhere+"/32")
		from := make(chan string, 1)
		s.serve(wordPort, func(c *net.TCPConn) {
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			from <- host
		})
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			dial := func(local string) (net.Conn, error) {
				p, addr := s.dial(cat.OpenImmediate), netip.MustParseAddr(local)
				p.Local = &addr
				return tk.Dialer(p)(ctx, "tcp", s.server(wordPort))
			}
			for _, local := range []string{other, "203.0.113.2"} {
				c, err := dial(local)
				if err != nil {
					return fmt.Errorf("from %s: %w", local, err)
				}
				if got := <-from; got != local {
					return fmt.Errorf("connected from %s, want %s", got, local)
				}
				if err := c.Close(); err != nil {
					return err
				}
			}
			for _, local := range []string{elsewhere, "127.0.0.1", "203.0.113.80", "203.0.113.77"} {
				_, err := dial(local)
				var r *softuicc.ResultError
				if !errors.As(err, &r) || !slices.Equal(r.Result.Info, []byte{cat.BIPNoSpecificCause}) {
					return fmt.Errorf("from %s: %v, want 3A 00", local, err)
				}
			}
			return nil
		})
		if err != nil {
			s.Error(err)
		}
		s.logged(s.term.cp, "local address is not one of the route")
	})
}
