package conformance

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"bipd/bip"
	"bipd/trace"
)

// network is a bearer whose far ends a test plays. Nothing of it leaves the process.
type network struct {
	*bip.KernelBearer // for what a gateway may ask of a bearer beside the methods below
	// script, where it is set, decides about a connection: an error refuses it. It may wait for ctx.
	script func(ctx context.Context, r bip.Request) error
	dns    []netip.Addr
	ends   chan *farEnd // of each connection that was made

	mu    sync.Mutex
	asked []bip.Request // of each connection that was tried
}

func newNetwork() *network {
	return &network{KernelBearer: kernelBearer(), ends: make(chan *farEnd, 64)}
}

// kernelBearer connects through the host's stack, and listens on loopback, at a port that the host has just given out.
func kernelBearer() *bip.KernelBearer {
	return &bip.KernelBearer{ListenOn: netip.MustParseAddr("127.0.0.1"), ListenPorts: []bip.PortRange{{First: 1024, Last: 65535}}}
}

func (n *network) Method() trace.Method { return trace.Method1 }

func (n *network) DNSServers(context.Context, bip.Request) ([]netip.Addr, error) { return n.dns, nil }

func (n *network) Prepare(_ context.Context, r bip.Request) bip.Dialer {
	return bip.DialerFunc(func(ctx context.Context) (net.Conn, error) { return n.dial(ctx, r) })
}

func (n *network) dial(ctx context.Context, r bip.Request) (net.Conn, error) {
	n.mu.Lock()
	n.asked = append(n.asked, r)
	n.mu.Unlock()
	if n.script != nil {
		if err := n.script(ctx, r); err != nil {
			return nil, err
		}
	}
	f := &farEnd{req: r, changed: make(chan struct{})}
	n.ends <- f
	return f, nil
}

// requests are the connections that were tried so far.
func (n *network) requests() []bip.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]bip.Request(nil), n.asked...)
}

// farEnd is a connection, as the gateway holds it, and its far end, as the test plays it.
type farEnd struct {
	req bip.Request

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	in      [][]byte      // sent by the far end, not read yet
	end     error         // of Read, once in is read
	read    int           // octets that the gateway has taken
	out     [][]byte      // written by the gateway, one element a Write
	closed  bool
}

func (f *farEnd) change(g func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g()
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until ok holds, which is asked under the lock.
func (f *farEnd) await(ctx context.Context, ok func() bool) error {
	for {
		f.mu.Lock()
		held, changed := ok(), f.changed
		f.mu.Unlock()
		if held {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// push has the far end send data: over UDP one datagram.
func (f *farEnd) push(data []byte) { f.change(func() { f.in = append(f.in, data) }) }

// finish ends the connection from the far side, after what was sent: io.EOF or how it broke.
func (f *farEnd) finish(err error) { f.change(func() { f.end = err }) }

// both sends data and ends the connection at one moment.
func (f *farEnd) both(data []byte, err error) {
	f.change(func() { f.in, f.end = append(f.in, data), err })
}

// sent waits until the gateway has written n times, and returns what.
func (f *farEnd) sent(ctx context.Context, n int) ([][]byte, error) {
	err := f.await(ctx, func() bool { return len(f.out) >= n })
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([][]byte(nil), f.out...), err
}

// taken waits until the gateway has taken n octets of what was pushed, and returns how many it has.
func (f *farEnd) taken(ctx context.Context, n int) (int, error) {
	err := f.await(ctx, func() bool { return f.read >= n })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.read, err
}

// hungUp waits until the gateway has closed the connection.
func (f *farEnd) hungUp(ctx context.Context) error {
	return f.await(ctx, func() bool { return f.closed })
}

func (f *farEnd) Read(p []byte) (n int, err error) {
	ready := func() bool {
		switch {
		case f.closed:
			err = net.ErrClosed
		case len(f.in) > 0:
			n = copy(p, f.in[0])
			if f.in[0] = f.in[0][n:]; len(f.in[0]) == 0 || f.req.Network == "udp" {
				f.in = f.in[1:]
			}
			f.read += n
		case f.end != nil:
			err = f.end
		default:
			return false
		}
		return true
	}
	if err := f.await(context.Background(), ready); err != nil {
		return 0, err
	}
	f.change(func() {})
	return n, err
}

func (f *farEnd) Write(p []byte) (int, error) {
	err := error(nil)
	f.change(func() {
		if f.closed || f.end != nil && f.end != io.EOF {
			err = net.ErrClosed
			return
		}
		f.out = append(f.out, append([]byte(nil), p...))
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *farEnd) Close() error {
	f.change(func() { f.closed = true })
	return nil
}

// CloseWrite ends the own direction; this far end then closes too.
func (f *farEnd) CloseWrite() error {
	f.change(func() {
		if f.end == nil {
			f.end = io.EOF
		}
	})
	return nil
}

func (f *farEnd) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(netip.AddrPort{}) }
func (f *farEnd) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(f.req.Remote) }
func (f *farEnd) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (f *farEnd) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (f *farEnd) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
