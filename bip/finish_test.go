package bip_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/tcpend"
	"bipd/uicc"
)

// tight is the host's stack with send buffers as small as they can be.
type tight struct{ bip.KernelBearer }

func (n *tight) Prepare(ctx context.Context, r bip.Request) bip.Dialer {
	d := n.KernelBearer.Prepare(ctx, r)
	return bip.DialerFunc(func(ctx context.Context) (net.Conn, error) {
		conn, err := d.Dial(ctx)
		if err == nil {
			err = conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(1)
		}
		return conn, err
	})
}

// ending is how a stream ended for the far end: io.EOF is nil.
type ending struct {
	data []byte
	err  error
}

// inOrder wants the octets of the ramp and then FIN.
func (e ending) inOrder(t *testing.T, n int) {
	t.Helper()
	if e.err != nil || !bytes.Equal(e.data, ramp(0, n)) {
		t.Errorf("the server got %d octets, the right ones up to %d, of the %d that were answered 00, and then %v; want all and FIN",
			len(e.data), agree(e.data), n, e.err)
	}
}

// torn wants a part of the ramp and then a reset.
func (e ending) torn(t *testing.T) {
	t.Helper()
	if !errors.Is(e.err, syscall.ECONNRESET) || agree(e.data) != len(e.data) {
		t.Errorf("the server got %d octets, the right ones up to %d, and then %v; want a reset", len(e.data), agree(e.data), e.err)
	}
}

// agree is how many octets are those of the ramp.
func agree(b []byte) int {
	want := ramp(0, len(b))
	for i := range b {
		if b[i] != want[i] {
			return i
		}
	}
	return len(b)
}

// slowServer has a receive buffer as small as it can be. Each connection begins with first, whose channel is closed once the card's
// data fill the way to it; the rest is read after read is closed, and its end told on ends.
type slowServer struct {
	addr   netip.AddrPort
	filled chan struct{}
	read   chan struct{}
	ends   chan ending
}

func newSlowServer(t *testing.T, first func(c *net.TCPConn, filled <-chan struct{})) *slowServer {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
		return errors.Join(failed, err)
	}}
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowServer{filled: make(chan struct{}), read: make(chan struct{}), ends: make(chan ending, 10)}
	s.addr = tcpServerOn(t, l, func(c *net.TCPConn) {
		if first != nil {
			first(c, s.filled)
		}
		select {
		case <-s.read:
		case <-t.Context().Done():
			return
		}
		b, err := io.ReadAll(c)
		s.ends <- ending{b, err}
	})
	return s
}

// fill sends the ramp until the far end takes no more, and returns how many octets were answered 00.
func (a *app) fill(id int) (n int) {
	const piece = 200
	for {
		r, err := a.tk.Do(a.ctx, &cat.SendData{Data: ramp(n, piece)}, cat.SendImmediately, cat.DeviceChannel(id))
		a.must(err)
		if r.Result.General != cat.ResultOK {
			return n
		}
		n += piece
	}
}

// channelEnd is one way in which a channel ends while data are on the way.
type channelEnd struct {
	server  func(c *net.TCPConn, filled <-chan struct{}) // see slowServer
	card    func(a *app, id int)                         // what the card does last; nil: nothing
	removed bool                                         // the card is pulled then; else the session is ended as SIGTERM does
}

var channelEnds = map[string]channelEnd{
	"closed": {card: func(a *app, id int) {
		a.close(id)
		a.statuses() // the answer to CLOSE CHANNEL is taken
	}},
	"closed with data unread": {
		server: func(c *net.TCPConn, _ <-chan struct{}) { go endless(c) },
		card:   func(a *app, id int) { a.close(id) },
	},
	"card reset":    {card: func(a *app, _ int) { a.reset() }},
	"card pulled":   {removed: true},
	"session ended": {},
	"far end half-closed": {
		server: func(c *net.TCPConn, filled <-chan struct{}) { <-filled; c.CloseWrite() },
		card: func(a *app, id int) {
			a.dropped(id)
			a.close(id, 0x3A, 0x02)
		},
	},
}

// reset has the card ask for a reset, after which its applets begin anew.
func (a *app) reset() {
	if _, err := a.tk.Do(a.ctx, &cat.Refresh{}, cat.RefreshUICCReset, cat.DeviceTerminal); !errors.Is(err, softuicc.ErrReset) {
		a.fail("REFRESH: %v", err)
	}
}

// run opens a channel to the server, sends by fill and ends it, and waits for the end of the gateway. It returns what fill did.
func (e channelEnd) run(t *testing.T, s *slowServer, cfg bip.Config, fill func(a *app, id int) int) (term *terminal, n int) {
	t.Helper()
	var begun atomic.Bool
	sent, ended := make(chan int, 1), make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	cfg.SendTimeout = 100 * time.Millisecond
	term = start(t, options{router: &bip.Table{Method1: &tight{}}, config: cfg, applets: applets(func(a *app) {
		defer end()
		if begun.Swap(true) {
			return
		}
		a.both()
		id, _ := a.open(openBody("tcp", s.addr), cat.OpenImmediate)
		sent <- fill(a, id)
		close(s.filled)
		if e.card != nil {
			e.card(a, id)
		}
	})})
	n = next(t, "the last octet", sent)
	await(t, "the end of the applet", ended)
	if e.removed {
		term.card.Remove()
		term.end(uicc.ErrRemoved)
	} else {
		term.end(context.Canceled)
	}
	return term, n
}

// slowTime is how long a slow server takes nothing. It is longer than what a terminal may be tempted to wait.
func slowTime() time.Duration {
	if testkit.Nightly() {
		return 10 * time.Second
	}
	return 2500 * time.Millisecond
}

// TestSlowServerNightly has a server take nothing for a while after the channel has ended, in each way: it gets everything that was answered
// 00, and then FIN. The whole form waits for longer.
func TestSlowServerNightly(t *testing.T) {
	for name, e := range channelEnds {
		t.Run(name, func(t *testing.T) {
			s := newSlowServer(t, e.server)
			go func() {
				<-s.filled
				time.Sleep(slowTime())
				close(s.read)
			}()
			_, n := e.run(t, s, bip.Config{}, (*app).fill)
			next(t, "the server's end", s.ends).inOrder(t, n)
		})
	}
}

// over reports whether the connection is over without its end having been read, as after a reset (enum tcp_state).
func over(t *testing.T, c *net.TCPConn) bool {
	const tcpClose = 7
	raw, err := c.SyscallConn()
	if err != nil {
		t.Error(err)
		return true
	}
	var info *unix.TCPInfo
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err = errors.Join(failed, err); err != nil {
		t.Error(err)
		return true
	}
	return info.State == tcpClose
}

// TestServerTakesNothing has a server take nothing for longer than it is waited for: it sees a reset, never FIN behind a part.
func TestServerTakesNothing(t *testing.T) {
	for name, e := range channelEnds {
		t.Run(name, func(t *testing.T) {
			if name == "closed with data unread" {
				return // a server that sends hears of a reset by its writes
			}
			s := newSlowServer(t, func(c *net.TCPConn, filled <-chan struct{}) {
				if e.server != nil {
					e.server(c, filled)
				}
				for end := time.Now().Add(testTime); !over(t, c) && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
			})
			close(s.read)
			term, _ := e.run(t, s, bip.Config{FinishTime: 200 * time.Millisecond}, (*app).fill)
			term.log.Wants(t, "not everything was delivered", "undelivered=")
			next(t, "the server's end", s.ends).torn(t)
		})
	}
}

// TestStoredIsNotSent has octets stored, and not sent, when the channel ends. CLOSE CHANNEL discards them; after any other end the
// stream is not complete.
func TestStoredIsNotSent(t *testing.T) {
	for name, e := range channelEnds {
		t.Run(name, func(t *testing.T) {
			if name == "closed with data unread" {
				return // as above
			}
			s := newSlowServer(t, e.server)
			close(s.read)
			term, n := e.run(t, s, bip.Config{}, func(a *app, id int) int {
				a.send(id, ramp(0, 200))
				a.store(id, ramp(200, 50))
				return 200
			})
			end := next(t, "the server's end", s.ends)
			if name == "closed" {
				end.inOrder(t, n)
			} else {
				end.torn(t)
			}
			if len(end.data) != n {
				t.Errorf("the server got %d octets of the %d that were sent", len(end.data), n)
			}
			term.log.Wants(t, "unsent=50")
		})
	}
}

// TestProcessKilled has the process of the terminal killed: its far end sees a reset after what it has got.
func TestProcessKilled(t *testing.T) {
	const remote, delivered = "BIPD_TEST_REMOTE", 5000
	if at := os.Getenv(remote); at != "" {
		run(t, options{router: kernel(nil), applets: applets(func(a *app) {
			a.both()
			o := openBody("tcp", netip.MustParseAddrPort(at))
			o.BufferSize = delivered
			id, _ := a.open(o, cat.OpenImmediate)
			a.upload(id, ramp(0, delivered))
			<-a.ctx.Done()
		})})
		return
	}
	got := make(chan ending, 1)
	started := make(chan *os.Process, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		b := make([]byte, delivered)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Errorf("before the kill: %v", err)
		}
		(<-started).Kill()
		rest, err := io.ReadAll(c)
		got <- ending{append(b, rest...), err}
	})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe, "-test.run=^TestProcessKilled$")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%v", remote, srv))
	out := &testkit.Log{}
	child.Stdout, child.Stderr = out, out
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	started <- child.Process
	if err := child.Wait(); err == nil {
		t.Errorf("the process was not killed: %s", out)
	}
	next(t, "the server's end", got).torn(t)
}

// upload stores the data and sends them as one.
func (a *app) upload(id int, data []byte) {
	for len(data) > 200 {
		a.store(id, data[:200])
		data = data[200:]
	}
	a.send(id, data)
}

// TestFarEndSendsOn has a server send for ever, and read only when it can send no more: it has everything and FIN, though it is not
// waited for once it has sent more than is worth its cost.
func TestFarEndSendsOn(t *testing.T) {
	const n = 1000
	got := make(chan ending, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		endless(c)
		b, err := io.ReadAll(c)
		got <- ending{b, err}
	})
	term := run(t, options{router: kernel(nil), config: bip.Config{FinishTime: time.Hour}, applets: applets(func(a *app) {
		id := a.tcp(srv)
		for from := 0; from < n; from += 200 {
			a.send(id, ramp(from, 200))
		}
		a.close(id)
		receive(a, "the server's end", got).inOrder(t, n)
	})})
	term.log.Await(t, "level=INFO", "connection closed: the far end goes on sending")
	if strings.Contains(term.log.String(), "not everything") {
		t.Error("something is said to be lost")
	}
	var discarded int
	_, text, _ := strings.Cut(term.log.String(), "discarded=")
	if fmt.Sscan(text, &discarded); discarded <= tcpend.MaxSurplus || discarded > tcpend.MaxSurplus+1400 {
		t.Errorf("%d octets were discarded, want one read more than %d at most", discarded, tcpend.MaxSurplus)
	}
}
