package cp_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/softuicc"
)

// TestLineStatus: what is said of the line, with and without one. Without one method 1 asks nobody, method 2 has no network.
func TestLineStatus(t *testing.T) {
	good := echoServer(t)
	byCP := func(a *app) {
		c := a.dial(params(packetBearer, cat.OpenImmediate, good))
		a.echo(c)
		a.must(c.Close())
	}
	for _, tc := range []struct {
		want   string
		o      options
		applet func(a *app)
	}{
		{"none", options{noAP: true, cp: func(c *cp.Config) { c.Line = nil }}, func(a *app) {
			byCP(a)
			c := a.dial(params(defaultBearer, cat.OpenImmediate, good)) // without an AP method 1 takes it
			a.echo(c)
			a.must(c.Close())
			a.refused(params(wlanBearer, cat.OpenImmediate, good), 0x21, 0x00)
		}},
		{"down", options{noAP: true}, func(a *app) { a.noNetwork(t) }},
		{"AT", options{noMux: true}, func(a *app) {
			byCP(a)
			a.refused(params(wlanBearer, cat.OpenImmediate, good), 0x21, 0x00)
		}},
		{"multiplexed", options{}, byCP},
	} {
		t.Run(tc.want, func(t *testing.T) {
			tc.o.tolerate, tc.o.applets = bearerRefused, applets(tc.applet)
			b := run(t, tc.o)
			want := control.Card{Name: "card0", Reader: "reader", State: "serving", ATR: fmt.Sprintf("%X", b.card.ATR()), Line: tc.want, Service: "normal"}
			if tc.want == "down" {
				want.Service = "limited"
			}
			// The AP's answer about its network may be slower than the card.
			var got control.Card
			defer func() {
				if t.Failed() {
					t.Logf("status last %+v, want %+v", got, want)
				}
			}()
			eventually(t, "the status", func() bool { got = b.cp.Status(); return got == want })
		})
	}
}

// TestChannels: the list of channels in each state, also while a command is outstanding and while an APDU hangs.
func TestChannels(t *testing.T) {
	good, hole := echoServer(t), testkit.BlackHole(t)
	connected := make(chan struct{})
	finite := tcpServer(t, "127.0.0.1:0", func(*net.TCPConn) {
		select {
		case <-connected:
		case <-t.Context().Done():
		}
	})
	want := []control.Channel{
		{Channel: 1, Method: 2, State: "established", Network: "tcp", Remote: good.String(), Buffer: 1400, Received: 17, Sent: 17},
		{Channel: 2, Method: 1, State: "established", Network: "tcp", Remote: good.String(), Buffer: 1400, Received: 17, Sent: 17},
		{Channel: 3, Method: 2, State: "on demand", Network: "udp", Remote: good.String(), Buffer: 256},
		{Channel: 4, Method: 1, State: "no link", Buffer: 300},
		{Channel: 5, Method: 2, State: "dropped", Network: "tcp", Remote: finite.String(), Buffer: 1400},
		{Channel: 6, Method: 2, State: "opening", Network: "tcp", Remote: hole.String(), Buffer: 1400},
	}
	for i := range want {
		want[i].Card = "card0"
	}
	var stuck atomic.Bool
	open, release := make(chan struct{}), make(chan struct{})
	b := start(t, options{tolerate: bearerRefused,
		cp: func(c *cp.Config) { c.PollInterval, c.ConnectTimeout = 100*time.Millisecond, appletTime },
		ap: func(c *ap.Config) { c.DialTimeout = appletTime },
		quirks: softuicc.Quirks{Fault: func(capdu []byte) softuicc.Fault {
			if stuck.Load() {
				select {
				case <-release:
				case <-t.Context().Done():
				}
			}
			return softuicc.NoFault
		}},
		applets: applets(func(a *app) {
			for _, bearer := range []cat.BearerDescription{wlanBearer, packetBearer} {
				a.echo(a.dial(params(bearer, cat.OpenImmediate, good)))
			}
			onDemand := params(wlanBearer, 0, good)
			onDemand.Transport, onDemand.BufferSize = cat.UDPClientRemote, 256
			a.dial(onDemand)
			_, err := a.tk.OpenChannel(a.ctx, &cat.OpenChannel{Bearer: &packetBearer, BufferSize: 300}, cat.OpenImmediate|cat.OpenDNSRequest)
			a.must(err)
			dropped := a.dial(params(wlanBearer, background, finite))
			close(connected)
			a.ended(dropped)
			close(open)
			a.tk.Dial(a.ctx, params(wlanBearer, cat.OpenImmediate, hole)) // ends with the bed
		})})
	b.reached("all channels but the last are open", open)
	var got []control.Channel
	defer func() {
		if t.Failed() {
			t.Logf("channels last\n%+v, want\n%+v", got, want)
		}
	}()
	eventually(t, "all channels are there", func() bool { got = b.cp.Channels(); return slices.Equal(got, want) })
	stuck.Store(true)
	start := time.Now()
	eventually(t, "the card hangs", func() bool {
		start = time.Now()
		b.cp.Channels()
		return time.Since(start) > 500*time.Millisecond
	})
	if got = b.cp.Channels(); !slices.Equal(got, want) {
		t.Errorf("channels while the card hangs\n%+v, want\n%+v", got, want)
	}
	if s := b.cp.Status(); s.State != "serving" {
		t.Errorf("status while the card hangs: %+v", s)
	}
	close(release)
}

// TestBadCredentials: a login or password that the AP's line cannot carry, or a command that cannot be read: the card is
// told, and the log, the trace and the status, which the bed searches, say nothing of them.
func TestBadCredentials(t *testing.T) {
	remote := netip.MustParseAddrPort("127.0.0.1:80")
	long := make([]byte, 70)
	for i := range long {
		long[i] = 'x'
	}
	b := run(t, options{tolerate: bearerRefused, applets: applets(func(a *app) {
		for _, bearer := range []cat.BearerDescription{wlanBearer, packetBearer} {
			for _, end := range []string{"\n", string(long)} {
				p := params(bearer, cat.OpenImmediate, remote)
				p.Login, p.Password = textOf(0x04, cardLogin), textOf(0x04, cardPassword+end)
				_, err := a.tk.Dial(a.ctx, p)
				var r *softuicc.ResultError
				if !asResult(err, &r) {
					a.fail("%v", err)
				}
			}
		}
		p := params(wlanBearer, cat.OpenImmediate, remote)
		text := func(s string) cat.TLV { return cat.TLV{Tag: cat.TagTextString, Value: append([]byte{0x04}, s...)} }
		for _, objects := range [][]cat.TLV{
			{text(cardLogin), text(cardPassword)}, // mandatory ones are missing
			{text(cardLogin), {Tag: 0x7D, CR: true, Value: []byte(cardPassword)}, {Tag: cat.TagBufferSize, Value: []byte{1}}}, // not understood
		} {
			r, err := a.tk.Do(a.ctx, &cat.Unsupported{Command: cat.TypeOpenChannel, Objects: objects}, p.Qualifier, cat.DeviceTerminal)
			a.must(err)
			if r.Result.General != cat.ResultValuesMissing && r.Result.General != cat.ResultDataNotUnderstood {
				a.fail("a broken OPEN CHANNEL answered %v", r.Result)
			}
		}
	})})
	noSecret(t, "status", fmt.Sprintf("%+v %+v", b.cp.Status(), b.cp.Channels()))
	b.log.Wants(t, "proactive command refused", "OPEN CHANNEL")
}
