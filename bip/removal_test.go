package bip_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// watching connects through the kernel and hands out each connection.
func watching(conns chan<- *watched) *bearer {
	return &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
		if err != nil {
			return nil, err
		}
		w := watch(c)
		conns <- w
		return w, nil
	}}
}

// endless sends until the far end is gone.
func endless(c *net.TCPConn) {
	for {
		if _, err := c.Write(ramp(0, 4096)); err != nil {
			return
		}
	}
}

// TestCardRemoved takes the card away in the middle of a transfer, at each kind of APDU that a channel has.
func TestCardRemoved(t *testing.T) {
	for name, at := range map[string]struct {
		ins   byte
		count int32
	}{
		"FETCH": {0x12, 40}, "TERMINAL RESPONSE": {0x14, 40}, "ENVELOPE": {0xC2, 2}, "STATUS": {0xF2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			srv := tcpServer(t, endless)
			conns := make(chan *watched, 4)
			left := at.count
			var opened atomic.Bool
			fault := func(capdu []byte) softuicc.Fault {
				if capdu[1] == at.ins && opened.Load() {
					if left--; left == 0 {
						return softuicc.Removal
					}
				}
				return softuicc.NoFault
			}
			term := start(t, options{router: watching(conns), quirks: softuicc.Quirks{Fault: fault}, applets: applets(func(a *app) {
				a.both()
				id, other := a.tcp(srv), a.tcp(srv)
				opened.Store(true)
				for {
					a.dataAvailable(id)
					for range 20 {
						a.receive(id, 237)
					}
					a.send(other, ramp(0, 100))
				}
			})})
			term.end(uicc.ErrRemoved)
			await(t, "the end of the first connection", next(t, "a connection", conns).closed)
			await(t, "the end of the second connection", next(t, "a connection", conns).closed)
			if list := term.gateway.Channels(); len(list) != 0 {
				t.Errorf("channels %v are open", list)
			}
		})
	}
}

// TestCardRemovedAtClose takes the card away when CLOSE CHANNEL is answered.
func TestCardRemovedAtClose(t *testing.T) {
	srv := tcpServer(t, echo)
	conns := make(chan *watched, 1)
	closing := false
	fault := func(capdu []byte) softuicc.Fault {
		if capdu[1] == 0x14 && closing {
			return softuicc.Removal
		}
		closing = closing || capdu[1] == 0x14 && capdu[8] == byte(cat.TypeOpenChannel) // the next is for CLOSE CHANNEL
		return softuicc.NoFault
	}
	term := start(t, options{router: watching(conns), quirks: softuicc.Quirks{Fault: fault}, applets: applets(func(a *app) {
		a.close(a.tcp(srv))
	})})
	term.end(uicc.ErrRemoved)
	await(t, "the end of the connection", next(t, "a connection", conns).closed)
}

// TestCardReset has the card ask for a reset in the middle of a transfer: all channels end, and it starts anew.
func TestCardReset(t *testing.T) {
	srv := tcpServer(t, endless)
	conns := make(chan *watched, 10)
	var lives atomic.Int32
	anew := make(chan error, 1)
	life := func(ctx context.Context, tk *softuicc.Toolkit) error {
		first := lives.Add(1) == 1
		err := applet(func(a *app) {
			if list := a.statuses(); len(list) != 1 || list[0] != (cat.ChannelStatus{}) {
				a.fail("channel statuses %v after a reset", list)
			}
			a.channelCommands(cat.DeviceChannel(1), 0x3A, 0x03) // forgotten
			a.both()
			ids := []int{a.tcp(srv), a.tcp(srv)}
			if ids[0] != 1 || ids[1] != 2 {
				a.fail("channels %v", ids)
			}
			late, _ := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
			a.dataAvailable(1)
			for range 20 {
				a.receive(1, 237)
			}
			if !first {
				for _, id := range append(ids, late) {
					a.close(id)
				}
				return
			}
			_, err := a.tk.Do(a.ctx, &cat.Refresh{}, cat.RefreshUICCReset, cat.DeviceTerminal)
			if !errors.Is(err, softuicc.ErrReset) {
				a.fail("REFRESH: %v", err)
			}
		})(ctx, tk)
		if err != nil || !first {
			anew <- err
		}
		return err
	}
	term := start(t, options{router: watching(conns), applets: appletList(life)})
	select {
	case err := <-anew:
		if err != nil {
			t.Errorf("applet: %v", err)
		}
	case <-time.After(testTime):
		t.Error("the card does not start anew")
	}
	term.end(context.Canceled)
	for range 6 {
		select {
		case w := <-conns:
			await(t, "the end of a connection", w.closed)
		default: // the background one may not have come about before the reset
		}
	}
}

// TestSessionCancelled ends the session while a connection is being made, in each mode.
func TestSessionCancelled(t *testing.T) {
	hole := testkit.BlackHole(t)
	for mode, qualifier := range modes {
		t.Run(mode, func(t *testing.T) {
			dialling := make(chan struct{})
			router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
				close(dialling)
				return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
			}}
			term := start(t, options{router: router, applets: applets(func(a *app) {
				id, _ := a.open(openBody("tcp", hole), qualifier)
				if mode == "on demand" {
					a.send(id, []byte("x"))
				}
			})})
			await(t, "the connection", dialling)
			term.end(context.Canceled)
		})
	}
}

// TestLateConnection has a connection come about when nobody wants it any more: it is closed.
func TestLateConnection(t *testing.T) {
	srv := tcpServer(t, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	for name, tc := range map[string]struct {
		give func(a *app, term *terminal, id int)
		want error
	}{
		"channel closed": {func(a *app, _ *terminal, id int) { a.close(id) }, context.Canceled},
		"channel closed and opened again": {func(a *app, _ *terminal, id int) {
			a.close(id)
			if again, _ := a.open(openBody("tcp", srv), 0); again != id {
				a.fail("channel %d, want %d", again, id)
			}
		}, context.Canceled},
		"session ended": {func(_ *app, term *terminal, _ int) { term.cancel() }, context.Canceled},
		"card removed":  {func(_ *app, term *terminal, _ int) { term.card.Remove() }, uicc.ErrRemoved},
	} {
		t.Run(name, func(t *testing.T) {
			dialling, conns := make(chan struct{}), make(chan *watched, 1)
			router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
				c, err := net.Dial(r.Network, r.Remote.String())
				if err != nil {
					return nil, err
				}
				close(dialling)
				<-ctx.Done() // and yet:
				w := watch(c)
				conns <- w
				return w, nil
			}}
			started := make(chan *terminal, 1)
			var closed *watched
			done := make(chan struct{})
			term := start(t, options{router: router, applets: applets(func(a *app) {
				defer close(done)
				term := <-started
				id, _ := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
				receive(a, "the connection's start", dialling)
				tc.give(a, term, id)
				select { // also where the applet's own time is over
				case closed = <-conns:
				case <-time.After(testTime):
				}
			})})
			started <- term
			await(t, "the late connection", done)
			term.end(tc.want)
			if closed == nil {
				t.Fatal("no connection came")
			}
			await(t, "the end of the late connection", closed.closed)
		})
	}
}

// TestCancelledTransfer ends the session in the middle of a transfer that runs both ways.
func TestCancelledTransfer(t *testing.T) {
	for _, after := range []int{1, 5, 50} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			srv := tcpServer(t, endless)
			conns, reached := make(chan *watched, 1), make(chan struct{})
			term := start(t, options{router: watching(conns), applets: applets(func(a *app) {
				a.both()
				id := a.tcp(srv)
				for n := 0; ; n++ {
					if n == after {
						close(reached)
					}
					a.send(id, ramp(0, 229))
					a.receive(id, 237)
				}
			})})
			await(t, "the transfer", reached)
			term.end(context.Canceled)
			await(t, "the end of the connection", next(t, "a connection", conns).closed)
		})
	}
}
