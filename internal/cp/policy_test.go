package cp_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"bipd/ap"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/cp"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/softuicc"
)

// The CP judges what the AP is to connect to, and does not ask the AP for what its own rules deny.
func TestPolicyOfCPByMethod2(t *testing.T) {
	r := &recordingAP{}
	remote := netip.MustParseAddrPort("192.0.2.80:8080")
	denied := policy(t, egress.Rule{Action: "deny", Prefix: []string{"192.0.2.0/24"}})
	b := run(t, options{apd: r.serve, tolerate: bearerRefused, cp: func(c *cp.Config) { c.Policy = denied }, applets: applets(func(a *app) {
		a.refused(params(wlanBearer, cat.OpenImmediate, remote), 0x3A, 0x05)
		p := params(wlanBearer, cat.OpenImmediate, remote)
		p.Transport = cat.UDPClientRemote
		a.refused(p, 0x3A, 0x05)
		if _, err := a.tk.Dial(a.ctx, params(wlanBearer, background, remote)); err == nil {
			a.fail("connected")
		}
	})})
	b.log.Wants(t, "daemon=bipd", "level=WARN", "rule 1 (deny 192.0.2.0/24)")
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) != 0 {
		t.Errorf("the AP was asked for %+v", r.asked)
	}
}

// A refusal by the AP's rules says so in the CP's log.
func TestPolicyOfAPIsNamed(t *testing.T) {
	denied := policy(t, egress.Rule{Action: "deny", Prefix: []string{"127.0.0.0/8"}})
	b := run(t, options{tolerate: bearerRefused, ap: func(c *ap.Config) { c.Policy = denied }, applets: applets(func(a *app) {
		a.refused(params(wlanBearer, cat.OpenImmediate, netip.MustParseAddrPort("127.0.0.1:80")), 0x3A, 0x05)
	})})
	b.log.Wants(t, "daemon=bipd", "level=WARN", "by the rules of the AP, whose log names the one")
}

// A local address of the card's choice is taken by both methods where it is one of the route, and refused elsewhere, though
// the kernel would bind to any of 127.0.0.0/8.
func TestLocalAddress(t *testing.T) {
	from := make(chan net.Addr, 1)
	srv := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		from <- c.RemoteAddr()
		echo(c)
	})
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	udp := netip.MustParseAddrPort(packets.LocalAddr().String())
	run(t, options{tolerate: bearerRefused, applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerDescription{packetBearer, wlanBearer} {
			for _, local := range []string{"127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"} {
				c := a.dial(fromLocal(params(bearer, cat.OpenImmediate, srv), local))
				if got := netip.MustParseAddrPort((<-from).String()).Addr().String(); got != "127.0.0.1" {
					a.fail("connected from %s, want %s", got, local)
				}
				a.echo(c)
				a.must(c.Close())
			}
			for _, local := range []string{"127.0.0.9", "192.0.2.9", "::1"} {
				for _, remote := range []netip.AddrPort{srv, udp} {
					p := fromLocal(params(bearer, cat.OpenImmediate, remote), local)
					if remote == udp {
						p.Transport = cat.UDPClientRemote
					}
					a.refused(p, 0x3A, 0x00)
				}
			}
		}
	})})
}

func fromLocal(p softuicc.DialParams, local string) softuicc.DialParams {
	addr := netip.MustParseAddr(local)
	p.Local = &addr
	return p
}

// An AP that connects from another address than the card wants has not done what it was asked for.
func TestLocalAddressThatTheAPIgnores(t *testing.T) {
	apd := func(ctx context.Context, line ptylink.PeerConfig) error {
		p := ptylink.NewPeer(line)
		p.Handle("%WEBOPCH", func(ctx context.Context, c at.Command) ([]string, error) {
			w, err := ptylink.ParseWebOpen(c)
			if err != nil {
				return nil, err
			}
			if _, err := p.Channel(ctx, w.Channel); err != nil {
				return nil, err
			}
			return ptylink.WebOpenedLines(w.Channel, netip.MustParseAddrPort("192.0.2.7:7"))
		})
		return p.Run(ctx)
	}
	b := run(t, options{apd: apd, tolerate: bearerRefused, applets: applets(func(a *app) {
		a.refused(fromLocal(params(wlanBearer, cat.OpenImmediate, netip.MustParseAddrPort("192.0.2.80:80")), "192.0.2.9"), 0x3A, 0x00)
	})})
	b.log.Wants(t, "daemon=bipd", "level=WARN", "the AP connects from 192.0.2.7, not from 192.0.2.9")
}

// Port 0 is refused by both methods, TCP and UDP.
func TestPortZero(t *testing.T) {
	b := run(t, options{tolerate: bearerRefused, applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerDescription{packetBearer, wlanBearer} {
			for _, transport := range []cat.TransportProtocol{cat.TCPClientRemote, cat.UDPClientRemote, cat.UDPClientLocal} {
				for _, q := range []byte{cat.OpenImmediate, background, 0} {
					p := params(bearer, q, netip.MustParseAddrPort("127.0.0.1:0"))
					p.Transport = transport
					a.refused(p, 0x3A, 0x00)
				}
			}
		}
	})})
	b.log.Wants(t, "daemon=bipd", "level=WARN", "port 0")
}
