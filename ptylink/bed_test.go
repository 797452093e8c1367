package ptylink

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

const testTime = 60 * time.Second // longer than anything that works takes

type open func(context.Context) (io.ReadWriteCloser, error)

// ends is a line as both ends open it. crash closes what was opened last, as the kernel does for a process that died.
type ends struct {
	cp, ap *end
}

type end struct {
	open open

	mu   sync.Mutex
	last io.Closer
}

func (e *end) Open(ctx context.Context) (io.ReadWriteCloser, error) {
	l, err := e.open(ctx)
	if err == nil {
		e.mu.Lock()
		e.last = l
		e.mu.Unlock()
	}
	return l, err
}

func (e *end) crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.last != nil {
		e.last.Close()
	}
}

// lines are the kinds of line that the tests run on.
var lines = map[string]func(*testing.T) *ends{"pipe": pipeEnds, "pty": ptyEnds, "uart": uartEnds}

func eachLine(t *testing.T, test func(t *testing.T, e *ends)) {
	for name, make := range lines {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			test(t, make(t))
		})
	}
}

// pipeEnds: each time the CP opens the line it is a new net.Pipe, whose other end the AP gets.
func pipeEnds(*testing.T) *ends {
	far := make(chan net.Conn, 1)
	return &ends{
		cp: &end{open: func(context.Context) (io.ReadWriteCloser, error) {
			a, b := net.Pipe()
			select {
			case old := <-far: // the AP did not come for it
				old.Close()
			default:
			}
			far <- b
			return a, nil
		}},
		ap: &end{open: func(ctx context.Context) (io.ReadWriteCloser, error) {
			select {
			case c := <-far:
				return c, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}},
	}
}

// ptyEnds: the CP holds the master of a pty, the AP opens the slave by the symbolic link.
func ptyEnds(t *testing.T) *ends {
	link := filepath.Join(t.TempDir(), "line")
	return &ends{
		cp: &end{open: func(context.Context) (io.ReadWriteCloser, error) { return OpenPTY(PTYConfig{Link: link}) }},
		ap: &end{open: func(context.Context) (io.ReadWriteCloser, error) { return OpenTTY(link, TTYConfig{}) }},
	}
}

// uartEnds: two ptys with their masters joined, so that neither end sees the other's hangup.
func uartEnds(t *testing.T) *ends { return uartEndsWith(t, func(p []byte) []byte { return p }) }

// uartEndsWith is uartEnds over wires on which spoil makes something else of what goes over; it may be called at the same
// time for both ways.
func uartEndsWith(t *testing.T, spoil func([]byte) []byte) *ends {
	t.Helper()
	var ptys [2]*PTY
	for i := range ptys {
		p, err := OpenPTY(PTYConfig{})
		if err != nil {
			t.Skipf("no pty here: %v", err)
		}
		ptys[i] = p
	}
	var wires sync.WaitGroup
	for i := range ptys {
		wires.Go(func() { wire(ptys[1-i], ptys[i], spoil) })
	}
	t.Cleanup(func() {
		ptys[0].Close()
		ptys[1].Close()
		ended := make(chan struct{})
		go func() { wires.Wait(); close(ended) }()
		await(t, "the end of the wires", ended)
	})
	tty := func(i int) *end {
		return &end{open: func(context.Context) (io.ReadWriteCloser, error) {
			return OpenTTY(ptys[i].Slave(), TTYConfig{Speed: 115200, RTSCTS: true})
		}}
	}
	return &ends{cp: tty(0), ap: tty(1)}
}

// wire copies from one master to the other until one is closed. What arrives while nobody has the line open is
// lost, and nothing else: who has it open may be slow.
func wire(to, from *PTY, spoil func([]byte) []byte) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, ErrHangup) {
			if from.pause(2*time.Millisecond) != nil {
				return
			}
			continue
		}
		if err != nil {
			return
		}
		for out := spoil(buf[:n]); len(out) > 0; {
			open, err := to.look()
			if err != nil {
				return
			}
			if !open {
				break
			}
			_ = to.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)) // to look again, for nothing else
			n, err := to.Write(out)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			out = out[n:]
		}
	}
}

// fast are multiplexer settings that notice a dead end soon.
var fast = mux.Config{N1: 256, T1: 100 * time.Millisecond, N2: 5, KeepAlive: 200 * time.Millisecond}

// steady are those of a test whose line is not to end: they bear a machine that stands still for a while. The AP gets T1 and N2
// from the CP.
var steady = mux.Config{N1: 256, T1: 2500 * time.Millisecond, T2: 5 * time.Second, N2: 8, KeepAlive: -1}

// cp is a running Link with what it told.
type cp struct {
	*Link
	up, down    chan error
	unsolicited chan string
	stop        func()
}

func startCP(t *testing.T, cfg LinkConfig) *cp {
	t.Helper()
	c := &cp{up: make(chan error, 100), down: make(chan error, 100), unsolicited: make(chan string, 100)}
	cfg.Name = "test"
	cfg.Log = slog.New(slog.NewTextHandler(newTestLog(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.State = func(up bool, err error) {
		if up {
			c.up <- err
		} else {
			c.down <- err
		}
	}
	cfg.Unsolicited = func(l string) { c.unsolicited <- l }
	if cfg.Mux == (mux.Config{}) {
		cfg.Mux = fast
	}
	c.Link = NewLink(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Link.Run: %v", err)
			}
		case <-time.After(testTime):
			t.Error("Link.Run does not end with its context")
		}
	})
	t.Cleanup(c.stop)
	return c
}

// ap is a running Peer.
type ap struct {
	*Peer
	down chan error
	stop func()
}

func startAP(t *testing.T, cfg PeerConfig, handlers map[string]at.HandlerFunc) *ap {
	t.Helper()
	a := &ap{down: make(chan error, 100)}
	cfg.Name = "test"
	cfg.Log = slog.New(slog.NewTextHandler(newTestLog(t), &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Down = func(err error) { a.down <- err }
	if cfg.Mux == (mux.Config{}) {
		cfg.Mux = fast
	}
	a.Peer = NewPeer(cfg)
	for name, h := range handlers {
		a.Handle(name, h)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Peer.Run: %v", err)
			}
		case <-time.After(testTime):
			t.Error("Peer.Run does not end with its context")
		}
	})
	t.Cleanup(a.stop)
	return a
}

// testLog writes a program's log into the test's, until that ends: what comes later would be a panic in place of the failure.
type testLog struct {
	mu sync.Mutex
	t  *testing.T
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// await takes the next of an event.
func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(testTime):
		t.Fatalf("waited %v for: %s", testTime, what)
		panic("unreachable")
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

var testNet = NetPar{PDPType: "IPV4V6", AccessPoint: "inter.net", User: "us\"er", Password: "pa\\ss;\"word", Interface: "wlan0",
	DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}, MTU: 1400}

// testHandlers are an AP's commands as the tests need them.
func testHandlers() map[string]at.HandlerFunc {
	return map[string]at.HandlerFunc{
		"%GETNET": func(_ context.Context, c at.Command) ([]string, error) {
			ch, _, nan, err := ParseGetNet(c)
			if err != nil {
				return nil, err
			}
			if nan == "none" {
				return nil, at.ErrNoService
			}
			n := testNet
			n.Channel = ch
			return n.Lines()
		},
		"%WEBOPCH": func(ctx context.Context, c at.Command) ([]string, error) {
			w, err := ParseWebOpen(c)
			switch {
			case err != nil:
				return nil, err
			case w.Remote.Port() == 1:
				return nil, at.ErrRefused
			case w.Remote.Port() == 2: // hangs
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return WebOpenedLines(w.Channel, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), 40000))
		},
		"%WEBCLCH": func(_ context.Context, c at.Command) ([]string, error) {
			w, err := ParseWebClose(c)
			if err == nil && w.Channel == 7 {
				err = at.ErrNoChannel
			}
			return nil, err
		},
		"%WEBLSTN": func(_ context.Context, c at.Command) ([]string, error) {
			_, err := ParseWebListen(c)
			return nil, err
		},
		"%NETSTAT": func(_ context.Context, c at.Command) ([]string, error) {
			if c.Form != at.Read {
				return nil, at.ErrNotSupported
			}
			return NetStat{Access: AccessWLAN, Up: true, Interface: "wlan0"}.Lines()
		},
	}
}

// ttyAt opens the terminal at a path.
func ttyAt(path string) open {
	return func(context.Context) (io.ReadWriteCloser, error) { return OpenTTY(path, TTYConfig{}) }
}
