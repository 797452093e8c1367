package bip_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
)

// TestFarEndCloses has data and FIN arrive together: every octet is read before the card hears that the link is dropped.
func TestFarEndCloses(t *testing.T) {
	for _, n := range []int{0, 1, 237, 238, 1400, 5000, 100000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			srv := tcpServer(t, func(c *net.TCPConn) { c.Write(ramp(0, n)) })
			run(t, options{router: kernel(nil), think: testTime, applets: applets(func(a *app) { // no chain ends before all is read
				a.both()
				id := a.tcp(srv)
				if n > 0 && !bytes.Equal(a.read(id, n), ramp(0, n)) {
					a.fail("octets differ")
				}
				a.dropped(id)
				a.close(id, 0x3A, 0x02)
			})})
		})
	}
}

// TestFarEndClosesUnread keeps the card unaware of the end while it has not read all.
func TestFarEndClosesUnread(t *testing.T) {
	srv := tcpServer(t, func(c *net.TCPConn) { c.Write(ramp(0, 500)) })
	polls := newStatusTap()
	settled := func(a *app) { a.aside(func() { polls.settled(a) }) }
	run(t, options{router: kernel(nil), think: testTime, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		a.dataAvailable(id)
		settled(a)
		a.noEvent()
		data, _ := a.receive(id, 100)
		a.dataAvailable(id) // a chain has ended
		settled(a)
		a.noEvent()
		if list := a.statuses(); len(list) != 1 || list[0].Link != cat.LinkEstablished {
			a.fail("channel statuses %v", list)
		}
		if data = append(data, a.drain(id, 237)...); !bytes.Equal(data, ramp(0, 500)) {
			a.fail("octets differ")
		}
		a.dropped(id)
		settled(a)
		a.noEvent()
		a.close(id, 0x3A, 0x02)
	})})
}

// TestFarEndResets has a reset take nothing of what has arrived.
func TestFarEndResets(t *testing.T) {
	reset := make(chan struct{})
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, 1000))
		select {
		case <-reset:
		case <-t.Context().Done():
		}
		c.SetLinger(0)
	})
	stream, arrived := newArrivals()
	polls := newStatusTap()
	run(t, options{router: kernel(nil), think: testTime, config: bip.Config{Trace: stream}, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		a.aside(func() {
			arrived.await(a, 1000)
			close(reset)
			polls.settled(a)
		})
		if got := a.read(id, 1000); !bytes.Equal(got, ramp(0, 1000)) {
			a.fail("octets differ")
		}
		a.dropped(id)
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		a.close(id, 0x3A, 0x02)
	})})
}

// TestSendAfterReset has SEND DATA never succeed for data that are known to be lost, also while the reader does not know
// of the end because the card leaves its buffer full.
func TestSendAfterReset(t *testing.T) {
	reset, written := make(chan struct{}), make(chan struct{}, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.Write(ramp(0, 100))
		select {
		case <-reset:
		case <-t.Context().Done():
		}
		c.SetLinger(0)
	})
	router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
		if err != nil {
			return nil, err
		}
		return &failedWrites{watch(c), written}, nil
	}}
	stream, arrived := newArrivals()
	polls := newStatusTap()
	run(t, options{router: router, config: bip.Config{Trace: stream}, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		o := openBody("tcp", srv)
		o.BufferSize = 100
		id, _ := a.open(o, cat.OpenImmediate)
		arrived.await(a, 100)
		a.dataAvailable(id)
		close(reset)
		for { // until the kernel knows of the reset
			r, err := a.tk.Do(a.ctx, &cat.SendData{Data: []byte{1}}, cat.SendImmediately, cat.DeviceChannel(id))
			a.must(err)
			if r.Result.General != cat.ResultOK {
				break
			}
			polls.settled(a)
			if len(written) > 0 {
				break
			}
		}
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		if got := a.drain(id, 237); !bytes.Equal(got, ramp(0, 100)) {
			a.fail("octets differ")
		}
		a.dropped(id)
		a.close(id, 0x3A, 0x02)
	})})
}

// failedWrites tells of each write that fails.
type failedWrites struct {
	*watched
	failed chan struct{}
}

func (f *failedWrites) Write(p []byte) (int, error) {
	n, err := f.watched.Write(p)
	if err != nil {
		select {
		case f.failed <- struct{}{}:
		default:
		}
	}
	return n, err
}

// patientEnd is for data that reach the far end after the channel was closed: a busy machine takes its time.
var patientEnd = bip.Config{FinishTime: testTime}

// TestHalfClose has what was sent before the far end closed its direction reach it all the same.
func TestHalfClose(t *testing.T) {
	got := make(chan []byte, 1)
	accepted := make(chan struct{}) // what the card has sent, by the gateway
	srv := tcpServer(t, func(c *net.TCPConn) {
		select {
		case <-accepted:
		case <-t.Context().Done():
		}
		c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- b
	})
	gate, conns := make(chan struct{}), make(chan *gated, 1)
	halfClosed := make(chan struct{})
	run(t, options{router: gatedBearer(gate, conns), config: patientEnd, applets: applets(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", srv), 0)
		halfClose := sync.OnceFunc(func() { close(accepted) })
		defer halfClose()
		a.send(id, ramp(0, 200)) // on demand: this connects, and then the gate holds it
		halfClose()
		if e := a.of(id); e.Status.Link == cat.LinkEstablished {
			a.dropped(id)
		}
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		a.close(id, 0x3A, 0x02)
		close(gate)
		select {
		case b := <-got:
			if !bytes.Equal(b, ramp(0, 200)) {
				a.fail("far end got %d octets of 200", len(b))
			}
		case <-a.ctx.Done():
			a.fail("far end got nothing")
		}
		close(halfClosed)
	})})
	await(t, "half close", halfClosed)
	await(t, "the end of the connection", next(t, "the connection", conns).closed)
}

// TestCloseDelivers has CLOSE CHANNEL end the connection after all that was sent before, and drop what was only stored.
func TestCloseDelivers(t *testing.T) {
	got := make(chan []byte, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	gate, conns := make(chan struct{}), make(chan *gated, 1)
	term := run(t, options{router: gatedBearer(gate, conns), config: patientEnd, applets: applets(func(a *app) {
		id := a.tcp(srv)
		a.send(id, ramp(0, 200))
		a.store(id, ramp(200, 50))
		a.close(id)
		close(gate)
		select {
		case b := <-got:
			if !bytes.Equal(b, ramp(0, 200)) {
				a.fail("far end got %d octets of 200", len(b))
			}
		case <-a.ctx.Done():
			a.fail("far end got nothing")
		}
	})})
	await(t, "the end of the connection", next(t, "the connection", conns).closed)
	if !bytes.Contains([]byte(term.log.String()), []byte("unsent=50")) {
		t.Error("the log does not tell that 50 octets were stored and never sent")
	}
}

// TestStalledClose has CLOSE CHANNEL answered without a wait for the connection's end, which comes in bounded time, whether the far end
// takes nothing or does not close its direction.
func TestStalledClose(t *testing.T) {
	const never = time.Hour
	for name, stall := range map[string]bool{"takes nothing": true, "does not close": false} {
		for _, finish := range []time.Duration{never, 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%v", name, finish), func(t *testing.T) {
				stay := make(chan struct{})
				srv := tcpServer(t, func(c *net.TCPConn) {
					select {
					case <-stay:
					case <-t.Context().Done():
					}
				})
				gate, conns := make(chan struct{}), make(chan *gated, 2)
				open := sync.OnceFunc(func() { close(gate) })
				if !stall {
					open()
				}
				cfg := bip.Config{FinishTime: finish}
				run(t, options{router: gatedBearer(gate, conns), config: cfg, applets: applets(func(a *app) {
					defer close(stay)
					id := a.tcp(srv)
					a.send(id, ramp(0, 200))
					a.close(id)
					other := a.tcp(srv) // the terminal goes on meanwhile
					a.close(other)
					if finish != never {
						receive(a, "the end of the connection", receive(a, "the connection", conns).closed)
						return
					}
					select {
					case <-receive(a, "the connection", conns).closed:
						a.fail("the connection has ended")
					default:
					}
					open()
				})})
			})
		}
	}
}
