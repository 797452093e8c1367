package softuicc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/testkit"
)

func TestDeadlinesAndClose(t *testing.T) {
	testkit.NoLeaks(t)
	runBIP(t, serving(func(c net.Conn) { io.Copy(c, c) }), func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate))
		if err != nil {
			return err
		}
		p := make([]byte, 10)
		for _, d := range []time.Duration{-time.Second, time.Millisecond} {
			conn.SetReadDeadline(time.Now().Add(d))
			if _, err := conn.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("read with deadline %v: %v", d, err)
			}
		}
		conn.SetWriteDeadline(time.Now().Add(-time.Second))
		if _, err := conn.Write(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("write after its deadline: %v", err)
		}
		conn.SetDeadline(time.Time{})
		if _, err := conn.Write(p); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, p); err != nil {
			return err
		}
		if conn.RemoteAddr().String() != "127.0.0.1:9" || conn.LocalAddr().String() != "channel 1" {
			return fmt.Errorf("addresses %v %v", conn.LocalAddr(), conn.RemoteAddr())
		}
		blocked := make(chan error, 1)
		go func() {
			_, err := conn.Read(p)
			blocked <- err
		}()
		if err := conn.Close(); err != nil {
			return err
		}
		if err := <-blocked; !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("read closed under way: %v", err)
		}
		_, werr := conn.Write(p)
		_, rerr := conn.Read(p)
		if !errors.Is(werr, net.ErrClosed) || !errors.Is(rerr, net.ErrClosed) || !errors.Is(conn.Close(), net.ErrClosed) {
			return fmt.Errorf("after Close: %v, %v", werr, rerr)
		}
		return nil
	})
}

// TestRxBound has a far end that sends more than the connection keeps, before anybody reads.
func TestRxBound(t *testing.T) {
	testkit.NoLeaks(t)
	file := random(3 * rxLimit)
	c := newCard(t, Config{ThinkTime: DefaultThinkTime}) // the applet waits outside of the toolkit
	full := make(chan struct{})
	c.cfg.Applets = []Applet{func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate))
		if err != nil {
			return err
		}
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, file) {
			return fmt.Errorf("%d of %d bytes: %v", len(got), len(file), err)
		}
		return conn.Close()
	}}
	b := newBIPTerminal(newTerminal(t, c), serving(func(far net.Conn) { far.Write(file) }))
	done := make(chan struct{})
	failed := make(chan error, 3) // the terminal may end the test before the goroutine ends
	go func() {
		defer close(done)
		stopped := false
		for end := time.Now().Add(wait); !stopped && time.Now().Before(end) && t.Context().Err() == nil; time.Sleep(time.Millisecond) {
			c.mu.Lock()
			conn := (*Conn)(nil)
			if c.kit != nil {
				conn = c.kit.conns[1]
			}
			n := 0
			if stopped = conn != nil && conn.unread > 0 && !conn.receiving; stopped {
				n = len(conn.rx)
			}
			c.mu.Unlock()
			if stopped && (n > rxLimit || n < rxLimit-maxReceive) {
				failed <- fmt.Errorf("it keeps %d octets, the bound is %d", n, rxLimit)
			}
		}
		if !stopped {
			failed <- errors.New("it never stopped to ask for more")
		}
		close(full)
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		if err := c.Wait(ctx); err != nil {
			failed <- err
		}
	}()
	b.serve(done)
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	clean(t, c)
}

func TestResetEndsConnections(t *testing.T) {
	testkit.NoLeaks(t)
	reading := make(chan struct{})
	result := make(chan error, 1)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate))
		if err != nil {
			return err
		}
		close(reading)
		_, err = conn.Read(make([]byte, 1))
		result <- err
		_, err = conn.Write(make([]byte, 1))
		result <- err
		return conn.Close()
	}}})
	e := newTerminal(t, c)
	e.profile()
	e.respond(e.fetch(), "830100")
	e.respond(e.fetch(), "830100 38028100 350103 39020578")
	next(t, "the applet reads", reading)
	c.Remove()
	for range 2 {
		if err := next(t, "what the applet got", result); !errors.Is(err, ErrReset) {
			t.Errorf("after removal: %v", err)
		}
	}
}

// TestReconnect has the terminal tell of a link that dropped and came again.
func TestReconnect(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate|cat.OpenAutoReconnect))
		if err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("after the drop: %v", err)
		}
		if _, err := tk.DoRaw(ctx, moreTime(9)); err != nil {
			return err
		}
		got, err := io.ReadAll(io.LimitReader(conn, 3))
		if string(got) != "abc" {
			return fmt.Errorf("after the link is back: %q %v", got, err)
		}
		_, err = conn.Read(make([]byte, 1)) // RECEIVE DATA is refused: the data are lost
		var refused *ResultError
		if !errors.As(err, &refused) {
			return fmt.Errorf("after lost data: %v", err)
		}
		return conn.Close()
	}}})
	e := newTerminal(t, c)
	e.profile()
	e.respond(e.fetch(), ok)
	e.respond(e.fetch(), opened)
	e.envelope(linkGo[2:])
	want(t, "after the drop", e.sw, 0x910B) // MORE TIME: the applet has seen the end
	e.envelope(linkUp1[2:])
	e.respond(e.fetch(), ok)
	e.envelope(data3[2:])
	e.respond(e.fetch(), "830100 B603616263 B70100")
	e.envelope(data3[2:])
	e.respond(e.fetch(), gone)
	e.respond(e.fetch(), gone) // CLOSE CHANNEL
	ended(t, c)
	if v := c.Violations(); len(v) != 1 || !strings.Contains(v[0].Text, "announced data were unread") {
		t.Errorf("violations %v", v)
	}
}
