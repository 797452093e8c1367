package bip_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"bipd/bip"
	"bipd/trace"
)

// ramp gives n octets of which each place tells where it is: no two windows of the stream within 64 KiB are alike.
func ramp(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := from + i
		b[i] = byte(at) ^ byte(at>>8)*31 ^ byte(at>>16)*57
	}
	return b
}

// tcpServer serves each connection to 127.0.0.1 by serve, which owns it until its deadline. The test's end waits for all of them:
// what serve waits for besides the connection is to end with the test's context.
func tcpServer(t testing.TB, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	return tcpServerAt(t, "127.0.0.1:0", serve)
}

func tcpServerAt(t testing.TB, address string, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", address, err)
	}
	return tcpServerOn(t, l, serve)
}

func tcpServerOn(t testing.TB, l net.Listener, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(sessionTime))
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		ended := make(chan struct{})
		go func() {
			running.Wait()
			close(ended)
		}()
		await(t, "the end of the server's connections", ended)
	})
	return addrPort(l.Addr())
}

// udpServer answers each datagram with those that serve returns.
func udpServer(t testing.TB, serve func(datagram []byte) [][]byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			for _, d := range serve(append([]byte(nil), buf[:n]...)) {
				c.WriteToUDPAddrPort(d, from)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return addrPort(c.LocalAddr())
}

// echo sends back what it gets.
func echo(c *net.TCPConn) { io.Copy(c, c) }

// bearer is a bearer whose connections a test makes, and a router that routes all to it.
type bearer struct {
	dial   func(ctx context.Context, r bip.Request) (net.Conn, error)
	dns    func(ctx context.Context, r bip.Request) ([]netip.Addr, error)
	method trace.Method // 0: method 1
}

func (b *bearer) Route(bip.Request) (bip.Bearer, error) { return b, nil }

func (b *bearer) Method() trace.Method { return max(b.method, trace.Method1) }

func (b *bearer) Prepare(_ context.Context, r bip.Request) bip.Dialer {
	return bip.DialerFunc(func(ctx context.Context) (net.Conn, error) { return b.dial(ctx, r) })
}

func (b *bearer) DNSServers(ctx context.Context, r bip.Request) ([]netip.Addr, error) {
	return b.dns(ctx, r)
}

// failing is a bearer all of whose connections fail so.
func failing(err error) *bearer {
	return &bearer{dial: func(context.Context, bip.Request) (net.Conn, error) { return nil, err }}
}

// watched is a connection that tells when it was closed.
type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func watch(c net.Conn) *watched { return &watched{Conn: c, closed: make(chan struct{})} }

func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// await wants the event to happen in bounded time.
func await(t testing.TB, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(testTime):
		t.Errorf("%s did not happen:\n%s", what, stacks())
	}
}

// next waits a bounded time for a value.
func next[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(testTime):
		t.Fatalf("%s did not come:\n%s", what, stacks())
	}
	return v
}

// receive waits for a value in a step of an applet.
func receive[T any](a *app, what string, from <-chan T) T {
	select {
	case v := <-from:
		return v
	case <-a.ctx.Done():
		a.fail("%s did not come", what)
		panic("not reached")
	}
}

// gated is a connection that takes no data until its gate is opened.
type gated struct {
	*watched
	gate chan struct{}
}

func (g *gated) Write(p []byte) (int, error) {
	select {
	case <-g.gate:
		return g.watched.Write(p)
	case <-g.closed:
		return 0, net.ErrClosed
	}
}

func (g *gated) CloseWrite() error { return g.Conn.(*net.TCPConn).CloseWrite() }

// gatedBearer connects through the kernel, behind one gate for all.
func gatedBearer(gate chan struct{}, conns chan<- *gated) *bearer {
	return &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
		if err != nil {
			return nil, err
		}
		g := &gated{watch(c), gate}
		conns <- g
		return g, nil
	}}
}

// arrivals counts the octets that the gateway got from the network, by its trace.
type arrivals struct {
	sub *trace.Subscription
	n   int
}

// newArrivals makes a stream for the gateway's configuration.
func newArrivals() (*trace.Stream, *arrivals) {
	s := &trace.Stream{}
	return s, &arrivals{sub: s.Subscribe(1 << 16)}
}

// await waits until n octets have come in all.
func (r *arrivals) await(a *app, n int) {
	for r.n < n {
		select {
		case e := <-r.sub.C:
			if e.Step == "S409" {
				r.n += e.Bytes
			}
		case <-a.ctx.Done():
			a.fail("%d octets arrived, want %d", r.n, n)
		}
	}
}
