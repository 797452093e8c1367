package ptylink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// looped is a line that gives back what was written.
type looped struct{ *serialEnd }

func openLoop() (io.ReadWriteCloser, error) {
	l := &serial{hit: func(_, _ int, b byte) byte { return b }}
	e, err := l.open(0)
	l.ends[1] = l.ends[0]
	return looped{e.(*serialEnd)}, err
}

// TestLoopedLine: what comes back is no AP to a CP and no CP to an AP, with and without the multiplexer.
func TestLoopedLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		opener := func(context.Context) (io.ReadWriteCloser, error) { return openLoop() }
		for _, noMux := range []bool{false, true} {
			l := NewLink(LinkConfig{Open: opener, NoMux: noMux, State: func(bool, error) { t.Error("the CP's line is up") }})
			running.Go(func() { _ = l.Run(ctx) })
		}
		p := NewPeer(PeerConfig{Open: opener, Down: func(err error) { t.Errorf("the AP heard a CP: %v", err) }})
		running.Go(func() { _ = p.Run(ctx) })
		time.Sleep(10 * time.Minute)
		cancel()
		running.Wait()
	})
}

// unanswering is the AP's end of a line on which its control messages do not go out: frames of the basic option alone.
type unanswering struct{ *serialEnd }

func (u unanswering) Write(p []byte) (int, error) {
	if _, err := u.serialEnd.Write(withoutControl(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// withoutControl takes the UIH frames on DLCI 0 of a responder out of whole frames.
func withoutControl(p []byte) (out []byte) {
	for len(p) > 5 && p[0] == 0xf9 && p[1] != 0xf9 { // two flags: what closes a multiplexer, in AT mode
		n := 6 + int(p[3]>>1)
		if p[3]&1 == 0 {
			n += 1 + int(p[4])<<7
		}
		if p[1] != 1 || p[2] != 0xef {
			out = append(out, p[:n]...)
		}
		p = p[n:]
	}
	return append(out, p...)
}

// TestLifeByAT: an AP whose multiplexer answers no message at all is asked by AT. It lives as long as it answers that.
func TestLifeByAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLineBed(t, LinkConfig{Check: CheckOff})
		b.ap(func(ctx context.Context, open open) {
			ours(ctx, func(ctx context.Context) (io.ReadWriteCloser, error) {
				l, err := open(ctx)
				return unanswering{l.(*serialEnd)}, err
			})
		})
		if got := b.settings(); got != "multiplexer true, payload check false" {
			t.Fatal(got)
		}
		select {
		case <-b.up:
			t.Error("a line that is idle and healthy was cut")
		case <-time.After(time.Hour):
		}
		b.line.silence(true)
		select {
		case <-b.up:
		case <-time.After(time.Minute):
			t.Error("the AP died unnoticed")
		}
		b.line.silence(false)
		b.end()
	})
}

// TestLifeWithoutMux: in AT mode an AP that answers lives, and one that does not is noticed within a minute.
func TestLifeWithoutMux(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLineBed(t, LinkConfig{NoMux: true})
		b.ap(ours)
		if got := b.settings(); got != "multiplexer false, payload check false" {
			t.Fatal(got)
		}
		select {
		case <-b.up:
			t.Error("a line that is idle and healthy was cut")
		case <-time.After(time.Hour):
		}
		b.line.silence(true)
		select {
		case <-b.up:
		case <-time.After(time.Minute):
			t.Error("the AP died unnoticed")
		}
		b.line.silence(false)
		b.end()
	})
}

// TestSlowCP: a CP of another make sends its first SABM some seconds after AT+CMUX, in frames of the standard's N1, and ends
// with frames that nobody echoes.
func TestSlowCP(t *testing.T) {
	for _, wait := range []time.Duration{2008 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			testkit.NoLeaks(t)
			line := &serial{hit: func(_, _ int, b byte) byte { return b }}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			p := NewPeer(PeerConfig{Open: func(context.Context) (io.ReadWriteCloser, error) { return line.open(1) }})
			running.Go(func() { _ = p.Run(ctx) })
			synctest.Wait()
			cp, _ := line.open(0)
			say := func(octets string) string {
				_, _ = io.WriteString(cp, octets)
				synctest.Wait()
				line.mu.Lock()
				defer line.mu.Unlock()
				e := line.ends[0]
				got := string(e.in)
				e.in = nil
				return got
			}
			if got := say("ATE0\rAT+CMUX=0\r"); got != "ATE0\r\r\nOK\r\n\r\nOK\r\n" {
				t.Errorf("%q", got)
			}
			time.Sleep(wait)
			if got := say("\xf9\x03\x3f\x01\x1c\xf9"); got != "\xf9\x03\x73\x01\xd7\xf9" {
				t.Errorf("SABM is answered by %q", got)
			}
			say("\xf9\x03\x53\x01\xfd\xf9") // DISC
			time.Sleep(time.Second)         // and AT again
			say("")
			if got := say("\xf9\x07\xef\x0bAT+CLAC\x41\xf9\xf9\x03\x53\x01\xfd\xf9"); got != "" {
				t.Errorf("frames are answered by %q", got)
			}
			if got := say("\rAT\r"); got != "AT\r\r\nOK\r\n" {
				t.Errorf("%q", got)
			}
			cancel()
			running.Wait()
		})
	}
}

// stuck is a connection of which the first Write is cut before it began.
type stuck struct {
	net.Conn // nil
	sent     bytes.Buffer
	cut      bool
}

func (s *stuck) Write(p []byte) (int, error) {
	if !s.cut {
		s.cut = true
		return 0, os.ErrDeadlineExceeded
	}
	return s.sent.Write(p)
}

// TestDatagramNotBegun: a datagram of which nothing went out was not sent, and is not sent later.
func TestDatagramNotBegun(t *testing.T) {
	s := &stuck{}
	d := NewDatagramConn(s)
	if n, err := d.Write([]byte("one")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d %v", n, err)
	}
	if _, err := d.Write([]byte("two")); err != nil {
		t.Error(err)
	}
	if got := s.sent.String(); got != "\x00\x03two" {
		t.Errorf("%q", got)
	}
}
