package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
)

// openLines are about OPEN CHANNEL, CLOSE CHANNEL and the channels there are.
var openLines = []line{
	{3, "", "OPEN CHANNEL without a free channel is 3A 01", applet(func(a *app) {
		a.allChannels()
		a.refusedOpen(openBody("tcp", remote), cat.OpenImmediate, 0x3A, 0x01)
		a.close(4)
		if id, _ := a.dial("tcp"); id != 4 {
			a.fail("channel %d, want 4", id)
		}
	})},
	{9, "", "no Channel status event after OPEN CHANNEL or CLOSE CHANNEL that went well", applet(func(a *app) {
		a.both()
		for _, network := range []string{"tcp", "udp"} {
			id, _ := a.dial(network)
			a.noEvent()
			a.close(id)
			a.noEvent()
		}
	})},
	{10, "", "refused, unreachable and timed out are told apart in the log", causes},
	{11, "", "an IPv6 destination is reached", kernelEcho("tcp", "[::1]:0")},
	{12, "a", "an unknown channel is 3A 03 for SEND DATA, RECEIVE DATA and CLOSE CHANNEL alike", applet(func(a *app) {
		for n := 1; n <= 8; n++ {
			a.channelCommands(cat.DeviceID(0x20+n), 0x3A, 0x03)
		}
	})},
	{12, "b", "a dropped channel is 3A 02 for all three", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.finish(io.EOF)
		a.dropped(id)
		a.channelCommands(cat.DeviceChannel(id), 0x3A, 0x02)
	})},
	{14, "", "two channels at once, each with its number, carry data both ways", applet(func(a *app) {
		a.both()
		one, f := a.dial("tcp")
		two, g := a.dial("udp")
		if one != 1 || two != 2 {
			a.fail("channels %d and %d", one, two)
		}
		a.send(one, ramp(0, 40))
		a.send(two, ramp(100, 40))
		a.goesOut(f, ramp(0, 40))
		a.goesOut(g, ramp(100, 40))
		g.push(ramp(300, 50))
		f.push(ramp(200, 50))
		if got := a.read(one, 50); !bytes.Equal(got, ramp(200, 50)) {
			a.fail("channel 1 brought %X", got)
		}
		if got := a.read(two, 50); !bytes.Equal(got, ramp(300, 50)) {
			a.fail("channel 2 brought %X", got)
		}
	})},
	{16, "", "channels 1 to 7, and no eighth", applet(func(a *app) {
		a.allChannels()
		a.refusedOpen(openBody("udp", remote), cat.OpenImmediate, 0x3A, 0x01)
		a.do(&cat.CloseChannel{}, 0, 0x28, 0x3A, 0x03)
		if n := a.tk.Profile().Channels(); n != cat.MaxChannels {
			a.fail("TERMINAL PROFILE tells %d channels", n)
		}
	})},
	{19, "", "a name is asked over UDP port 53, as cards begin", applet(func(a *app) {
		a.both()
		o := openBody("udp", netip.MustParseAddrPort("127.0.0.53:53"))
		o.Alpha = &cat.Alpha{}
		id, _ := a.open(o, cat.OpenImmediate|cat.OpenAutoReconnect)
		f := a.farEnd()
		a.send(id, dnsQuery)
		a.goesOut(f, dnsQuery)
		f.push(dnsAnswer)
		if got := a.read(id, len(dnsAnswer)); !bytes.Equal(got, dnsAnswer) {
			a.fail("answer %X", got)
		}
		a.close(id)
	})},
	{20, "", "a DNS server address request is answered with the servers", dnsServers},
	{22, "", "a successful OPEN CHANNEL always has a channel status", applet(func(a *app) {
		for mode, q := range modes {
			id, r := a.open(openBody("tcp", remote), q)
			if r.Objects[0].Tag != cat.TagChannelStatus || id == 0 {
				a.fail("%s: objects %v", mode, r.Objects)
			}
		}
	})},
	{26, "", "the card's network access name decides, and none is made up", applet(func(a *app) {
		for _, want := range []string{"iot.example", "a.b.c", ""} {
			o := openBody("tcp", remote)
			if want != "" {
				n := cat.NetworkAccessName(want)
				o.NetworkAccessName = &n
			}
			a.open(o, cat.OpenImmediate)
			if got := a.farEnd().req.NetworkAccessName; got != want {
				a.fail("access name %q, want %q", got, want)
			}
		}
	})},
	{27, "", "buffers of 15 to 1500 are granted as asked, above the limit less with 07", grants},
	{28, "", "automatic reconnection makes the link anew", reconnects},
	{32, "a", "UDP works", kernelEcho("udp", "127.0.0.1:0")},
	{32, "b", "IPv6 works over UDP", kernelEcho("udp", "[::1]:0")},
	{32, "c", "UICC server mode works", func(k *testCase) { serverCase(k, serves) }},
}

func (a *app) allChannels() {
	for want := 1; want <= cat.MaxChannels; want++ {
		if id, _ := a.dial("tcp"); id != want {
			a.fail("channel %d, want %d", id, want)
		}
	}
}

// channelCommands wants SEND DATA, RECEIVE DATA and CLOSE CHANNEL answered alike.
func (a *app) channelCommands(to cat.DeviceID, want ...byte) {
	a.do(&cat.SendData{Data: []byte{1}}, 0, to, want...)
	a.do(&cat.SendData{Data: []byte{1}}, cat.SendImmediately, to, want...)
	a.do(&cat.ReceiveData{Length: 10}, 0, to, want...)
	a.do(&cat.CloseChannel{}, 0, to, want...)
}

func causes(k *testCase) {
	n := newNetwork()
	n.script = func(ctx context.Context, r bip.Request) error {
		switch r.Remote.Port() {
		case 1:
			return syscall.ECONNREFUSED
		case 2:
			return syscall.EHOSTUNREACH
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	log := ""
	for port := uint16(1); port <= 3; port++ {
		limit := testTime
		if port == 3 { // the one that is to run out of time
			limit = 100 * time.Millisecond
		}
		b := play(k, options{net: n, config: bip.Config{ConnectTimeout: limit}}, func(a *app) {
			a.refusedOpen(openBody("tcp", netip.AddrPortFrom(remote.Addr(), port)), cat.OpenImmediate, 0x3A, 0x00)
		})
		log += b.log.String()
	}
	for _, want := range []string{`cause="connection refused"`, `cause=unreachable`, `cause="timed out"`} {
		if strings.Count(log, want) != 1 {
			k.Errorf("the log does not tell %s once", want)
		}
	}
}

// kernelEcho reaches a server of this host that echoes.
func kernelEcho(network, address string) func(k *testCase) {
	return func(k *testCase) {
		to := echoServer(k, network, address)
		play(k, options{router: &bip.Table{Method1: kernelBearer()}}, func(a *app) {
			a.both()
			id, _ := a.open(openBody(network, to), cat.OpenImmediate)
			a.send(id, ramp(0, 200))
			if got := a.read(id, 200); !bytes.Equal(got, ramp(0, 200)) {
				a.fail("%d octets came back", len(got))
			}
			a.close(id)
		})
	}
}

// echoServer serves until the case ends.
func echoServer(k *testCase, network, address string) netip.AddrPort {
	k.Helper()
	if network == "udp" {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			k.Skipf("cannot listen on %s: %v", address, err)
		}
		k.Cleanup(func() { c.Close() })
		go func() {
			buf := make([]byte, 1<<16)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				c.WriteTo(buf[:n], from)
			}
		}()
		return netip.MustParseAddrPort(c.LocalAddr().String())
	}
	l, err := net.Listen(network, address)
	if err != nil {
		k.Skipf("cannot listen on %s: %v", address, err)
	}
	k.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.Copy(c, c)
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func dnsServers(k *testCase) {
	n := newNetwork()
	n.dns = []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}
	b := play(k, options{net: n}, func(a *app) {
		o := openBody("tcp", remote)
		o.Transport, o.Destination = nil, nil
		if !a.has(cat.FacilityDNSRequest) {
			a.refusedOpen(o, cat.OpenImmediate|cat.OpenDNSRequest, 0x32)
			return
		}
		id, r := a.open(o, cat.OpenImmediate|cat.OpenDNSRequest)
		var got []string
		for _, t := range r.Objects {
			if t.Tag == cat.TagDNSServerAddress {
				got = append(got, upper(t.Value))
			}
		}
		if want := "[21C0000235 5720010DB8000000000000000000000053]"; fmt.Sprint(got) != want {
			a.fail("servers %v, want %s", got, want)
		}
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
	})
	b.notBuilt(cat.FacilityDNSRequest, "the request was answered 32")
}

func grants(k *testCase) {
	play(k, options{config: bip.Config{BufferLimit: 4000}}, func(a *app) {
		for _, tc := range []struct {
			asked, granted uint16
			result         byte
		}{{15, 15, 0}, {255, 255, 0}, {1024, 1024, 0}, {1400, 1400, 0}, {1422, 1422, 0}, {1500, 1500, 0}, {4000, 4000, 0}, {4001, 4000, 7}, {65535, 4000, 7}} {
			o := openBody("tcp", remote)
			o.BufferSize = tc.asked
			id, r := a.open(o, cat.OpenImmediate, tc.result)
			if v := a.value(r, cat.TagBufferSize); uint16(v[0])<<8|uint16(v[1]) != tc.granted {
				a.fail("%d asked, %X granted", tc.asked, v)
			}
			a.close(id)
		}
	})
}

// reconnects drops the link of a channel that wants it back. The TERMINAL PROFILE has no bit for that: where the
// terminal tells of the drop and makes no connection, it does not have it.
func reconnects(k *testCase) {
	play(k, options{}, func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", remote), cat.OpenImmediate|cat.OpenAutoReconnect)
		a.farEnd().finish(syscall.ENETDOWN) // the bearer is lost: a far end that resets wants no new link
		f, told := a.redialled()
		if f == nil {
			a.fail("the link was not made anew; told of the loss: %v", told)
		}
		a.settle()
		a.send(id, ramp(0, 30))
		a.goesOut(f, ramp(0, 30))
		f.push(ramp(30, 30))
		if e, err := a.tk.Wait(a.ctx, softuicc.OfCode(cat.EventDataAvailable)); err != nil || e.Status.Link != cat.LinkEstablished {
			a.fail("no Data available on the new link: %v %v", e, err)
		}
		if got := a.drain(id); !bytes.Equal(got, ramp(30, 30)) {
			a.fail("got %X", got)
		}
	})
}

// redialled waits for a connection, at most some time after the card was told that the link is dropped.
func (a *app) redialled() (f *farEnd, told bool) {
	for deadline := time.Now().Add(testTime); time.Now().Before(deadline) && a.ctx.Err() == nil; {
		select {
		case f := <-a.b.net.ends:
			return f, told
		default:
		}
		ctx, cancel := context.WithTimeout(a.ctx, 20*time.Millisecond)
		e, err := a.tk.Wait(ctx, nil)
		cancel()
		if err == nil && e.Status.Info == cat.StatusDropped {
			told, deadline = true, time.Now().Add(10*time.Second)
		}
	}
	return nil, told
}
