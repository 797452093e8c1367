package ap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/egress"
	"bipd/internal/netbed"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
	"bipd/trace"
)

func TestMain(m *testing.M) {
	netbed.Enter()
	os.Exit(m.Run())
}

// patience bounds every wait of a test for something that must come.
const patience = 60 * time.Second

// up is a Network that is always there.
type up struct{}

func (up) Status(_ context.Context, iface string) (Status, error) {
	return Status{Up: true, Interface: iface}, nil
}

// wire joins the two ends of a line by pipes. Each Open of one end waits for one of the other.
type wire struct {
	ends chan net.Conn
	mu   sync.Mutex
	now  net.Conn // the CP's end
	far  net.Conn // the AP's end
}

func (w *wire) openCP(ctx context.Context) (io.ReadWriteCloser, error) {
	a, b := net.Pipe()
	select {
	case w.ends <- b:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.far = a, b
	return a, nil
}

func (w *wire) openAP(ctx context.Context) (io.ReadWriteCloser, error) {
	select {
	case b := <-w.ends:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cut ends the line as if the cable was pulled.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Close()
}

// toCP puts octets on the line as if the AP had sent them, between two of its writes.
func (w *wire) toCP(p []byte) {
	w.mu.Lock()
	far := w.far
	w.mu.Unlock()
	far.Write(p)
}

// cp is a CP with its line to an AP.
type cp struct {
	t     *testing.T
	link  *ptylink.Link
	wire  *wire
	codes chan string // unsolicited result codes
	state chan bool   // line up, line down

	stop, stopAP context.CancelFunc // each ends its side of the line
	end          func()             // ends both and waits until no line is served
}

// serve joins a CP to the AP and waits until the line is up.
func serve(t *testing.T, a *AP, name string) *cp {
	t.Helper()
	return serveWith(t, a, name, func(*ptylink.LinkConfig) {})
}

func serveWith(t *testing.T, a *AP, name string, change func(*ptylink.LinkConfig)) *cp {
	t.Helper()
	c := &cp{t: t, wire: &wire{ends: make(chan net.Conn)}, codes: make(chan string, 100), state: make(chan bool, 100)}
	cfg := ptylink.LinkConfig{
		Name: name, Open: c.wire.openCP, Retry: 10 * time.Millisecond,
		// No line here is to end by silence, on a machine that stands still for a while.
		Mux: mux.Config{KeepAlive: -1, T1: 2500 * time.Millisecond, T2: 5 * time.Second, N2: 8},
		Unsolicited: func(line string) {
			select {
			case c.codes <- line:
			default: // a test that does not look at them
			}
		},
		State: func(up bool, _ error) { c.state <- up },
	}
	change(&cfg)
	c.link = ptylink.NewLink(cfg)
	cpCtx, stop := context.WithCancel(context.Background())
	apCtx, stopAP := context.WithCancel(context.Background())
	c.stop, c.stopAP = stop, stopAP
	var running sync.WaitGroup
	c.end = func() {
		t.Helper()
		stop()
		stopAP()
		awaitAll(t, &running, "the end of line "+name)
	}
	running.Go(func() { c.link.Run(cpCtx) })
	running.Go(func() { a.ServeLine(apCtx, ptylink.PeerConfig{Name: name, Open: c.wire.openAP}) })
	t.Cleanup(c.end)
	c.await(true)
	return c
}

// await waits until the line is in the state.
func (c *cp) await(up bool) {
	c.t.Helper()
	for {
		if got := receive(c.t, c.state, "a change of the line's state"); got == up {
			return
		}
	}
}

func (c *cp) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

// do sends a command line as text, without AT.
func (c *cp) do(line string) ([]string, error) {
	c.t.Helper()
	cmds, err := at.ParseLine("AT" + line)
	if err != nil || len(cmds) != 1 {
		c.t.Fatalf("test sends %s: %v", line, err)
	}
	return c.link.Do(c.ctx(), cmds[0])
}

// dlc opens the DLC of channel n.
func (c *cp) dlc(n int) net.Conn {
	c.t.Helper()
	conn, err := c.link.OpenChannel(c.ctx(), n)
	if err != nil {
		c.t.Fatalf("DLC of channel %d: %v", n, err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// closeChannel ends a channel's connection as a CP does.
func (c *cp) closeChannel(n int, conn net.Conn) {
	c.t.Helper()
	if _, err := c.do(fmt.Sprintf("%%WEBCLCH=%d", n)); err != nil {
		c.t.Error(err)
	}
	conn.Close()
}

// open opens the DLC of channel n and a connection to addr on it.
func (c *cp) open(n int, addr net.Addr) net.Conn {
	c.t.Helper()
	conn, err := c.tryOpen(n, addr)
	if err != nil {
		c.t.Fatalf("open channel %d to %s: %v", n, addr, err)
	}
	return conn
}

func (c *cp) tryOpen(n int, addr net.Addr) (net.Conn, error) {
	c.t.Helper()
	conn := c.dlc(n)
	lines, err := c.do(webOpch(n, addr))
	if err != nil {
		return nil, err
	}
	name, args, perr := at.ParseResult(strings.Join(lines, ""))
	if perr != nil || name != "%WEBOPCH" || len(args) != 3 || args[0] != at.Num(uint64(n)) {
		c.t.Fatalf("open channel %d: answer %q", n, lines)
	}
	if _, err := netip.ParseAddr(args[1].String); err != nil || args[2].Number == 0 {
		c.t.Fatalf("open channel %d: answer %q has no local address", n, lines)
	}
	if addr.Network() == "udp" {
		conn = ptylink.NewDatagramConn(conn)
	}
	return conn, nil
}

func webOpch(n int, addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String())
	return fmt.Sprintf("%%WEBOPCH=%d,%q,%q,%s,1500", n, strings.ToUpper(addr.Network()), host, port)
}

// tester is an AP whose cards may reach loopback, and what it says.
type tester struct {
	*AP
	events *trace.Subscription
	log    *testkit.Log
}

// newAP makes one; change may be nil. The test fails when goroutines are left behind at its end.
func newAP(t *testing.T, change func(*Config)) *tester {
	t.Helper()
	testkit.NoLeaks(t)
	policy, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8", "::1", "192.0.2.0/24", "192.0.2.1", "2001:db8::/32"}}}})
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := NewProfiles([]Profile{{Name: "internet", Default: true, User: "user", Password: "s3cret-profile"}})
	if err != nil {
		t.Fatal(err)
	}
	stream := &trace.Stream{Source: "apd"}
	log := new(testkit.Log)
	cfg := Config{
		Policy: policy, Profiles: profiles, Network: up{}, FinishTime: patience, Trace: stream,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	tt := &tester{AP: New(cfg), events: stream.Subscribe(10000), log: log}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
		if strings.Contains(log.String(), "s3cret") {
			t.Error("the log has a credential")
		}
	})
	t.Cleanup(func() { tt.wait(t) })
	return tt
}

// wait bounds Wait.
func (tt *tester) wait(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); tt.Wait() }()
	receive(t, ended, "end of the AP")
}

// steps takes events until one has the step last, and returns all the steps of the channel.
func (tt *tester) steps(t *testing.T, channel int, last string) []trace.Event {
	t.Helper()
	var got []trace.Event
	for {
		e := receive(t, tt.events.C, "event "+last)
		if e.Channel != channel {
			continue
		}
		got = append(got, e)
		if e.Step == last {
			return got
		}
	}
}

// eventually asks again and again for something that tells no event.
func eventually(ok func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// awaitAll bounds a Wait.
func awaitAll(t *testing.T, all *sync.WaitGroup, what string) {
	t.Helper()
	ended := make(chan bool, 1)
	go func() { all.Wait(); ended <- true }()
	receive(t, ended, what)
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

// listen serves each connection to a loopback port by handle, which the end of the test waits for.
func listen(t *testing.T, handle func(*net.TCPConn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			serving.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		awaitAll(t, &serving, "the end of a server's connections")
	})
	return l.Addr()
}

func echo(c *net.TCPConn) { io.Copy(c, c) }

// roundTrip sends text and wants it back.
func roundTrip(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	wantRead(t, c, text)
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, len(want))
	if n, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
		t.Fatalf("read %q, %v, want %q", buf[:n], err, want)
	}
}

// wantEOF wants the orderly end of the DLC and nothing before it.
func wantEOF(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d octets, %v, want the DLC's end", n, err)
	}
}

func wantCME(t *testing.T, err error, want at.CMEError) {
	t.Helper()
	var got at.CMEError
	if !errors.As(err, &got) || got != want {
		t.Errorf("answer %v, want %v", err, want)
	}
}

func stepNames(events []trace.Event) []string {
	var names []string
	for _, e := range events {
		names = append(names, e.Step)
	}
	return slices.Compact(names)
}
