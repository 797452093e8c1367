package bip_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/trace"
)

// TestRequestSizes asks for each number of octets from 0 to 255 while plenty wait.
func TestRequestSizes(t *testing.T) {
	const total = cat.MaxReceive*(cat.MaxReceive+1)/2 + 18*cat.MaxReceive + 300
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, total))
		io.Copy(io.Discard, c)
	})
	stream, arrived := newArrivals()
	run(t, options{router: kernel(nil), config: bip.Config{BufferLimit: 65535, Trace: stream}, applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 65535
		id, _ := a.open(o, cat.OpenImmediate)
		arrived.await(a, total)
		at := 0
		for n := range 256 {
			data, left := a.receive(id, n)
			want := min(n, cat.MaxReceive)
			if !bytes.Equal(data, ramp(at, want)) {
				a.fail("request of %d at %d: %d octets, or wrong ones", n, at, len(data))
			}
			if at += want; left != min(255, total-at) {
				a.fail("request of %d: %d left, want %d", n, left, total-at)
			}
		}
		for at < total { // the last octets: exact lengths below 255
			data, left := a.receive(id, 7)
			if at += len(data); left != min(255, total-at) {
				a.fail("%d left, want %d", left, total-at)
			}
		}
		a.close(id)
	})})
}

// TestSmallReads reads as cards do that take one TLS record at a time.
func TestSmallReads(t *testing.T) {
	const total = 16 * (5 + 51 + 8 + 9 + 21 + 237)
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, total))
		io.Copy(io.Discard, c)
	})
	stream, arrived := newArrivals()
	run(t, options{router: kernel(nil), config: bip.Config{Trace: stream}, applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 8192
		id, _ := a.open(o, cat.OpenImmediate)
		arrived.await(a, total)
		var all []byte
		for range 16 {
			for _, n := range []int{5, 51, 8, 9, 21, 237} {
				data, _ := a.receive(id, n)
				all = append(all, data...)
			}
		}
		if !bytes.Equal(all, ramp(0, total)) {
			a.fail("octets differ")
		}
	})})
}

// TestBlocks has blocks of 1 to 1500 octets and of 64 KiB arrive whole, each asked for on its own.
func TestBlocks(t *testing.T) {
	srv := tcpServer(t, func(c *net.TCPConn) {
		at := 0
		for {
			var ask [4]byte
			if _, err := io.ReadFull(c, ask[:]); err != nil {
				return
			}
			n := int(binary.BigEndian.Uint32(ask[:]))
			c.Write(ramp(at, n))
			at += n
		}
	})
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		at := 0
		block := func(n int) {
			a.send(id, binary.BigEndian.AppendUint32(nil, uint32(n)))
			if got := a.read(id, n); !bytes.Equal(got, ramp(at, n)) {
				a.fail("block of %d octets at %d differs", n, at)
			}
			at += n
		}
		for n := 1; n <= 1500; n++ {
			block(n)
		}
		block(64 << 10)
		a.close(id)
	})})
}

// TestTwoAPDUs counts: while data wait, 237 octets cost a FETCH and a TERMINAL RESPONSE and nothing else.
func TestTwoAPDUs(t *testing.T) {
	const cycles = 200
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, cycles*cat.MaxReceive))
		io.Copy(io.Discard, c)
	})
	stream, arrived := newArrivals()
	apdus := 0 // of the goroutine that owns the card; the applet looks while it waits for the card
	count := func(_, _ []byte, _ time.Time, _ time.Duration) { apdus++ }
	seen := make(chan int, 1)
	ask := make(chan struct{}, 1)
	tap := func(c, r []byte, at time.Time, d time.Duration) {
		count(c, r, at, d)
		select {
		case <-ask:
			seen <- apdus
		default:
		}
	}
	cfg := bip.Config{BufferLimit: 65535, Trace: stream}
	run(t, options{router: kernel(nil), poll: noPoll, think: testTime, config: cfg, taps: tapsOf(tap), applets: applets(func(a *app) {
		o := openBody("tcp", srv)
		o.BufferSize = 65535
		id, _ := a.open(o, cat.OpenImmediate)
		arrived.await(a, cycles*cat.MaxReceive)
		a.receive(id, cat.MaxReceive)
		// The question is answered at the next APDU, which is the FETCH of the next command.
		ask <- struct{}{}
		a.receive(id, cat.MaxReceive)
		first := <-seen
		for range cycles - 3 {
			a.receive(id, cat.MaxReceive)
		}
		ask <- struct{}{}
		if _, left := a.receive(id, cat.MaxReceive); left != 0 {
			a.fail("%d left", left)
		}
		last := <-seen
		if last-first != 2*(cycles-2) {
			a.fail("%d APDUs for %d times 237 octets, want %d", last-first, cycles-2, 2*(cycles-2))
		}
	})})
}

// TestDataAvailable has the event come on the edge from an empty to a filled buffer, and again after a chain of commands
// that left data unread; not for data that join others, and not for ever to a card that does not read.
func TestDataAvailable(t *testing.T) {
	srv := tcpServer(t, echo)
	stream, arrived := newArrivals()
	polls := newStatusTap()
	settled := func(a *app) { a.aside(func() { polls.settled(a) }) }
	run(t, options{router: kernel(nil), config: bip.Config{Trace: stream}, think: testTime, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		a.send(id, ramp(0, 20))
		if n := a.dataAvailable(id); n != 20 {
			a.fail("%d octets announced", n)
		}
		a.send(id, ramp(20, 20))
		a.aside(func() { arrived.await(a, 40) })
		settled(a)
		a.noEvent() // the buffer was not empty, and the card read nothing since
		a.receive(id, 5)
		if n := a.dataAvailable(id); n != 35 { // a chain has ended
			a.fail("%d octets announced again", n)
		}
		settled(a)
		a.noEvent()
		a.receive(id, 0) // reads nothing
		settled(a)
		a.noEvent()
		if got := a.drain(id, 237); !bytes.Equal(got, ramp(5, 35)) {
			a.fail("got %X", got)
		}
		settled(a)
		a.noEvent()
		a.store(id, ramp(40, 200))
		a.send(id, ramp(240, 200))
		if n := a.dataAvailable(id); n != 255 { // FF: more than 255
			a.fail("%d octets announced", n)
		}
		a.close(id)
	})})
}

// TestDataAvailableNotWanted lets a card read that did not ask for events.
func TestDataAvailableNotWanted(t *testing.T) {
	srv := tcpServer(t, echo)
	stream, arrived := newArrivals()
	polls := newStatusTap()
	run(t, options{router: kernel(nil), config: bip.Config{Trace: stream}, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		id := a.tcp(srv)
		a.send(id, ramp(0, 20))
		arrived.await(a, 20)
		polls.settled(a)
		if got := a.drain(id, 237); !bytes.Equal(got, ramp(0, 20)) {
			a.fail("got %X", got)
		}
		a.close(id)
	})})
}

// TestDataAvailableAtOnce has the event not wait for the next STATUS: nothing comes between the data's arrival and it.
func TestDataAvailableAtOnce(t *testing.T) {
	push := make(chan struct{})
	srv := tcpServer(t, func(c *net.TCPConn) {
		for {
			select {
			case _, more := <-push:
				if !more {
					return
				}
				c.Write([]byte("now"))
			case <-t.Context().Done():
				return
			}
		}
	})
	stream := &trace.Stream{}
	sub := stream.Subscribe(1 << 12)
	polls := newStatusTap()
	run(t, options{router: kernel(nil), poll: noPoll, think: testTime, config: bip.Config{Trace: stream}, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		defer close(push)
		a.both()
		id := a.tcp(srv)
		for len(polls) > 0 {
			<-polls
		}
		for range 20 {
			select {
			case push <- struct{}{}:
			case <-a.ctx.Done():
				a.fail("the server takes no order")
			}
			if got := a.read(id, 3); string(got) != "now" {
				a.fail("got %q", got)
			}
		}
		if len(polls) > 0 {
			a.fail("the event came after a STATUS")
		}
	})})
	sub.Close()
	var arrived time.Time
	var slowest time.Duration
	for e := range sub.C {
		switch e.Step {
		case "S409":
			arrived = e.Time
		case "S410":
			slowest = max(slowest, e.Time.Sub(arrived))
		}
	}
	t.Logf("from arrival to event: at most %v", slowest)
}

// TestDatagrams has each datagram stay one, whatever is asked for and however small the buffer.
func TestDatagrams(t *testing.T) {
	sizes := []int{10, 1, 237, 238, 1200, 474, 3000, 9}
	srv := udpServer(t, func([]byte) (answers [][]byte) {
		for i, n := range sizes {
			answers = append(answers, ramp(i*4000, n))
		}
		return answers
	})
	for _, buffer := range []uint16{1, 100, 1400} {
		t.Run(fmt.Sprintf("buffer %d", buffer), func(t *testing.T) {
			run(t, options{router: kernel(nil), applets: applets(func(a *app) {
				a.both()
				o := openBody("udp", srv)
				o.BufferSize = buffer
				id, _ := a.open(o, cat.OpenImmediate)
				a.send(id, []byte("?"))
				for i, n := range sizes {
					announced := a.dataAvailable(id)
					if announced != min(255, n) {
						a.fail("datagram of %d announced with %d", n, announced)
					}
					if got := a.drain(id, 237-i); !bytes.Equal(got, ramp(i*4000, n)) {
						a.fail("datagram of %d came with %d octets, or wrong ones", n, len(got))
					}
				}
				a.close(id)
			})})
		})
	}
}

// TestSendDatagrams has what is stored and sent at once go out as one datagram, and an empty one as one too.
func TestSendDatagrams(t *testing.T) {
	got := make(chan []byte, 100)
	srv := udpServer(t, func(d []byte) [][]byte {
		got <- d
		return [][]byte{d}
	})
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		id := a.udp(srv)
		expect := func(want []byte) {
			select {
			case d := <-got:
				if !bytes.Equal(d, want) {
					a.fail("datagram of %d octets, want %d", len(d), len(want))
				}
			case <-a.ctx.Done():
				a.fail("no datagram")
			}
		}
		for _, n := range []int{1, 100, 229} {
			a.send(id, ramp(n, n))
			expect(ramp(n, n))
			if back := a.read(id, n); !bytes.Equal(back, ramp(n, n)) {
				a.fail("datagram of %d came back with %d", n, len(back))
			}
		}
		a.store(id, ramp(0, 200))
		a.store(id, ramp(200, 200))
		a.store(id, ramp(400, 200))
		a.send(id, ramp(600, 100))
		expect(ramp(0, 700))
		if back := a.read(id, 700); !bytes.Equal(back, ramp(0, 700)) {
			a.fail("datagram came back with %d octets", len(back))
		}
		a.send(id, nil)
		expect(nil)
		a.close(id)
	})})
}

// TestDNS resolves a name over a channel, by Go's own resolver.
func TestDNS(t *testing.T) {
	srv := udpServer(t, answerDNS)
	applet := applet(func(a *app) {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := a.tk.Dialer(udpDial)(ctx, "udp", srv.String())
			return packetConn{Conn: c}, err
		}}
		addrs, err := r.LookupNetIP(a.ctx, "ip4", "ota.example.org.")
		a.must(err)
		if len(addrs) != 1 || addrs[0].Unmap().String() != "192.0.2.7" {
			a.fail("resolved to %v", addrs)
		}
	})
	run(t, options{router: kernel(nil), applets: appletList(applet)})
}

// packetConn has the resolver know that it writes datagrams.
type packetConn struct {
	net.Conn
	net.PacketConn
}

func (p packetConn) Close() error                       { return p.Conn.Close() }
func (p packetConn) LocalAddr() net.Addr                { return p.Conn.LocalAddr() }
func (p packetConn) SetDeadline(t time.Time) error      { return p.Conn.SetDeadline(t) }
func (p packetConn) SetReadDeadline(t time.Time) error  { return p.Conn.SetReadDeadline(t) }
func (p packetConn) SetWriteDeadline(t time.Time) error { return p.Conn.SetWriteDeadline(t) }

// answerDNS answers a query for any name with 192.0.2.7 (RFC 1035 clause 4).
func answerDNS(query []byte) [][]byte {
	if len(query) < 12 {
		return nil
	}
	end := 12
	for end < len(query) && query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5
	if end > len(query) {
		return nil
	}
	answer := append([]byte(nil), query[:2]...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0)
	answer = append(answer, query[12:end]...)
	answer = append(answer, 0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7)
	return [][]byte{answer}
}
