package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
)

// testFeatures runs what a TERMINAL PROFILE may offer or not: where its bit is clear, the refusal is the case.
func testFeatures(t *testing.T) {
	for _, s := range []struct {
		name string
		run  func(a *app, port uint16)
	}{
		{"listens, tells of the client, carries data both ways", serves},
		{"the client leaves: listens again, and takes the next", leaves},
		{"CLOSE CHANNEL 01 goes back to listening", backToListen},
		{"CLOSE CHANNEL 00 gives the port up", givesUp},
		{"a port in use is 3A 10", portInUse},
	} {
		check(t, "6.4.27.5", "server mode: "+s.name, func(k *testCase) { serverCase(k, s.run) })
	}
	for _, l := range []struct {
		p       cat.TransportProtocol
		bit     int
		network string
	}{{cat.TCPClientLocal, 4, "tcp"}, {cat.UDPClientLocal, 5, "udp"}} {
		check(t, "8.59", fmt.Sprintf("transport %02X: %v", byte(l.p), l.p), func(k *testCase) {
			localClient(k, l.p, cat.Facility{Octet: 17, Bit: l.bit}, l.network)
		})
	}
	check(t, "6.4.27.5", "server mode, not offered, is 3A 06", func(k *testCase) {
		play(k, options{bare: true}, func(a *app) {
			if a.has(facilityServer) {
				a.fail("it is offered")
			}
			a.refusedOpen(server(4433), 0, 0x3A, 0x06)
		})
	})
	check(t, "8.59", "transport 06: direct channel", func(k *testCase) {
		b := play(k, options{}, func(a *app) { a.transport(cat.DirectChannel, cat.Facility{Octet: 17, Bit: 6}) })
		b.notBuilt(cat.Facility{Octet: 17, Bit: 6}, "OPEN CHANNEL was answered 3A 06")
	})
	check(t, "6.4.28", "CLOSE CHANNEL 01 of a client keeps the network access name", nameReuse)
	check(t, "6.4.7", "REFRESH 04 resets the card, and the profile is sent anew", refreshReset)
	for q := byte(0); q <= 3; q++ {
		check(t, "6.4.7", fmt.Sprintf("REFRESH %02X", q), applet(func(a *app) { a.do(&cat.Refresh{}, q, cat.DeviceTerminal) }))
	}
	check(t, "6.4.7", "REFRESH 09, eUICC profile state change", func(k *testCase) {
		bit := cat.Facility{Octet: 34, Bit: 6}
		b := play(k, options{}, func(a *app) {
			if !a.has(bit) {
				a.do(&cat.Refresh{}, 9, cat.DeviceTerminal, 0x30)
				return
			}
			a.do(&cat.Refresh{}, 9, cat.DeviceTerminal)
		})
		b.notBuilt(bit, "REFRESH 09 was answered 30")
	})
	for _, f := range otherCommands {
		check(t, f.clause, f.name, func(k *testCase) { f.check(k, false) })
		check(t, f.clause, f.name+", not offered", func(k *testCase) { f.check(k, true) })
	}
	for _, name := range slices.Sorted(maps.Keys(ownCommands)) {
		check(t, "6.4", name, func(k *testCase) { play(k, options{local: localInfo}, ownCommands[name]) })
	}
	check(t, "7.5.4", "Location status event, once the card asks for it", locationStatus)
	check(t, "7.2", "menu selection", menuSelection)
	check(t, "7.1", "SMS-PP download", smsDownload)
}

const serverPort = 8080

// client connects to the card's server and sends data; it stays until the case ends.
func (a *app) client(port uint16, data []byte) net.Conn {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), testTime)
	a.must(err)
	a.b.k.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(testTime))
	_, err = c.Write(data)
	a.must(err)
	return c
}

// freePort is a port at which nobody listens.
func freePort(k *testCase) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		k.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// portFree reports whether the card can listen on the port.
func portFree(port uint16) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

var facilityServer = cat.Facility{Octet: 17, Bit: 3}

// serverCase runs f in a terminal that offers UICC server mode; in another, the refusal is the case.
func serverCase(k *testCase, f func(a *app, port uint16)) {
	port := freePort(k)
	b := play(k, options{router: &bip.Table{Method1: kernelBearer()}}, func(a *app) {
		if !a.has(facilityServer) {
			a.refusedOpen(server(port), 0, 0x3A, 0x06)
			return
		}
		a.both()
		f(a, port)
	})
	b.notBuilt(facilityServer, "transport 03 was answered 3A 06")
}

// listening opens a server.
func (a *app) listening(port uint16) int {
	id, r := a.open(server(port), 0)
	if v := a.value(r, cat.TagChannelStatus); v[0] != 0x40|byte(id) || v[1] != 0 {
		a.fail("channel status %X, want listening", v)
	}
	if _, has := cat.Find(r.Objects, cat.TagBearerDescription); has {
		a.fail("a server has no bearer description: %v", r.Objects)
	}
	return id
}

func serves(a *app, port uint16) {
	id := a.listening(port)
	c := a.client(port, ramp(0, 500))
	a.told(id, cat.LinkEstablished, 0)
	if got := a.read(id, 500); !bytes.Equal(got, ramp(0, 500)) {
		a.fail("%d octets came", len(got))
	}
	a.send(id, ramp(7, 200))
	a.fromCard(c, ramp(7, 200))
}

// fromCard wants the client to get this.
func (a *app) fromCard(c net.Conn, want []byte) {
	got := make([]byte, len(want))
	var err error
	a.outside(func() { _, err = io.ReadFull(c, got) })
	a.must(err)
	if !bytes.Equal(got, want) {
		a.fail("the client got %X", got)
	}
}

func leaves(a *app, port uint16) {
	id := a.listening(port)
	for round := range 2 {
		c := a.client(port, ramp(round, 20))
		a.told(id, cat.LinkEstablished, 0)
		if got := a.read(id, 20); !bytes.Equal(got, ramp(round, 20)) {
			a.fail("%d octets came", len(got))
		}
		a.must(c.(*net.TCPConn).SetLinger(0)) // one that ends but its own direction would be served on
		a.must(c.Close())
		a.told(id, cat.LinkListen, 0)
	}
	a.noEvent()
}

func backToListen(a *app, port uint16) {
	id := a.listening(port)
	c := a.client(port, nil)
	a.told(id, cat.LinkEstablished, 0)
	a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
	var err error
	a.outside(func() { _, err = c.Read(make([]byte, 1)) })
	if err == nil {
		a.fail("the client's connection goes on")
	}
	list, err := a.tk.GetChannelStatus(a.ctx)
	a.must(err)
	if want := (cat.ChannelStatus{Channel: id, Link: cat.LinkListen}); !slices.Equal(list, []cat.ChannelStatus{want}) {
		a.fail("channel statuses %v, want %v", list, want)
	}
	a.client(port, nil)
	a.told(id, cat.LinkEstablished, 0)
}

func givesUp(a *app, port uint16) {
	id := a.listening(port)
	a.client(port, nil)
	a.told(id, cat.LinkEstablished, 0)
	a.close(id)
	var c net.Conn
	a.outside(func() {
		for err := error(nil); err == nil && a.ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			if c, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				c.Close()
			}
		}
	})
	if a.ctx.Err() != nil {
		a.fail("somebody still listens")
	}
	a.close(a.listening(port))
}

func portInUse(a *app, port uint16) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	a.must(err)
	defer l.Close()
	a.refusedOpen(server(port), 0, 0x3A, 0x10)
}

// transport wants a protocol refused whose bit is clear, and reports whether it is offered.
func (a *app) transport(p cat.TransportProtocol, bit cat.Facility) bool {
	if a.has(bit) {
		return true
	}
	o := openBody("tcp", remote)
	o.Transport.Protocol = p
	a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x06)
	return false
}

// localClient reaches a server on this host by a local transport.
func localClient(k *testCase, p cat.TransportProtocol, bit cat.Facility, network string) {
	to := echoServer(k, network, "127.0.0.1:0")
	b := play(k, options{router: &bip.Table{Method1: kernelBearer()}}, func(a *app) {
		if !a.transport(p, bit) {
			return
		}
		a.both()
		o := openBody(network, to)
		o.Transport.Protocol = p
		id, _ := a.open(o, cat.OpenImmediate)
		a.send(id, ramp(0, 100))
		if got := a.read(id, 100); !bytes.Equal(got, ramp(0, 100)) {
			a.fail("%d octets came back", len(got))
		}
		a.close(id)
	})
	b.notBuilt(bit, "OPEN CHANNEL was answered 3A 06")
}

func nameReuse(k *testCase) {
	bit := cat.Facility{Octet: 33, Bit: 2}
	b := play(k, options{}, func(a *app) {
		o := openBody("tcp", remote)
		name := cat.NetworkAccessName("kept.example")
		o.NetworkAccessName = &name
		id, _ := a.open(o, cat.OpenImmediate)
		a.farEnd()
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
		o.NetworkAccessName = &name
		a.open(o, cat.OpenImmediate)
		if got := a.farEnd().req.NetworkAccessName; got != string(name) {
			a.fail("the next channel to the same network has the access name %q", got)
		}
	})
	b.notBuilt(bit, "CLOSE CHANNEL 01 was answered 00, and the next channel opened")
}

// refreshReset has the applet start twice: before the reset, and after.
func refreshReset(k *testCase) {
	starts, again := 0, make(chan struct{})
	b := play(k, options{until: again}, func(a *app) {
		if starts++; starts > 1 {
			close(again)
			return
		}
		if _, err := a.tk.Do(a.ctx, &cat.Refresh{}, cat.RefreshUICCReset, cat.DeviceTerminal); !errors.Is(err, softuicc.ErrReset) {
			a.fail("REFRESH 04 ended with %v, want a reset", err)
		}
	})
	if p, r := len(b.rec.of(insProfile)), len(b.rec.of(insResponse)); p != 2 || r != 0 {
		k.Errorf("TERMINAL PROFILE was sent %d times, want 2; %d responses, want none", p, r)
	}
}
