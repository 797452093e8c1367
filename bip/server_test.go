package bip_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
)

// loopback is an address of this process' own, so that no other takes a port that is free for a moment.
var loopback = netip.AddrFrom4([4]byte{127, 1 + byte(os.Getpid()>>16)&0x3F, byte(os.Getpid() >> 8), byte(os.Getpid())})

func serverBody(port uint16) *cat.OpenChannel {
	return &cat.OpenChannel{BufferSize: 1400, Transport: &cat.TransportLevel{Protocol: cat.TCPServer, Port: port}}
}

func serving() options {
	return options{
		router: &bip.Table{Method1: &bip.KernelBearer{ListenOn: loopback}},
		config: bip.Config{Listen: true},
	}
}

// listens wants the next event of the channel to say that it listens.
func (a *app) listens(id int) {
	e := a.of(id)
	if e.Code != cat.EventChannelStatus || e.Status != (cat.ChannelStatus{Channel: id, Link: cat.LinkListen}) {
		a.fail("event of channel %d: %v, %v; want Channel status, listening", id, e, e.Status)
	}
}

var lastPort atomic.Uint32

// freePort is a TCP port that cards may listen on and nobody does. It is another each time.
func freePort(t *testing.T) uint16 {
	t.Helper()
	ports := bip.DefaultListenPorts()[0]
	for {
		port := ports.First + uint16(lastPort.Add(1)%uint32(ports.Last-ports.First))
		l, err := net.Listen("tcp", netip.AddrPortFrom(loopback, port).String())
		if err == nil {
			l.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func dialPort(t *testing.T, port uint16) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(loopback, port).String(), testTime)
	if err != nil {
		t.Error(err)
		return nil
	}
	conn.SetDeadline(time.Now().Add(testTime))
	return conn
}

// TestServer has two clients come one after the other; each gets an answer, and between them, when the one before has reset its
// connection, the channel listens.
func TestServer(t *testing.T) {
	port := freePort(t)
	o := serving()
	o.applets = applets(func(a *app) {
		a.both()
		id, r := a.open(serverBody(port), 0)
		if got := a.status(r); got != (cat.ChannelStatus{Channel: id, Link: cat.LinkListen}) {
			a.fail("OPEN CHANNEL answered %v", got)
		}
		a.sendRefused(id, []byte("too early"), cat.SendImmediately, 0x3A, 0x02)
		for _, word := range []string{"first", "second"} {
			answers := make(chan []byte, 1)
			go func() {
				conn := dialPort(t, port)
				if conn == nil {
					answers <- nil
					return
				}
				defer conn.Close()
				io.WriteString(conn, word)
				answer := make([]byte, len(word))
				io.ReadFull(conn, answer)
				conn.(*net.TCPConn).SetLinger(0)
				answers <- answer
			}()
			a.established(id)
			got := a.read(id, len(word))
			if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{Channel: id, Link: cat.LinkEstablished}}) {
				a.fail("with a client: %v", got)
			}
			slices.Reverse(got)
			a.send(id, got)
			answer := <-answers
			slices.Reverse(answer)
			if string(answer) != word {
				a.fail("client sent %q and got %q reversed", word, answer)
			}
			a.listens(id)
			if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{Channel: id, Link: cat.LinkListen}}) {
				a.fail("without a client: %v", got)
			}
		}
		a.close(id)
		a.statuses() // CLOSE CHANNEL is over now
		if conn, err := net.Dial("tcp", netip.AddrPortFrom(loopback, port).String()); err == nil {
			conn.Close()
			a.fail("the port is open after CLOSE CHANNEL")
		}
	})
	run(t, o)
}

// TestServerClose has the card send a client away, first to listen again, then for good.
func TestServerClose(t *testing.T) {
	port := freePort(t)
	o := serving()
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		for _, qualifier := range []byte{cat.CloseUpkeep, 0} {
			gone := make(chan []byte, 1)
			go func() {
				conn := dialPort(t, port)
				if conn == nil {
					gone <- nil
					return
				}
				defer conn.Close()
				all, _ := io.ReadAll(conn)
				gone <- all
			}()
			a.established(id)
			a.send(id, []byte("goodbye"))
			a.do(&cat.CloseChannel{}, qualifier, cat.DeviceChannel(id))
			if all := <-gone; !bytes.Equal(all, []byte("goodbye")) {
				a.fail("the client got %q", all)
			}
		}
		a.noEvent()
		if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{}}) {
			a.fail("after the last CLOSE CHANNEL: %v", got)
		}
		a.close(id, 0x3A, 0x02)
	})
	run(t, o)
}

// TestServerWhileListening closes a channel without a client, in both ways.
func TestServerWhileListening(t *testing.T) {
	port := freePort(t)
	o := serving()
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		a.refusedOpen(serverBody(port), 0, 0x3A, 0x10)
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
		if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{Channel: id, Link: cat.LinkListen}}) {
			a.fail("after going back to listen: %v", got)
		}
		a.close(id)
		id, _ = a.open(serverBody(port), 0) // the port is free again
		a.close(id)
	})
	run(t, o)
}

// TestServerCardGone takes the card away from a server with a client and from one without.
func TestServerCardGone(t *testing.T) {
	busy, idle := freePort(t), freePort(t)
	o := serving()
	ended := make(chan struct{})
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(busy), 0)
		a.open(serverBody(idle), 0)
		go func() {
			defer close(ended)
			conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(loopback, busy).String(), testTime)
			if err != nil {
				if !errors.Is(err, syscall.ECONNRESET) { // the card may be gone before the client sees its connection made
					t.Error(err)
				}
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(testTime))
			if _, err := io.ReadAll(conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client of a card that is gone: %v", err)
			}
		}()
		a.established(id)
	})
	run(t, o) // the card leaves when the applet has ended
	<-ended
}

// TestServerSwitchedOff refuses the mode where no address to listen on is configured.
func TestServerSwitchedOff(t *testing.T) {
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.refusedOpen(serverBody(freePort(t)), 0, 0x3A, 0x06)
	})})
}

// TestLocalClient reaches an application on the terminal, without bearer and address.
func TestLocalClient(t *testing.T) {
	tcp, udp := tcpServer(t, echo), udpServer(t, func(d []byte) [][]byte { return [][]byte{d} })
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		for _, l := range []cat.TransportLevel{{Protocol: cat.TCPClientLocal, Port: tcp.Port()}, {Protocol: cat.UDPClientLocal, Port: udp.Port()}} {
			id, _ := a.open(&cat.OpenChannel{BufferSize: 1400, Transport: &l}, cat.OpenImmediate)
			a.send(id, []byte("ping"))
			if got := a.read(id, 4); string(got) != "ping" {
				a.fail("%v: %q came back", l.Protocol, got)
			}
			a.close(id)
		}
	})})
}
