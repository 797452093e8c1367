package bip_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/trace"
)

// shaky is a bearer whose connections break as a test wants. It hands their far ends to the test.
type shaky struct {
	mu       sync.Mutex
	refuse   int // that many dials fail
	requests []bip.Request
	far      chan *shakyConn
}

func newShaky() *shaky { return &shaky{far: make(chan *shakyConn, 8)} }

func (s *shaky) Method() trace.Method { return trace.Method1 }

func (s *shaky) DNSServers(context.Context, bip.Request) ([]netip.Addr, error) { return nil, nil }

func (s *shaky) Route(bip.Request) (bip.Bearer, error) { return s, nil }

func (s *shaky) Prepare(_ context.Context, r bip.Request) bip.Dialer {
	return bip.DialerFunc(func(context.Context) (net.Conn, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, r)
		if s.refuse > 0 {
			s.refuse--
			return nil, &bip.Error{Cause: bip.CauseNoNetwork, Err: errors.New("still down")}
		}
		near, far := net.Pipe()
		s.far <- &shakyConn{Conn: far}
		return &shakyConn{Conn: near}, nil
	})
}

// shakyConn is a pipe on which a closed far end is the loss of the bearer, unless it said goodbye.
type shakyConn struct{ net.Conn }

func (c *shakyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ENETDOWN}
	}
	return n, err
}

// TestReconnect loses the bearer twice: the card is told of each loss, after it has read all, and of each new link.
func TestReconnect(t *testing.T) {
	s := newShaky()
	far := func(a *app) (c *shakyConn) {
		a.aside(func() { c = receive(a, "the connection", s.far) })
		return c
	}
	run(t, options{router: s, think: testTime, applets: applets(func(a *app) {
		a.both()
		remote := netip.MustParseAddrPort("192.0.2.1:443")
		id, _ := a.open(openBody("tcp", remote), cat.OpenImmediate|cat.OpenAutoReconnect)
		server := far(a)
		for round := range 2 {
			go func() {
				io.WriteString(server, "last words")
				s.mu.Lock()
				s.refuse = round // the second time it takes one more try
				s.mu.Unlock()
				server.Close()
			}()
			if got := a.read(id, 10); string(got) != "last words" {
				a.fail("read %q", got)
			}
			a.dropped(id)
			a.established(id)
			server = far(a)
		}
		echoed := make(chan error, 1)
		go func() {
			buf := make([]byte, 4)
			_, err := io.ReadFull(server, buf)
			if err == nil {
				_, err = server.Write(buf)
			}
			echoed <- err
		}()
		a.send(id, []byte("ping"))
		if got := a.read(id, 4); string(got) != "ping" {
			a.fail("after the second loss: %q", got)
		}
		a.must(receive(a, "the echo", echoed))
		a.close(id)
	})})
	if len(s.requests) != 4 {
		t.Errorf("%d connects, want 4", len(s.requests))
	}
}

// TestReconnectGivenUp closes a channel that tries to connect again: the tries end.
func TestReconnectGivenUp(t *testing.T) {
	s := newShaky()
	run(t, options{router: s, applets: applets(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", netip.MustParseAddrPort("192.0.2.1:443")), cat.OpenImmediate|cat.OpenAutoReconnect)
		s.mu.Lock()
		s.refuse = 1 << 30
		s.mu.Unlock()
		receive(a, "the far end", s.far).Close()
		a.dropped(id)
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		a.do(&cat.ReceiveData{Length: 1}, 0, cat.DeviceChannel(id), 0x3A, 0x02)
		a.close(id)
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
	})})
	s.mu.Lock()
	tries := len(s.requests)
	s.mu.Unlock()
	time.Sleep(1200 * time.Millisecond) // longer than the wait between the first tries
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) != tries {
		t.Errorf("%d connects after CLOSE CHANNEL", len(s.requests)-tries)
	}
}

// TestNoReconnect leaves a channel dropped that the far end closed or reset, and one whose card did not ask for it.
func TestNoReconnect(t *testing.T) {
	closing := tcpServer(t, func(c *net.TCPConn) { c.Read(make([]byte, 1)) })
	resetting := tcpServer(t, func(c *net.TCPConn) { c.Read(make([]byte, 1)); c.SetLinger(0) })
	s := newShaky()
	run(t, options{router: kernel(nil), applets: applets(func(a *app) {
		a.both()
		for _, remote := range []netip.AddrPort{closing, resetting} {
			id, _ := a.open(openBody("tcp", remote), cat.OpenImmediate|cat.OpenAutoReconnect)
			a.send(id, []byte{1})
			a.dropped(id)
			a.close(id, 0x3A, 0x02)
		}
	})})
	run(t, options{router: s, applets: applets(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", netip.MustParseAddrPort("192.0.2.1:443")), cat.OpenImmediate)
		receive(a, "the far end", s.far).Close()
		a.dropped(id)
		a.close(id, 0x3A, 0x02)
	})})
	if len(s.requests) != 1 {
		t.Errorf("%d connects", len(s.requests))
	}
}

// TestAccessKept has CLOSE CHANNEL keep the access: the next channel to the same network need not ask, and only the next.
func TestAccessKept(t *testing.T) {
	s := newShaky()
	open := func(a *app, name string) int {
		o := openBody("tcp", netip.MustParseAddrPort("192.0.2.1:443"))
		n := cat.NetworkAccessName(name)
		o.NetworkAccessName = &n
		id, _ := a.open(o, cat.OpenImmediate)
		return id
	}
	run(t, options{router: s, applets: applets(func(a *app) {
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(open(a, "one")))
		a.close(open(a, "one"))
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(open(a, "one")))
		a.close(open(a, "two"))
		a.close(open(a, "one"))
	})})
	var kept []bool
	for _, r := range s.requests {
		kept = append(kept, r.KeptAccess)
	}
	want := []bool{false, true, false, false, false}
	for i := range want {
		if i >= len(kept) || kept[i] != want[i] {
			t.Fatalf("kept %v, want %v", kept, want)
		}
	}
	for len(s.far) > 0 {
		(<-s.far).Close()
	}
}
