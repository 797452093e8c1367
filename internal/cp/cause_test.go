package cp_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/ap"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/softuicc"
)

// bearerRefused tells the judge's opinion that a bearer that the profile offers cannot be refused: here the network did.
func bearerRefused(v softuicc.Violation) bool { return v.Clause == "5.2" }

// TestRefusals: each cause that stands between a card and its server is told to the card as the table has it, and named
// in a line of the CP's log and of the AP's.
func TestRefusals(t *testing.T) {
	closed, hole := testkit.ClosedPort(t), testkit.BlackHole(t)
	anywhere := netip.MustParseAddrPort("127.0.0.1:80")
	denied := policy(t, egress.Rule{Action: "deny", Prefix: []string{"127.0.0.0/8"}, Cards: []string{"card*"}})
	const closedByCP = "the CP has closed it"
	noProfile := func(c *ap.Config) { c.Profiles = nil }
	for _, tc := range []struct {
		name   string
		params softuicc.DialParams
		cp     func(*cp.Config)
		ap     func(*ap.Config)
		want   []byte
		cpLog  string
		apLog  string
	}{
		{"policy of the CP", params(packetBearer, 0, anywhere), func(c *cp.Config) { c.Policy = denied }, nil,
			[]byte{0x3A, 0x05}, "rule 1 (deny 127.0.0.0/8)", ""},
		{"no policy in the CP", params(packetBearer, 0, anywhere), func(c *cp.Config) { c.Policy = nil }, nil,
			[]byte{0x3A, 0x05}, "default: loopback", ""},
		{"policy of the AP", params(wlanBearer, 0, anywhere), nil, func(c *ap.Config) { c.Policy = denied },
			[]byte{0x3A, 0x05}, "denied by the egress policy", "rule 1 (deny 127.0.0.0/8)"},
		{"refused, method 1", params(packetBearer, 0, closed), nil, nil, []byte{0x3A, 0x00}, "connection refused", ""},
		{"refused, method 2", params(wlanBearer, 0, closed), nil, nil, []byte{0x3A, 0x00}, "connection refused", "connection refused"},
		{"unreachable, method 2", params(wlanBearer, 0, anywhere), nil, func(c *ap.Config) {
			c.Dial = func(context.Context, string, string, netip.Addr, netip.AddrPort) (net.Conn, error) {
				return nil, os.NewSyscallError("connect", unix.EHOSTUNREACH)
			}
		}, []byte{0x3A, 0x00}, "cause=unreachable", "no route to host"},
		{"no answer, method 1", params(packetBearer, 0, hole), func(c *cp.Config) { c.ConnectTimeout = 300 * time.Millisecond }, nil,
			[]byte{0x3A, 0x00}, "timed out", ""},
		{"no answer, the AP gives up", params(wlanBearer, 0, hole), nil, func(c *ap.Config) { c.DialTimeout = 300 * time.Millisecond },
			[]byte{0x3A, 0x00}, "timed out", "timeout"},
		{"no answer, the CP gives up", params(wlanBearer, 0, hole), func(c *cp.Config) { c.ConnectTimeout = 300 * time.Millisecond }, nil,
			[]byte{0x3A, 0x00}, "timed out", closedByCP},
		{"no profile, method 1", params(packetBearer, 0, anywhere), nil, noProfile, []byte{0x21, 0x00}, "no network", "no profile"},
		{"no profile, method 2", params(wlanBearer, 0, anywhere), nil, noProfile, []byte{0x21, 0x00}, "no network", "no profile"},
		{"no network", params(wlanBearer, 0, anywhere), nil, func(c *ap.Config) { c.Network = &network{down: true} },
			[]byte{0x21, 0x00}, "no network", "not associated"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			good := echoServer(t)
			var asked atomic.Int32 // the AP, for what does not answer
			counting := func(c *ap.Config) {
				c.Dial = func(ctx context.Context, network, _ string, _ netip.Addr, dst netip.AddrPort) (net.Conn, error) {
					if dst == hole {
						asked.Add(1)
					}
					return new(net.Dialer).DialContext(ctx, network, dst.String())
				}
				if tc.ap != nil {
					tc.ap(c)
				}
			}
			b := run(t, options{pipe: true, cp: tc.cp, ap: counting, tolerate: bearerRefused, applets: applets(func(a *app) {
				p := tc.params
				p.Qualifier = cat.OpenImmediate
				try := func() error { _, err := a.tk.Dial(a.ctx, p); return err }
				if tc.params.Remote == hole && tc.apLog == closedByCP {
					a.asking(&asked, try, tc.want...)
				} else {
					a.isResult(try(), tc.want...)
				}
				p.Qualifier = background
				_, err := a.tk.Dial(a.ctx, p)
				if err == nil {
					a.fail("the second try connected")
				}
				if tc.ap == nil && tc.name != "no policy in the CP" && tc.name != "policy of the CP" {
					c, err := a.tk.Dial(a.ctx, params(wlanBearer, cat.OpenImmediate, good)) // nothing of the failures is left
					for tc.params.Remote == hole && err != nil && a.ctx.Err() == nil {      // a busy machine needs more time than this CP gives
						c, err = a.tk.Dial(a.ctx, params(wlanBearer, cat.OpenImmediate, good))
					}
					a.must(err)
					a.echo(c)
					a.must(c.Close())
				}
			})})
			b.log.Wants(t, "daemon=bipd", "level=WARN", "connection failed", tc.cpLog)
			if tc.apLog != "" {
				b.log.Await(t, "daemon=apd", "level=WARN", tc.apLog)
			}
		})
	}
}

// TestIPv6 reaches a server's IPv6 address by each method.
func TestIPv6(t *testing.T) {
	server := tcpServer(t, "[::1]:0", echo)
	run(t, options{applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerDescription{wlanBearer, packetBearer} {
			c := a.dial(params(bearer, cat.OpenImmediate, server))
			a.echo(c)
			a.must(c.Close())
		}
	})})
}

// TestDNSRequest: the card is told the servers of the AP's profile, or those configured where that has none.
func TestDNSRequest(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("198.51.100.53")}
	run(t, options{cp: func(c *cp.Config) { c.DNS = own }, applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerDescription{packetBearer, defaultBearer} {
			for name, want := range map[cat.NetworkAccessName][]netip.Addr{"internet": testDNS, "iot": own} {
				o, err := a.tk.OpenChannel(a.ctx, &cat.OpenChannel{Bearer: &bearer, BufferSize: 256, NetworkAccessName: &name},
					cat.OpenImmediate|cat.OpenDNSRequest)
				a.must(err)
				if !slices.Equal(o.DNS, want) {
					a.fail("%v, %s: DNS servers %v, want %v", bearer.Type, name, o.DNS, want)
				}
				a.must(a.tk.CloseChannel(a.ctx, o.Status.Channel, 0))
			}
		}
	})})
}

// textOf spells s in one of the three codings of a Text string.
func textOf(dcs byte, s string) *cat.Text {
	switch dcs {
	case 0x00:
		return &cat.Text{DCS: dcs, Data: packed(s)}
	case 0x08:
		return &cat.Text{DCS: dcs, Data: ucs2(s)}
	}
	return &cat.Text{DCS: dcs, Data: []byte(s)}
}

// recordingAP is an AP that notes each AT%WEBOPCH and refuses it.
type recordingAP struct {
	mu    sync.Mutex
	asked []ptylink.WebOpen
}

func (r *recordingAP) serve(ctx context.Context, line ptylink.PeerConfig) error {
	p := ptylink.NewPeer(line)
	p.Handle("%WEBOPCH", func(_ context.Context, c at.Command) ([]string, error) {
		w, err := ptylink.ParseWebOpen(c)
		if err != nil {
			return nil, err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked = append(r.asked, w)
		return nil, at.ErrPolicy
	})
	return p.Run(ctx)
}

// TestCredentialsReachTheAP: what a card names for its access arrives in AT%WEBOPCH, in whatever coding.
func TestCredentialsReachTheAP(t *testing.T) {
	r := &recordingAP{}
	remote := netip.MustParseAddrPort("192.0.2.80:8080")
	codings := []byte{0x00, 0x04, 0xF4, 0x08}
	run(t, options{apd: r.serve, applets: applets(func(a *app) {
		for _, dcs := range codings {
			p := params(wlanBearer, cat.OpenImmediate, remote)
			p.Login, p.Password, p.NetworkAccessName = textOf(dcs, cardLogin), textOf(dcs, cardPassword), "iot.example"
			a.refused(p, 0x3A, 0x05)
		}
		p := params(wlanBearer, cat.OpenImmediate, remote)
		p.Transport, p.BufferSize = cat.UDPClientRemote, 500
		a.refused(p, 0x3A, 0x05)
	})})
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) != len(codings)+1 {
		t.Fatalf("the AP was asked %d times: %+v", len(r.asked), r.asked)
	}
	want := ptylink.WebOpen{Channel: 1, Network: "tcp", Remote: remote, Buffer: 1400, NAN: "iot.example", User: cardLogin, Password: cardPassword}
	for i, got := range r.asked[:len(r.asked)-1] {
		if got != want {
			t.Errorf("coding %02X: the AP was asked for %+v, password right: %v", codings[i], got, got.Password == want.Password)
		}
	}
	if got := r.asked[len(r.asked)-1]; got != (ptylink.WebOpen{Channel: 1, Network: "udp", Remote: remote, Buffer: 500}) {
		t.Errorf("the last command, without credentials: %+v", got)
	}
}
