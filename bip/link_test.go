package bip_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"bipd/bip"
	"bipd/cat"
)

// status is the channel status of a response.
func (a *app) status(r cat.Response) cat.ChannelStatus {
	s, err := cat.ParseChannelStatus(a.value(r, cat.TagChannelStatus))
	a.must(err)
	return s
}

func TestImmediateLink(t *testing.T) {
	srv := tcpServer(t, echo)
	polls := newStatusTap()
	run(t, options{router: kernel(nil), taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id, r := a.open(openBody("tcp", srv), cat.OpenImmediate)
		if s := a.status(r); s != (cat.ChannelStatus{Channel: id, Link: cat.LinkEstablished}) {
			a.fail("channel status %v", s)
		}
		polls.settled(a)
		a.noEvent()
		a.close(id)
		polls.settled(a)
		a.noEvent()
	})})
}

func TestOnDemandLink(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		for name, immediately := range map[string]bool{"sent at once": true, "stored": false} {
			t.Run(network+"/"+name, func(t *testing.T) {
				dialled := make(chan struct{}, 2)
				srv := tcpServer(t, echo)
				if network == "udp" {
					srv = udpServer(t, func(d []byte) [][]byte { return [][]byte{d} })
				}
				router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
					dialled <- struct{}{}
					return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
				}}
				polls := newStatusTap()
				run(t, options{router: router, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
					a.both()
					id, r := a.open(openBody(network, srv), 0)
					if s := a.status(r); s != (cat.ChannelStatus{Channel: id}) {
						a.fail("channel status %v", s)
					}
					polls.settled(a)
					a.noEvent()
					if len(dialled) != 0 {
						a.fail("connected before the first SEND DATA")
					}
					if data, _ := a.receive(id, 10); len(data) > 0 {
						a.fail("received %X", data)
					}
					if immediately {
						a.send(id, []byte("first"))
					} else {
						a.store(id, []byte("first"))
					}
					if len(dialled) != 1 {
						a.fail("%d connections after the first SEND DATA", len(dialled))
					}
					a.established(id)
					if !immediately {
						a.send(id, nil)
					}
					if got := a.read(id, 5); string(got) != "first" {
						a.fail("got %q", got)
					}
					a.close(id)
				})})
			})
		}
	}
}

func TestBackgroundLink(t *testing.T) {
	srv := tcpServer(t, echo)
	gate := make(chan struct{}, 1)
	router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
	}}
	polls := newStatusTap()
	run(t, options{router: router, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id, r := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
		if s := a.status(r); s != (cat.ChannelStatus{Channel: id}) {
			a.fail("channel status %v", s)
		}
		a.store(id, []byte("stored ")) // the Tx buffer is there already
		polls.settled(a)
		a.noEvent()
		gate <- struct{}{}
		a.established(id)
		if list := a.statuses(); len(list) != 1 || list[0].Link != cat.LinkEstablished {
			a.fail("channel statuses %v", list)
		}
		a.send(id, []byte("and sent"))
		if got := a.read(id, 15); string(got) != "stored and sent" {
			a.fail("got %q", got)
		}
		a.close(id)
	})})
}

// TestBackgroundLinkSend has SEND DATA wait for the link, and be refused where it does not come about.
func TestBackgroundLinkSend(t *testing.T) {
	srv := tcpServer(t, echo)
	gate := make(chan error, 1)
	router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		select {
		case err := <-gate:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
	}}
	for name, fault := range map[string]error{"link comes": nil, "link fails": io.ErrClosedPipe} {
		t.Run(name, func(t *testing.T) {
			polls := newStatusTap()
			cfg := bip.Config{SendTimeout: testTime}
			run(t, options{router: router, config: cfg, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
				a.both()
				id, _ := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
				polls.settled(a)
				for len(polls) > 0 {
					<-polls
				}
				go func() { // the card is polled while SEND DATA is outstanding
					for range 2 {
						select {
						case <-polls:
						case <-a.ctx.Done():
						}
					}
					gate <- fault
				}()
				if fault != nil {
					a.sendRefused(id, []byte("early"), cat.SendImmediately, 0x3A, 0x02)
					a.dropped(id)
					a.close(id, 0x3A, 0x02)
					return
				}
				a.send(id, []byte("early"))
				a.established(id)
				if got := a.read(id, 5); string(got) != "early" {
					a.fail("got %q", got)
				}
				a.close(id)
			})})
		})
	}
}

func TestIPv6(t *testing.T) {
	srv := tcpServerAt(t, "[::1]:0", echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		for _, local := range []*netip.Addr{nil, {}, ptr(netip.IPv6Unspecified()), ptr(netip.IPv6Loopback())} {
			o := openBody("tcp", srv)
			o.LocalAddress = local
			id, _ := a.open(o, cat.OpenImmediate)
			a.send(id, ramp(0, 100))
			if !bytes.Equal(a.read(id, 100), ramp(0, 100)) {
				a.fail("octets differ")
			}
			a.close(id)
		}
	})})
}

func ptr[T any](v T) *T { return &v }

// TestDNSServerRequest asks for the servers as real cards do, and closes the channel with the qualifier that they use.
func TestDNSServerRequest(t *testing.T) {
	servers := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}
	asked := func(context.Context, bip.Request) (bip.Access, error) { return bip.Access{DNS: servers[:1]}, nil }
	silent := func(context.Context, bip.Request) (bip.Access, error) { return bip.Access{}, nil }
	for name, tc := range map[string]struct {
		bearer bip.KernelBearer
		want   []netip.Addr
	}{
		"configured":          {bip.KernelBearer{DNS: servers}, servers},
		"named by the AP":     {bip.KernelBearer{DNS: servers[1:], Network: asked}, servers[:1]},
		"not known to the AP": {bip.KernelBearer{DNS: servers[1:], Network: silent}, servers[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{router: &bip.Table{Method1: &tc.bearer}, applets: applets(func(a *app) {
				o := &cat.OpenChannel{Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400}
				got, err := a.tk.OpenChannel(a.ctx, o, cat.OpenImmediate|cat.OpenDNSRequest)
				a.must(err)
				if len(got.DNS) != len(tc.want) {
					a.fail("servers %v, want %v", got.DNS, tc.want)
				}
				for i, s := range tc.want {
					if got.DNS[i] != s {
						a.fail("servers %v, want %v", got.DNS, tc.want)
					}
				}
				a.must(a.tk.CloseChannel(a.ctx, got.Status.Channel, cat.CloseUpkeep))
			})})
		})
	}
}

// TestLongestOpenResponses echoes the longest bearer description with the most DNS servers: the response has to fit.
func TestLongestOpenResponses(t *testing.T) {
	var servers []netip.Addr
	for n := range 20 {
		b := netip.MustParseAddr("2001:db8::").As16()
		b[15] = byte(n)
		servers = append(servers, netip.AddrFrom16(b))
	}
	srv := tcpServer(t, echo)
	router := &bip.Table{Method1: &bip.KernelBearer{DNS: servers}}
	run(t, options{router: router, applets: applets(func(a *app) {
		for _, n := range []int{0, 7, 79, 80, 127, 200, 220} {
			o := openBody("tcp", srv)
			o.Bearer.Type, o.Bearer.Parameters = cat.BearerUTRAN, ramp(0, n)
			if n < 210 {
				id, _ := a.open(o, cat.OpenImmediate)
				a.close(id)
			}
			o.Transport, o.Destination = nil, nil
			got, err := a.tk.OpenChannel(a.ctx, o, cat.OpenImmediate|cat.OpenDNSRequest)
			a.must(err)
			if len(got.DNS) < 2 {
				a.fail("%d parameters: servers %v", n, got.DNS)
			}
			a.close(got.Status.Channel)
		}
	})})
}

// TestDroppedBeforeTold has a background link come about and go again before the card could hear of it: it hears that the link is
// dropped, and not that it stands.
func TestDroppedBeforeTold(t *testing.T) {
	srv := tcpServer(t, func(*net.TCPConn) {})
	polls := newStatusTap()
	run(t, options{router: kernel(nil), think: testTime, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
		for dropped := (cat.ChannelStatus{Channel: id, Info: cat.StatusDropped}); ; {
			if list := a.statuses(); len(list) == 1 && list[0] == dropped { // the chain does not end: no event is sent
				break
			}
		}
		a.dropped(id)
		a.aside(func() { polls.settled(a) })
		a.noEvent()
		a.close(id, 0x3A, 0x02)
	})})
}
