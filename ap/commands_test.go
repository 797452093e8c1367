package ap

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/egress"
	"bipd/internal/netbed"
	"bipd/ptylink"
	"bipd/ptylink/at"
)

// tcp is an address that need not be there.
func tcp(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }

// closedPort is a loopback port that nobody listens on. It is taken until the end of the test, so that nobody else comes by it.
func closedPort(t *testing.T) net.Addr {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}
}

// wantRefused wants the answer, the DLC's end, a trace of the failure and the channel free afterwards.
func wantRefused(t *testing.T, a *tester, c *cp, n int, addr net.Addr, want at.CMEError) {
	t.Helper()
	conn := c.dlc(n)
	_, err := c.do(webOpch(n, addr))
	wantCME(t, err, want)
	wantEOF(t, conn)
	events := a.steps(t, n, "S704")
	if len(events) != 2 || events[0].Step != "S703" || events[1].Err == "" {
		t.Errorf("events %+v, want a connect that failed", events)
	}
}

func TestConnectFails(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, closedPort(t), at.ErrRefused)
	wantRefused(t, a, c, 1, tcp("10.0.0.1:80"), at.ErrPolicy)
	wantRefused(t, a, c, 1, tcp("169.254.169.254:80"), at.ErrPolicy)
	wantRefused(t, a, c, 1, tcp("[::ffff:10.0.0.1]:80"), at.ErrPolicy)
	if !strings.Contains(a.log.String(), "default: link-local") {
		t.Error("log does not name the rule")
	}
	roundTrip(t, c.open(1, listen(t, echo)), "the channel is free")
}

// A host without routes: the kernel itself says that the network is unreachable.
func TestConnectUnreachable(t *testing.T) {
	host, err := netbed.ForTest(t).Host("island")
	if err != nil {
		t.Fatal(err)
	}
	a := newAP(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (conn net.Conn, err error) {
			err = host.Do(func() error {
				conn, err = dialKernel(ctx, network, iface, local, dst)
				return err
			})
			return conn, err
		}
	})
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, tcp("192.0.2.1:80"), at.ErrUnreachable)
	wantRefused(t, a, c, 1, tcp("[2001:db8::1]:80"), at.ErrUnreachable)
}

// hang is a DialFunc that gets no answer.
func hang(ctx context.Context, _, _ string, _ netip.Addr, _ netip.AddrPort) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestConnectTimesOut(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.Dial, cfg.DialTimeout = hang, 50*time.Millisecond })
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, tcp("192.0.2.1:80"), at.ErrConnectTimeout)
}

// The CP gives a hanging connection up by closing the DLC.
func TestConnectGivenUp(t *testing.T) {
	dialling := make(chan struct{}, 1)
	a := newAP(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
			dialling <- struct{}{}
			return hang(ctx, network, iface, local, dst)
		}
	})
	c := serve(t, a.AP, "line1")
	conn := c.dlc(1)
	answer := make(chan error, 1)
	go func() {
		_, err := c.do(webOpch(1, tcp("192.0.2.1:80")))
		answer <- err
	}()
	receive(t, dialling, "connect")
	conn.Close()
	wantCME(t, receive(t, answer, "answer"), at.ErrNoChannel)
}

// The line goes down while a connection is being made.
func TestLineDownWhileConnecting(t *testing.T) {
	dialling := make(chan struct{}, 1)
	ended := make(chan struct{}, 1)
	a := newAP(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
			dialling <- struct{}{}
			defer func() { ended <- struct{}{} }()
			return hang(ctx, network, iface, local, dst)
		}
	})
	c := serve(t, a.AP, "line1")
	c.dlc(1)
	answer := make(chan error, 1)
	go func() {
		_, err := c.do(webOpch(1, tcp("192.0.2.1:80")))
		answer <- err
	}()
	receive(t, dialling, "connect")
	c.wire.cut()
	receive(t, ended, "end of the connect")
	if receive(t, answer, "answer") == nil {
		t.Error("the command succeeded")
	}
}

// down is a Network that is not there.
type down struct{ err error }

func (d down) Status(_ context.Context, iface string) (Status, error) {
	return Status{Access: ptylink.AccessWLAN, Interface: iface, Reason: "no association"}, d.err
}

func TestNoNetwork(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.Network = down{} })
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, listen(t, echo), at.ErrNoService)
	lines, err := c.do("%NETSTAT?")
	if err != nil || len(lines) != 1 || lines[0] != `%NETSTAT: 100,0,""` {
		t.Errorf("state %q, %v", lines, err)
	}
}

func TestNetworkUnknown(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.Network = down{errors.New("netlink says no")} })
	c := serve(t, a.AP, "line1")
	wantRefused(t, a, c, 1, listen(t, echo), at.ErrUnknown)
	_, err := c.do("%NETSTAT?")
	wantCME(t, err, at.ErrUnknown)
}

func TestNoProfile(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.Profiles = nil })
	c := serve(t, a.AP, "line1")
	conn := c.dlc(1)
	_, err := c.do(webOpch(1, listen(t, echo)))
	wantCME(t, err, at.ErrNoService)
	wantEOF(t, conn)
	_, err = c.do(`%GETNET=1,3,"internet"`)
	wantCME(t, err, at.ErrNoService)
}

func TestChannelBusy(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	addr := listen(t, echo)
	conn := c.open(1, addr)
	_, err := c.do(webOpch(1, addr))
	wantCME(t, err, at.ErrChannelBusy)
	roundTrip(t, conn, "the connection is untouched")
}

func TestNoChannel(t *testing.T) {
	a := newAP(t, nil)
	a.openWait = time.Second
	c := serve(t, a.AP, "line1")
	_, err := c.do(webOpch(1, listen(t, echo))) // without DLC
	wantCME(t, err, at.ErrNoChannel)
	_, err = c.do("%WEBCLCH=1")
	wantCME(t, err, at.ErrNoChannel)
}

func TestParameters(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	for line, want := range map[string]at.CMEError{
		`%GETNET=0,3`:                                 at.ErrParameters,
		`%GETNET=8,3`:                                 at.ErrParameters,
		`%GETNET=1`:                                   at.ErrParameters,
		`%GETNET=1,256`:                               at.ErrParameters,
		`%GETNET=1,3,"a",1`:                           at.ErrParameters,
		`%GETNET=1,3,"a\0Db"`:                         at.ErrParameters,
		`%GETNET?`:                                    at.ErrNotSupported,
		`%WEBOPCH=0,"TCP","1.1.1.1",80,1500`:          at.ErrParameters,
		`%WEBOPCH=8,"TCP","1.1.1.1",80,1500`:          at.ErrParameters,
		`%WEBOPCH=1,"SCT","1.1.1.1",80,1500`:          at.ErrParameters,
		`%WEBOPCH=1,"TCP","",80,1500`:                 at.ErrParameters,
		`%WEBOPCH=1,"TCP",1,80,1500`:                  at.ErrParameters,
		`%WEBOPCH=1,"TCP","localhost",80,1500`:        at.ErrParameters, // the card gives addresses, TS 102 223 8.58
		`%WEBOPCH=1,"TCP","1.1.1.1",0,1500`:           at.ErrParameters,
		`%WEBOPCH=1,"TCP","1.1.1.1",65536,1500`:       at.ErrParameters,
		`%WEBOPCH=1,"TCP","1.1.1.1",80`:               at.ErrParameters,
		`%WEBOPCH=1,"TCP","1.1.1.1",80,1,"","","",""`: at.ErrParameters,
		`%WEBOPCH`:                                    at.ErrNotSupported,
		`%WEBCLCH=8`:                                  at.ErrParameters,
		`%WEBCLCH=1,2`:                                at.ErrParameters,
		`%WEBCLCH`:                                    at.ErrNotSupported,
		`%WEBLSTN=1,80,1500`:                          at.ErrNotSupported,
		`%NETSTAT=1`:                                  at.ErrNotSupported,
	} {
		if _, err := c.do(line); !errors.Is(err, want) {
			t.Errorf("AT%s: %v, want %v", line, err, want)
		}
	}
}

func TestBackToListen(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	conn := c.open(1, listen(t, echo))
	_, err := c.do("%WEBCLCH=1,1")
	wantCME(t, err, at.ErrNotSupported)
	roundTrip(t, conn, "the connection is untouched")
	if _, err := c.do("%WEBCLCH=1,0"); err != nil {
		t.Error(err)
	}
}

func TestGetNet(t *testing.T) {
	profiles, err := NewProfiles([]Profile{
		{Name: "Internet", Reveal: true, User: "us\"er", Password: `s3cret,"\`, Interface: "wlan0", MTU: 1400, PDPType: "IPV4V6",
			DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}},
		{Name: "m2m", AccessPoint: "m2m.example", Default: true, User: "hidden", Password: "hidden"},
		{Name: "others", Cards: []string{"card*"}, Reveal: true, User: "hidden", Password: "hidden"},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := newAP(t, func(cfg *Config) { cfg.Profiles = profiles })
	c := serve(t, a.AP, "line1")
	const internet = `%NETPAR: 2,"IPV4V6","Internet","us\22er","s3cret,\22\5C","wlan0","192.0.2.53","2001:db8::53",1400`
	for line, want := range map[string]string{
		`%GETNET=2,3,"internet"`: internet,
		`%GETNET=2,3,"INTERNET"`: internet,
		`%GETNET=2,3,"other"`:    `%NETPAR: 2,"IP","m2m.example","","","","","",0`,
		`%GETNET=2,3,""`:         `%NETPAR: 2,"IP","m2m.example","","","","","",0`,
		`%GETNET=2,3`:            `%NETPAR: 2,"IP","m2m.example","","","","","",0`,
	} {
		if lines, err := c.do(line); err != nil || !reflect.DeepEqual(lines, []string{want}) {
			t.Errorf("AT%s: %q, %v, want %s", line, lines, err, want)
		}
	}
	lines, err := c.do(`%GETNET=2,3,"others"`)
	wantCME(t, err, at.ErrNoService)
	if len(lines) != 0 {
		t.Errorf("the parameters of others' network: %q", lines)
	}
	conn := c.dlc(1)
	_, err = c.do(webOpch(1, listen(t, echo)) + `,"others"`)
	wantCME(t, err, at.ErrNoService)
	wantEOF(t, conn)
	if log := a.log.String(); !strings.Contains(log, `profile \"others\" is not for card \"line1\"`) || strings.Contains(log, "hidden") {
		t.Errorf("the log does not say why, or shows a password:\n%s", log)
	}
}

// A rule may hold for one profile or one interface alone.
func TestRuleForProfile(t *testing.T) {
	profiles, err := NewProfiles([]Profile{{Name: "OTA.example"}, {Name: "internet", Default: true}, {Name: "bound", Interface: "lo"}})
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, echo)
	loopback := egress.Rule{Action: "allow", Prefix: []string{"127.0.0.0/8"}}
	for name, tc := range map[string]struct {
		rule egress.Rule
		nan  string
		ok   bool
	}{
		"profile":           {egress.Rule{Profiles: []string{"ota.*"}}, "ota.example", true},
		"another profile":   {egress.Rule{Profiles: []string{"ota.*"}}, "internet", false},
		"default profile":   {egress.Rule{Profiles: []string{"INTERNET"}}, "", true},
		"interface":         {egress.Rule{Interfaces: []string{"l?"}}, "bound", true},
		"another interface": {egress.Rule{Interfaces: []string{"wlan*"}}, "bound", false},
		"by the route":      {egress.Rule{Interfaces: []string{"lo"}}, "internet", true},
	} {
		t.Run(name, func(t *testing.T) {
			rule := loopback
			rule.Profiles, rule.Interfaces = tc.rule.Profiles, tc.rule.Interfaces
			policy, err := egress.New(egress.Config{Rules: []egress.Rule{rule}})
			if err != nil {
				t.Fatal(err)
			}
			a := newAP(t, func(cfg *Config) { cfg.Profiles, cfg.Policy = profiles, policy })
			c := serve(t, a.AP, "line1")
			conn := c.dlc(1)
			_, err = c.do(webOpch(1, addr) + `,"` + tc.nan + `"`)
			if !tc.ok {
				wantCME(t, err, at.ErrPolicy)
				wantEOF(t, conn)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, conn, "as the rule lets it")
		})
	}
}

// The card's own login is neither needed nor logged.
func TestCardLogin(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	addr := listen(t, echo)
	conn := c.dlc(1)
	if _, err := c.do(webOpch(1, addr) + `,"internet","card","s3cret-card"`); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, conn, "data")
}

// A profile with an interface binds its connections to it.
func TestBoundToInterface(t *testing.T) {
	profiles, err := NewProfiles([]Profile{{Name: "lo", Interface: "lo"}, {Name: "none", Interface: "no-such-if"}})
	if err != nil {
		t.Fatal(err)
	}
	a := newAP(t, func(cfg *Config) { cfg.Profiles = profiles })
	c := serve(t, a.AP, "line1")
	addr := listen(t, echo)
	conn := c.dlc(1)
	if _, err := c.do(webOpch(1, addr) + `,"lo"`); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, conn, "through lo")
	conn = c.dlc(2)
	_, err = c.do(webOpch(2, addr) + `,"none"`)
	wantCME(t, err, at.ErrNoService)
	wantEOF(t, conn)
}
