package bip_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
)

// TestKnownFaults has the gateway do right what other terminals are known to do wrong. The numbers are those of the list
// of such faults; those that are missing are of features not built.
func TestKnownFaults(t *testing.T) {
	for _, f := range []struct {
		name string
		test func(*testing.T)
	}{
		{"01 Tx overflow answered with success", TestSendBeyondBuffer},
		{"02 Tx overflow cut or counted wrong", flushExactly},
		{"03 and 16 eighth channel", TestNoFreeChannel},
		{"04 and 05 on-demand link", TestOnDemandLink},
		{"06 large block ends the reader", TestBlocks},
		{"07 and 33 end of the far end not told", TestFarEndCloses},
		{"07 and 24 reset not told", TestFarEndResets},
		{"08 result without additional information", TestNoNetwork},
		{"09 event after OPEN or CLOSE CHANNEL", TestImmediateLink},
		{"10 causes of a failure not told apart", TestConnectionFails},
		{"11 IPv6 destination", TestIPv6},
		{"12 and 36 unknown channel", TestUnknownChannel},
		{"12 dropped channel", TestDroppedChannel},
		{"13 connect blocks the rest", TestHangingConnect},
		{"13 connect blocks STATUS", TestHangingOpen},
		{"14 channels mixed up", twoChannels},
		{"15 device identities inverted", deviceIdentities},
		{"17 unknown command ends the chain", unknownCommands},
		{"18 profile offers what is not built", honestProfile},
		{"19 DNS over UDP", TestDNS},
		{"20 DNS server address request", TestDNSServerRequest},
		{"21 and 22 commands not answered in full", fullSet},
		{"23 reader stops until the chain ends", keepsFlowing},
		{"25 credentials in the log", TestNoCredentials},
		{"26 access name of the card", accessNames},
		{"27 buffer granted as asked", TestBufferGrant},
		{"30 channel data with a length of two octets", longData},
		{"31 announced data dropped with the link", TestFarEndClosesUnread},
		{"32 UDP", TestDatagrams},
		{"34 free Tx space from the Rx fill", freeSpace},
		{"35 Rx memory without limit", TestReceivePressure},
		{"37 data noticed late", TestDataAvailableAtOnce},
	} {
		t.Run(f.name, f.test)
	}
}

// flushExactly stores to the brim, is refused at each size beyond, and has exactly the stored octets sent, twice.
func flushExactly(t *testing.T) {
	got := make(chan []byte, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	run(t, options{router: kernel(nil), config: patientEnd, applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 15
		id, _ := a.open(o, cat.OpenImmediate)
		for round := range 2 {
			for n := range 15 {
				if free := a.store(id, ramp(15*round+n, 1)); free != 14-n {
					a.fail("%d octets free after %d of 15", free, n+1)
				}
			}
			for _, n := range []int{1, 2, 15, 229} {
				a.sendRefused(id, ramp(0, n), 0, 0x3A, 0x04)
				a.sendRefused(id, ramp(0, n), cat.SendImmediately, 0x3A, 0x04)
			}
			if free := a.send(id, nil); free != 15 {
				a.fail("%d octets free after all was sent", free)
			}
		}
		a.close(id)
		if b := receive(a, "what was sent", got); !bytes.Equal(b, ramp(0, 30)) { // the end of the session would cut it short
			a.fail("the far end got %X", b)
		}
	})})
}

// twoChannels uses two channels in turn, each to a server that says who it is.
func twoChannels(t *testing.T) {
	tagged := func(tag byte) func(*net.TCPConn) {
		return func(c *net.TCPConn) {
			buf := make([]byte, 1000)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				for i := range buf[:n] {
					buf[i] ^= tag
				}
				c.Write(buf[:n])
			}
		}
	}
	one, two := tcpServer(t, tagged(0x11)), tcpServer(t, tagged(0x22))
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		ids := []int{a.tcp(one), a.tcp(two)}
		for n := range 10 {
			for i, id := range ids {
				a.send(id, bytes.Repeat([]byte{byte(n)}, 50+i))
			}
			for i, id := range ids {
				want := bytes.Repeat([]byte{byte(n) ^ byte(0x11*(i+1))}, 50+i)
				if got := a.read(id, 50+i); !bytes.Equal(got, want) {
					a.fail("channel %d brought %X", id, got)
				}
			}
		}
		want := []cat.ChannelStatus{{Channel: 1, Link: cat.LinkEstablished}, {Channel: 2, Link: cat.LinkEstablished}}
		if list := a.statuses(); fmt.Sprint(list) != fmt.Sprint(want) {
			a.fail("channel statuses %v", list)
		}
		a.close(ids[0])
		a.send(ids[1], []byte{1})
		a.read(ids[1], 1)
	})})
}

func deviceIdentities(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		id := a.tcp(srv)
		for n, body := range []cat.Body{&cat.SendData{Data: []byte{1}}, &cat.ReceiveData{Length: 1}, &cat.CloseChannel{}, &cat.CloseChannel{}} {
			raw, err := a.tk.DoRaw(a.ctx, cat.NewChannelCommand(byte(n+1), 0, id, body).Append(nil))
			a.must(err)
			if want := []byte{0x82, 0x02, 0x82, 0x81}; !bytes.Equal(raw[5:9], want) {
				a.fail("%v answered with device identities % X", body.Type(), raw[5:9])
			}
		}
	})})
}

func unknownCommands(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		for _, kind := range []cat.CommandType{0x7E, 0x50, 0xFE} {
			a.do(raw(kind), 0, cat.DeviceTerminal, 0x31)
		}
		for _, kind := range []cat.CommandType{cat.TypeServiceSearch, cat.TypeGetServiceInformation, cat.TypeDeclareService} {
			a.do(raw(kind), 0, cat.DeviceTerminal, 0x30)
		}
		a.send(id, []byte("on"))
		if got := a.read(id, 2); string(got) != "on" {
			a.fail("got %q", got)
		}
	})})
}

func honestProfile(t *testing.T) {
	var p softuicc.Profile
	run(t, options{router: kernel(nil), applets: applets(func(a *app) { p = a.tk.Profile() })})
	for _, c := range []cat.CommandType{cat.TypeOpenChannel, cat.TypeCloseChannel, cat.TypeReceiveData, cat.TypeSendData, cat.TypeGetChannelStatus} {
		if !p.Supports(c) {
			t.Errorf("%v is not offered", c)
		}
	}
	for _, c := range []cat.CommandType{cat.TypeServiceSearch, cat.TypeGetServiceInformation, cat.TypeDeclareService} {
		if p.Supports(c) {
			t.Errorf("%v is offered", c)
		}
	}
	if p.Channels() != cat.MaxChannels || !p.Transport(cat.TCPClientRemote) || !p.Transport(cat.UDPClientRemote) {
		t.Errorf("%v", p)
	}
	if p.Transport(cat.DirectChannel) || p.Has(13, 1) || p.Has(13, 3) || p.Has(13, 4) || p.Has(13, 5) {
		t.Errorf("profile %X offers a direct channel, or circuit switched or local bearers", []byte(p))
	}
}

func fullSet(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), think: testTime, applets: applets(func(a *app) {
		a.both()
		for _, qualifier := range modes {
			id, r := a.open(openBody("tcp", srv), qualifier)
			if s := a.status(r); s.Channel != id {
				a.fail("channel status %v", s)
			}
			a.value(r, cat.TagBearerDescription)
			a.value(r, cat.TagBufferSize)
			a.send(id, []byte("all"))
			if list := a.statuses(); len(list) != 1 || list[0].Channel != id {
				a.fail("channel statuses %v", list)
			}
			if qualifier != cat.OpenImmediate {
				a.established(id)
			}
			if got := a.read(id, 3); string(got) != "all" {
				a.fail("got %q", got)
			}
			a.close(id)
		}
	})})
}

// keepsFlowing reads more than the buffer holds within one chain of commands.
func keepsFlowing(t *testing.T) {
	srv := tcpServer(t, endless)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		o := openBody("tcp", srv)
		o.BufferSize = 500
		id, _ := a.open(o, cat.OpenImmediate)
		for got := 0; got < 20*500; {
			data, _ := a.receive(id, 200)
			got += len(data)
		}
		a.close(id)
	})})
}

// accessNames has the bearer get the card's own access name, also a malformed one, and none where the card names none.
func accessNames(t *testing.T) {
	srv := tcpServer(t, echo)
	asked := make(chan bip.Request, 1)
	router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		asked <- r
		return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
	}}
	run(t, options{router: router, applets: applets(func(a *app) {
		for name, want := range map[string]string{
			"": "", "\x03iot\x07example": "iot.example", "\x03iot.example.org": "iot.example.org",
		} {
			tail := openBody("tcp", srv)
			objects := []cat.TLV{
				{Tag: cat.TagBearerDescription, Value: []byte{3}}, {Tag: cat.TagBufferSize, Value: []byte{5, 0x8E}},
			}
			if name != "" {
				objects = append(objects, cat.TLV{Tag: cat.TagNetworkAccessName, Value: []byte(name)})
			}
			addr := tail.Destination.As4()
			objects = append(objects,
				cat.TLV{Tag: cat.TagTransportLevel, Value: []byte{2, byte(srv.Port() >> 8), byte(srv.Port())}},
				cat.TLV{Tag: cat.TagOtherAddress, Value: append([]byte{0x21}, addr[:]...)})
			r := a.do(raw(cat.TypeOpenChannel, objects...), cat.OpenImmediate, cat.DeviceTerminal)
			if got := <-asked; got.NetworkAccessName != want {
				a.fail("access name %q, want %q", got.NetworkAccessName, want)
			}
			a.close(a.status(r).Channel)
		}
	})})
}

func longData(t *testing.T) {
	srv := tcpServer(t, echo)
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		for n := 120; n <= 229; n++ {
			a.send(id, ramp(n, n))
			if !bytes.Equal(a.read(id, n), ramp(n, n)) {
				a.fail("block of %d octets differs", n)
			}
		}
	})})
}

// freeSpace has the free octets that SEND DATA tells depend on what is stored alone, with a full Rx buffer as well.
func freeSpace(t *testing.T) {
	srv := tcpServer(t, endless)
	stream, arrived := newArrivals()
	run(t, options{router: kernel(nil), config: bip.Config{Trace: stream}, applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 250
		id, _ := a.open(o, cat.OpenImmediate)
		arrived.await(a, 250)
		if free := a.store(id, ramp(0, 100)); free != 150 {
			a.fail("%d octets free, want 150", free)
		}
		if free := a.send(id, ramp(0, 100)); free != 250 {
			a.fail("%d octets free, want 250", free)
		}
		a.close(id)
	})})
}
