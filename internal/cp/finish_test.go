package cp_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/cat"
	"bipd/internal/cp"
	"bipd/softuicc"
)

// upload is what a server got of one, and how it ended: io.EOF is nil.
type upload struct {
	data []byte
	err  error
}

// pausedServer has a small receive buffer, 1 for as small as it can be, and reads once goOn is closed. With the smallest one the
// sender's kernel goes on by one window probe after the other now and then, for a minute.
func pausedServer(t *testing.T, buffer int, goOn <-chan struct{}) (netip.AddrPort, <-chan upload) {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, buffer) })
		return errors.Join(failed, err)
	}}
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got, ended := make(chan upload, 1), make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(appletTime))
		<-goOn
		b, err := io.ReadAll(c)
		got <- upload{b, err}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return addrPort(l.Addr()), got
}

// whole wants everything that was answered 00, and then FIN.
func (u upload) whole(t *testing.T, n int) {
	t.Helper()
	if u.err != nil || !bytes.Equal(u.data, pattern(0, n)) {
		t.Errorf("the server got %d octets of the %d that were answered 00, and then %v; want all and FIN", len(u.data), n, u.err)
	}
}

// pattern gives n octets of which each place tells where it is.
func pattern(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from+i) ^ byte((from+i)>>8)*31 ^ byte((from+i)>>16)*57
	}
	return b
}

// fill sends the pattern until the server takes no more, and returns how many octets were answered 00. One refusal alone may come of
// a machine that stood still.
func (a *app) fill(c *softuicc.Conn) (n int) {
	for refused := 0; ; {
		r, err := a.tk.Do(a.ctx, &cat.SendData{Data: pattern(n, 200)}, cat.SendImmediately, cat.DeviceChannel(c.Channel()))
		a.must(err)
		if r.Result.General == cat.ResultOK {
			n, refused = n+200, 0
		} else if refused++; refused == 5 {
			return n
		}
	}
}

var impatientSend = func(c *cp.Config) { c.SendTimeout = 200 * time.Millisecond }

// TestStopDelivers ends the CP, as SIGTERM does, while a server takes nothing: Run returns only when it has everything.
func TestStopDelivers(t *testing.T) {
	for name, bearer := range map[string]cat.BearerDescription{"method 1": packetBearer, "method 2": wlanBearer} {
		t.Run(name, func(t *testing.T) {
			goOn := make(chan struct{})
			srv, got := pausedServer(t, 1, goOn)
			filled := make(chan int, 1)
			b := run(t, options{cp: impatientSend, applets: applets(func(a *app) {
				filled <- a.fill(a.dial(params(bearer, cat.OpenImmediate, srv)))
			})})
			time.AfterFunc(time.Second, func() { close(goOn) })
			b.stopCP()
			select {
			case <-goOn:
			default:
				t.Error("the CP ended before the server went on")
			}
			(<-got).whole(t, <-filled)
		})
	}
}

// TestNextCardServed pulls a card while a server takes nothing of its data. The next card is served meanwhile, and the server
// gets everything in the end.
func TestNextCardServed(t *testing.T) {
	goOn := make(chan struct{})
	srv, got := pausedServer(t, 1, goOn)
	good := echoServer(t)
	filled := make(chan int, 1)
	var lives atomic.Int32
	b := start(t, options{cp: impatientSend, applets: applets(func(a *app) {
		if lives.Add(1) == 1 {
			filled <- a.fill(a.dial(params(packetBearer, cat.OpenImmediate, srv)))
			return
		}
		c := a.dial(params(packetBearer, cat.OpenImmediate, good))
		a.echo(c)
		a.must(c.Close())
	})})
	b.wait()
	b.reader.Remove()
	b.awaitState("absent")
	b.insert()
	eventually(t, "the next card is served", func() bool { return lives.Load() == 2 })
	b.wait()
	select {
	case u := <-got:
		t.Errorf("the server got %d octets before it read: %v", len(u.data), u.err)
	default:
	}
	close(goOn)
	(<-got).whole(t, <-filled)
}
