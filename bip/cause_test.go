package bip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/netbed"
	"bipd/internal/testkit"
	"bipd/trace"
)

// refusedOpen wants OPEN CHANNEL refused: the result, bearer and buffer as asked for, and no channel status.
func (a *app) refusedOpen(o *cat.OpenChannel, qualifier byte, want ...byte) {
	r := a.do(o, qualifier, cat.DeviceTerminal, want...)
	if _, ok := cat.Find(r.Objects, cat.TagChannelStatus); ok {
		a.fail("refused OPEN CHANNEL has a channel status: %v", r.Objects)
	}
	a.value(r, cat.TagBufferSize)
}

func TestNoFreeChannel(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		for want := 1; want <= cat.MaxChannels; want++ {
			if id := a.tcp(srv); id != want {
				a.fail("channel %d, want %d", id, want)
			}
		}
		a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate, 0x3A, 0x01)
		zero := openBody("tcp", srv)
		zero.BufferSize = 0
		a.refusedOpen(zero, cat.OpenImmediate, 0x3A, 0x01) // no channel comes before everything else
		a.close(4)
		if id := a.tcp(srv); id != 4 {
			a.fail("channel %d, want the one that is free, 4", id)
		}
	})})
}

// channelCommands wants SEND DATA, RECEIVE DATA and CLOSE CHANNEL refused alike.
func (a *app) channelCommands(to cat.DeviceID, want ...byte) {
	a.do(&cat.SendData{Data: []byte{1}}, 0, to, want...)
	a.do(&cat.SendData{Data: []byte{1}}, cat.SendImmediately, to, want...)
	a.do(&cat.ReceiveData{Length: 10}, 0, to, want...)
	a.do(&cat.CloseChannel{}, 0, to, want...)
}

func TestUnknownChannel(t *testing.T) {
	srv := tcpServer(t, echo)
	nobody := testkit.ClosedPort(t)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		for n := 1; n <= cat.MaxChannels; n++ {
			a.channelCommands(cat.DeviceChannel(n), 0x3A, 0x03)
		}
		a.channelCommands(cat.DeviceTerminal, 0x3A, 0x03)
		a.channelCommands(0x20, 0x3A, 0x03)
		a.channelCommands(0x28, 0x3A, 0x03)
		a.refusedOpen(openBody("tcp", nobody), cat.OpenImmediate, 0x3A, 0x00)
		a.channelCommands(cat.DeviceChannel(1), 0x3A, 0x03) // a channel that could not be opened was never open
		a.close(a.tcp(srv))
		a.channelCommands(cat.DeviceChannel(1), 0x3A, 0x02)
		a.channelCommands(cat.DeviceChannel(2), 0x3A, 0x03)
	})})
}

func TestDroppedChannel(t *testing.T) {
	srv := tcpServer(t, func(*net.TCPConn) {})
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		a.dropped(id)
		a.sendRefused(id, []byte{1}, 0, 0x3A, 0x02)
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		a.do(&cat.ReceiveData{Length: 10}, 0, cat.DeviceChannel(id), 0x3A, 0x02)
		if list := a.statuses(); len(list) != 1 || list[0] != (cat.ChannelStatus{Channel: id, Info: cat.StatusDropped}) {
			a.fail("channel statuses %v", list)
		}
		a.close(id, 0x3A, 0x02)
		if list := a.statuses(); len(list) != 1 || list[0] != (cat.ChannelStatus{}) {
			a.fail("channel statuses %v", list)
		}
	})})
}

func TestBufferGrant(t *testing.T) {
	srv := tcpServer(t, echo)
	for _, tc := range []struct {
		asked uint16
		limit int
		want  []byte
		size  uint16
	}{
		{1, 0, []byte{0x00}, 1}, {15, 0, []byte{0x00}, 15}, {1500, 0, []byte{0x00}, 1500}, {16384, 0, []byte{0x00}, 16384},
		{16385, 0, []byte{0x07}, 16384}, {65535, 0, []byte{0x07}, 16384}, {1400, 1000, []byte{0x07}, 1000}, {65535, 65535, []byte{0x00}, 65535},
	} {
		for name, qualifier := range modes {
			t.Run(fmt.Sprintf("%d of %d %s", tc.asked, tc.limit, name), func(t *testing.T) {
				run(t, options{router: kernel(nil), config: bip.Config{BufferLimit: tc.limit}, applets: applets(func(a *app) {
					o := openBody("tcp", srv)
					o.BufferSize = tc.asked
					id, r := a.open(o, qualifier, tc.want...)
					v := a.value(r, cat.TagBufferSize)
					if got := uint16(v[0])<<8 | uint16(v[1]); got != tc.size {
						a.fail("%d octets granted, want %d", got, tc.size)
					}
					a.close(id)
				})})
			})
		}
	}
	t.Run("none", func(t *testing.T) {
		run(t, options{router: kernel(nil), applets: applets(func(a *app) {
			o := openBody("tcp", srv)
			o.BufferSize = 0
			a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x04)
		})})
	})
}

// modes are the three ways in which a link comes about.
var modes = map[string]byte{
	"immediate": cat.OpenImmediate, "background": cat.OpenImmediate | cat.OpenBackground, "on demand": 0,
}

func TestPolicyDenies(t *testing.T) {
	srv := tcpServer(t, echo)
	rules := []egress.Rule{{Action: "deny", Prefix: []string{"127.0.0.0/8"}}}
	for name, tc := range map[string]struct {
		rules []egress.Rule
		want  string
	}{"default": {nil, "default: loopback"}, "rule": {rules, "rule 1 (deny 127.0.0.0/8)"}} {
		policy, err := egress.New(egress.Config{Rules: tc.rules})
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				router := &bip.Table{Method1: &bip.KernelBearer{Policy: func(r bip.Request, _ []netip.Addr) error {
					return policy.Check(egress.Request{Card: r.Card, Network: r.Network, Destination: r.Remote})
				}}}
				term := run(t, options{router: router, applets: applets(func(a *app) {
					a.refusedOpen(openBody(network, srv), cat.OpenImmediate, 0x3A, 0x05)
					id, _ := a.open(openBody(network, srv), 0)
					a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x05)
					a.close(id)
				})})
				if log := term.log.String(); !strings.Contains(log, tc.want) || !strings.Contains(log, srv.String()) {
					t.Errorf("log names neither the rule %q nor %v:\n%s", tc.want, srv, log)
				}
			})
		}
	}
}

func TestTransportNotOffered(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		for _, p := range []cat.TransportProtocol{cat.TCPServer, cat.DirectChannel, 0x7F, 0x00} {
			o := openBody("tcp", srv)
			o.Transport.Protocol = p
			a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x06)
		}
		o := openBody("tcp", srv) // packets of the card's own
		o.Transport, o.Destination = nil, nil
		a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x06)
	})})
}

// TestConnectionFails has the three ways in which a far end cannot be reached told apart, whatever the mode of the link.
func TestConnectionFails(t *testing.T) {
	nobody, hole := testkit.ClosedPort(t), testkit.BlackHole(t)
	nowhere := netip.MustParseAddrPort("192.0.2.1:443")
	for _, tc := range []struct {
		cause  bip.Cause
		router func(t *testing.T, s *trace.Stream) bip.Router
		remote netip.AddrPort
	}{
		{bip.CauseRefused, func(_ *testing.T, s *trace.Stream) bip.Router { return kernel(s) }, nobody},
		{bip.CauseTimeout, func(_ *testing.T, s *trace.Stream) bip.Router { return kernel(s) }, hole},
		{bip.CauseUnreachable, func(t *testing.T, _ *trace.Stream) bip.Router { return isolated(t) }, nowhere},
	} {
		for mode, qualifier := range modes {
			t.Run(tc.cause.String()+"/"+mode, func(t *testing.T) {
				stream := &trace.Stream{}
				sub := stream.Subscribe(1000)
				cfg := bip.Config{ConnectTimeout: 20 * time.Second, Trace: stream}
				if tc.cause == bip.CauseTimeout {
					cfg.ConnectTimeout = 300 * time.Millisecond
				}
				term := run(t, options{router: tc.router(t, stream), config: cfg, applets: applets(func(a *app) {
					a.both()
					switch mode {
					case "immediate":
						a.refusedOpen(openBody("tcp", tc.remote), qualifier, 0x3A, 0x00)
					case "background":
						id, _ := a.open(openBody("tcp", tc.remote), qualifier)
						a.dropped(id)
						a.close(id, 0x3A, 0x02)
					case "on demand":
						id, _ := a.open(openBody("tcp", tc.remote), qualifier)
						for range 2 { // and it is tried again
							a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x00)
						}
						a.close(id)
					}
				})})
				sub.Close()
				told := 0
				for e := range sub.C {
					if e.Err != "" && strings.Contains(e.What, tc.cause.String()) {
						told++
					}
				}
				if told == 0 {
					t.Errorf("no trace event tells %q", tc.cause)
				}
				if log := term.log.String(); !strings.Contains(log, fmt.Sprintf("cause=%q", tc.cause)) &&
					!strings.Contains(log, "cause="+tc.cause.String()) {
					t.Errorf("no log line tells %q:\n%s", tc.cause, log)
				}
			})
		}
	}
}

// isolated connects from a network namespace that has no route to anywhere.
func isolated(t *testing.T) bip.Router {
	host, err := netbed.ForTest(t).Host("isolated")
	if err != nil {
		t.Fatal(err)
	}
	return &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		return host.Dial(ctx, r.Network, r.Remote.String())
	}}
}

func TestNoNetwork(t *testing.T) {
	srv := tcpServer(t, echo)
	gone := func(context.Context, bip.Request) (bip.Access, error) {
		return bip.Access{}, &bip.Error{Cause: bip.CauseNoNetwork, Err: errors.New("no association")}
	}
	t.Run("AP has none", func(t *testing.T) {
		router := &bip.Table{Method1: &bip.KernelBearer{Network: gone}}
		term := run(t, options{router: router, applets: applets(func(a *app) {
			a.both()
			a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate, 0x21, 0x00)
			dns := openBody("tcp", srv)
			dns.Transport, dns.Destination = nil, nil
			a.refusedOpen(dns, cat.OpenImmediate|cat.OpenDNSRequest, 0x21, 0x00)
			id, _ := a.open(openBody("tcp", srv), 0)
			a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x21, 0x00)
			a.close(id)
			id, _ = a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
			a.dropped(id)
		})})
		if !strings.Contains(term.log.String(), "no association") {
			t.Error("the log does not say why")
		}
	})
	t.Run("AP does not answer", func(t *testing.T) {
		silent := func(ctx context.Context, _ bip.Request) (bip.Access, error) {
			<-ctx.Done()
			return bip.Access{}, context.Cause(ctx)
		}
		router := &bip.Table{Method1: &bip.KernelBearer{Network: silent}}
		run(t, options{router: router, config: bip.Config{ConnectTimeout: 50 * time.Millisecond}, applets: applets(func(a *app) {
			a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate, 0x3A, 0x00)
		})})
	})
	t.Run("WLAN without AP", func(t *testing.T) {
		run(t, options{router: kernel(nil), applets: applets(func(a *app) {
			o := openBody("tcp", srv)
			o.Bearer.Type = cat.BearerWLAN
			a.refusedOpen(o, cat.OpenImmediate, 0x21, 0x00)
		})})
	})
	t.Run("no DNS server known", func(t *testing.T) {
		run(t, options{router: kernel(nil), applets: applets(func(a *app) {
			o := openBody("tcp", srv)
			o.Transport, o.Destination = nil, nil
			a.refusedOpen(o, cat.OpenImmediate|cat.OpenDNSRequest, 0x21, 0x00)
		})})
	})
}

// TestBearerCauses has every cause that a bearer can name become its answer, raw or wrapped.
func TestBearerCauses(t *testing.T) {
	srv := netip.MustParseAddrPort("127.0.0.1:9")
	for _, tc := range []struct {
		err  error
		want []byte
	}{
		{&bip.Error{Cause: bip.CausePortInUse}, []byte{0x3A, 0x10}},
		{os.NewSyscallError("bind", syscall.EADDRINUSE), []byte{0x3A, 0x10}},
		{&bip.Error{Cause: bip.CauseName, Err: errors.New("no such host")}, []byte{0x3A, 0x00}},
		{&bip.Error{Cause: bip.CauseBearer}, []byte{0x30}},
		{&bip.Error{Cause: bip.CauseTransport}, []byte{0x3A, 0x06}},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, []byte{0x3A, 0x00}},
		{os.NewSyscallError("connect", syscall.ENETDOWN), []byte{0x21, 0x00}},
		{errors.New("anything"), []byte{0x3A, 0x00}},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			run(t, options{router: failing(tc.err), tolerate: bearerRefused, applets: applets(func(a *app) {
				a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate, tc.want...)
			})})
		})
	}
}

func TestSendBeyondBuffer(t *testing.T) {
	got := make(chan []byte, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	run(t, options{router: kernel(nil), config: patientEnd, applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 300
		id, _ := a.open(o, cat.OpenImmediate)
		if free := a.store(id, ramp(0, 200)); free != 100 {
			a.fail("%d octets free, want 100", free)
		}
		a.sendRefused(id, ramp(500, 101), 0, 0x3A, 0x04)
		a.sendRefused(id, ramp(500, 101), cat.SendImmediately, 0x3A, 0x04)
		if free := a.store(id, nil); free != 100 {
			a.fail("%d octets free after a refusal, want 100", free)
		}
		if free := a.store(id, ramp(200, 100)); free != 0 {
			a.fail("%d octets free, want 0", free)
		}
		a.sendRefused(id, ramp(500, 1), cat.SendImmediately, 0x3A, 0x04)
		if free := a.send(id, nil); free != 255 { // FF: more than 255
			a.fail("%d octets free after all was sent, want FF", free)
		}
		a.close(id)
		b := receive(a, "what was sent", got) // the end of the gateway would cut it short
		if !bytes.Equal(b, ramp(0, 300)) {
			a.fail("server got %d octets, %X...; want the 300 that were stored", len(b), b[:min(len(b), 16)])
		}
	})})
}

func TestReceiveMoreThanThereIs(t *testing.T) {
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, 20))
		io.Copy(io.Discard, c)
	})
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		if n := a.dataAvailable(id); n != 20 {
			a.fail("%d octets announced, want 20", n)
		}
		r := a.do(&cat.ReceiveData{Length: 21}, 0, cat.DeviceChannel(id), 0x02)
		if d, left := a.value(r, cat.TagChannelData), a.value(r, cat.TagChannelDataLength); !bytes.Equal(d, ramp(0, 20)) || left[0] != 0 {
			a.fail("%X and %X left", d, left)
		}
		r = a.do(&cat.ReceiveData{Length: 1}, 0, cat.DeviceChannel(id), 0x02)
		if d, left := a.value(r, cat.TagChannelData), a.value(r, cat.TagChannelDataLength); len(d) != 0 || left[0] != 0 {
			a.fail("%X and %X left", d, left)
		}
		a.close(id)
	})})
}

// TestBrokenCommands sends commands in which something is missing or too much.
func TestBrokenCommands(t *testing.T) {
	srv := tcpServer(t, echo)
	type drop func(o *cat.OpenChannel)
	without := map[string]drop{
		"bearer":      func(o *cat.OpenChannel) { o.Bearer = nil },
		"destination": func(o *cat.OpenChannel) { o.Destination = nil },
	}
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		for what, f := range without {
			o := openBody("tcp", srv)
			f(o)
			if r := a.do(o, cat.OpenImmediate, cat.DeviceTerminal, 0x36); len(r.Objects) > 0 {
				a.fail("without %s: objects %v", what, r.Objects)
			}
		}
		id := a.tcp(srv)
		to := cat.DeviceChannel(id)
		a.do(raw(cat.TypeOpenChannel, cat.TLV{Tag: cat.TagBearerDescription, Value: []byte{3}}), 1, cat.DeviceTerminal, 0x36) // no buffer size
		a.do(raw(cat.TypeSendData), 1, to, 0x36)
		a.do(raw(cat.TypeReceiveData), 0, to, 0x36)
		a.do(raw(cat.TypeReceiveData, cat.TLV{Tag: cat.TagChannelDataLength, CR: true, Value: []byte{1, 2}}), 0, to, 0x32)
		data := cat.TLV{Tag: cat.TagChannelData, CR: true, Value: []byte("x")}
		a.do(raw(cat.TypeSendData, data, cat.TLV{Tag: 0x55, CR: true, Value: []byte{1}}), 1, to, 0x32)
		a.do(raw(cat.TypeSendData, cat.TLV{Tag: 0x7E00, Value: []byte{1}}, data, cat.TLV{Tag: 0x55, Value: []byte{1}}), 1, to, 0x00)
		a.do(raw(cat.TypeCloseChannel, cat.TLV{Tag: 0x55, CR: true}), 0, to, 0x32)
		a.close(id) // none of that has closed it
	}), tolerate: unknownObject})
}

// TestBearerNotBuilt asks for circuit switched and local bearers, as the specification lays those commands out.
func TestBearerNotBuilt(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerType{0x01, 0x04, 0x05, 0x06, 0x07, 0x0D, 0x10, 0xFF} {
			o := openBody("tcp", srv)
			o.Bearer.Type = bearer
			a.do(o, cat.OpenImmediate, cat.DeviceTerminal, 0x30)
			o.Transport, o.Destination = nil, nil
			a.do(o, cat.OpenImmediate, cat.DeviceTerminal, 0x30)
		}
		csd := []cat.TLV{
			{Tag: 0x06, CR: true, Value: []byte{0x81, 0x10, 0x32, 0x54}}, // address: whom to call
			{Tag: 0x08, Value: []byte{0x81, 0x10}},                       // its subaddress
			{Tag: cat.TagDuration, Value: []byte{1, 10}}, {Tag: cat.TagDuration, Value: []byte{1, 20}},
			{Tag: cat.TagBearerDescription, Value: []byte{0x01, 0x07, 0x00, 0x01}},
			{Tag: cat.TagBufferSize, Value: []byte{0x05, 0x78}},
		}
		a.do(raw(cat.TypeOpenChannel, csd...), cat.OpenImmediate, cat.DeviceTerminal, 0x30)
		local := []cat.TLV{
			{Tag: cat.TagDuration, Value: []byte{1, 10}},
			{Tag: 0x0D, Value: []byte{0x04, '1'}}, // password
			{Tag: cat.TagBearerDescription, Value: []byte{0x05, 0x00}},
			{Tag: cat.TagBufferSize, Value: []byte{0x05, 0x78}},
		}
		a.do(raw(cat.TypeOpenChannel, local...), cat.OpenImmediate, cat.DeviceTerminal, 0x30)
	})})
}
