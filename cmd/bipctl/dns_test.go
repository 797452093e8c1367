package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// A card looks names up over UDP before it connects: Go's resolver does so here, over a BIP channel.
func TestDNS(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, nil, func(s *stand) {
		s.serveDNS()
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			servers, err := askDNS(ctx, tk, s)
			if err != nil || !slices.Equal(servers, []netip.Addr{s.net.server}) {
				return fmt.Errorf("DNS servers %v, %w", servers, err)
			}
			for _, name := range []string{"ota.example.", strings.Repeat("long-label.", 20) + "example."} {
				got, err := resolver(ctx, tk, s).LookupNetIP(ctx, "ip4", name)
				if want := addressOf(name); err != nil || len(got) != 1 || got[0] != want {
					return fmt.Errorf("%s is %v, %w; want %v", name, got, err, want)
				}
			}
			if got, err := resolver(ctx, tk, s).LookupNetIP(ctx, "ip4", "missing.example."); err == nil {
				return fmt.Errorf("a missing name is %v", got)
			} else if e, ok := err.(*net.DNSError); !ok || !e.IsNotFound {
				return fmt.Errorf("a missing name: %w", err)
			}
			return nil
		})
		if err != nil {
			s.Error(err)
		}
	})
}

// A card may ask the DNS server that it was told of without a rule, and nothing else there.
func TestDNSWithoutRule(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, map[string]string{"bipd.toml rules": noRules, "apd.toml rules": noRules}, func(s *stand) {
		s.serveDNS()
		s.serve(wordPort, repeatWord)
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			if _, err := askDNS(ctx, tk, s); err != nil {
				return err
			}
			const name = "ota.example."
			if got, err := resolver(ctx, tk, s).LookupNetIP(ctx, "ip4", name); err != nil || len(got) != 1 || got[0] != addressOf(name) {
				return fmt.Errorf("%s is %v, %w", name, got, err)
			}
			for network, address := range map[string]string{"udp": s.server(54), "tcp": s.server(wordPort)} {
				_, err := tk.Dialer(s.dial(cat.OpenImmediate))(ctx, network, address)
				var r *softuicc.ResultError
				if !errors.As(err, &r) || !slices.Equal(r.Result.Info, []byte{cat.BIPSecurityError}) {
					return fmt.Errorf("%s %s: %v, want 3A 05", network, address, err)
				}
			}
			return nil
		})
		if err != nil {
			s.Error(err)
		}
		s.logged(s.term.cp, s.server(wordPort), "default: documentation (an allow rule of "+s.dir+"/bipd.toml")
	})
}

// askDNS is the DNS server address request (ETSI TS 102 223 clause 8.6, OPEN CHANNEL qualifier bit 4).
func askDNS(ctx context.Context, tk *softuicc.Toolkit, s *stand) ([]netip.Addr, error) {
	bearer := s.dial(0).Bearer
	o, err := tk.OpenChannel(ctx, &cat.OpenChannel{Bearer: &bearer, BufferSize: 1400}, cat.OpenDNSRequest|cat.OpenImmediate)
	if err != nil {
		return nil, err
	}
	return o.DNS, tk.CloseChannel(ctx, o.Status.Channel, 0)
}

// resolver asks the server on the internet host, whatever the machine's own is. What it opens lives as long as ctx: the five
// seconds that Go gives a server can be too short for a card on a machine under load.
func resolver(ctx context.Context, tk *softuicc.Toolkit, s *stand) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		c, err := tk.Dialer(s.dial(background))(ctx, "udp", s.server(53))
		if err != nil {
			return nil, err
		}
		return packets{c}, nil
	}}
}

// packets shows the resolver that the connection keeps the bounds of datagrams.
type packets struct{ net.Conn }

func (p packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := p.Read(b)
	return n, p.RemoteAddr(), err
}

// SetDeadline grants more than the resolver's five seconds.
func (p packets) SetDeadline(time.Time) error { return p.Conn.SetDeadline(time.Now().Add(within)) }

func (p packets) WriteTo(b []byte, _ net.Addr) (int, error) { return p.Write(b) }

// addressOf makes up an address for a name.
func addressOf(name string) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(len(name))})
}

// serveDNS answers on the internet host: "missing..." is not there, every other name has an address.
func (s *stand) serveDNS() {
	s.Helper()
	c, err := s.net.internet.ListenPacket(s.ctx, "udp", s.server(53))
	if err != nil {
		s.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if a := answerDNS(b[:n]); a != nil {
				c.WriteTo(a, from)
			}
		}
	}()
	s.Cleanup(func() {
		c.Close()
		<-done
	})
}

// answerDNS answers a query of one question (RFC 1035 clause 4.1); nil where it is none.
func answerDNS(q []byte) []byte {
	const headerLen = 12
	if len(q) < headerLen || binary.BigEndian.Uint16(q[4:]) != 1 {
		return nil
	}
	var labels []string
	end := headerLen
	for end < len(q) && q[end] != 0 {
		next := end + 1 + int(q[end])
		if next >= len(q) {
			return nil
		}
		labels = append(labels, string(q[end+1:next]))
		end = next
	}
	end += 1 + 4 // the root, type and class
	if end > len(q) {
		return nil
	}
	a := slices.Clone(q[:end])
	a[2], a[3] = 0x84, 0x00               // an authoritative response
	copy(a[6:], []byte{0, 0, 0, 0, 0, 0}) // no records yet
	if labels[0] == "missing" {
		a[3] = 3 // no such name
		return a
	}
	a[7] = 1
	a = append(a, 0xC0, headerLen, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4) // the name asked for, type A, class IN, 60 s, 4 octets
	addr := addressOf(strings.Join(labels, ".") + ".").As4()
	return append(a, addr[:]...)
}
