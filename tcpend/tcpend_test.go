package tcpend

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
)

// pair is a TCP connection over the loopback.
func pair(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	testkit.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// fill writes until nothing more is taken.
func fill(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// What the far end does not take is counted, and after its reset it is known that it never will.
func TestUnacknowledged(t *testing.T) {
	near, far := pair(t)
	if n, over, err := Unacknowledged(near); n != 0 || over || err != nil {
		t.Errorf("a new connection: %d, %v, %v", n, over, err)
	}
	fill(t, near)
	if n, over, err := Unacknowledged(near); n == 0 || over || err != nil {
		t.Errorf("a full one: %d, %v, %v", n, over, err)
	}
	if err := ResetOnClose(far, true); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if err := AwaitOver(near); err != unix.ECONNRESET {
		t.Errorf("the end: %v", err)
	}
	if n, over, err := Unacknowledged(near); n == 0 || !over || err != nil {
		t.Errorf("after a reset: %d, %v, %v", n, over, err)
	}
	near.Close()
	if _, _, err := Unacknowledged(near); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
	if err := AwaitOver(near); !errors.Is(err, net.ErrClosed) {
		t.Errorf("waiting for a closed connection: %v", err)
	}
}

// ResetOnClose can be taken back.
func TestOrderlyAgain(t *testing.T) {
	near, far := pair(t)
	if err := errors.Join(ResetOnClose(near, true), ResetOnClose(near, false)); err != nil {
		t.Fatal(err)
	}
	near.Close()
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the far end got %v", err)
	}
}

func TestNoTCP(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if err := ResetOnClose(near, true); err != ErrNoTCP {
		t.Errorf("ResetOnClose: %v", err)
	}
	if _, _, err := Unacknowledged(near); err != ErrNoTCP {
		t.Errorf("Unacknowledged: %v", err)
	}
}

// Who takes nothing is waited for once, who goes on taking ten times as long at most. What was done and undone is no
// progress.
func TestPatience(t *testing.T) {
	const limit = 30 * time.Second
	for name, tc := range map[string]struct {
		done func(s int64) int64 // after s seconds
		want time.Duration
	}{
		"nothing":    {func(int64) int64 { return -5 }, limit},
		"now":        {func(s int64) int64 { return min(s, 7) }, 7*time.Second + limit},
		"for ever":   {func(s int64) int64 { return s }, MaxLimits * limit},
		"there back": {func(s int64) int64 { return s % 2 }, time.Second + limit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				p := NewPatience(limit)
				for s := int64(0); !p.Over(tc.done(s)); s++ {
					time.Sleep(time.Second)
				}
				if got := time.Since(start); got != tc.want {
					t.Errorf("over after %v, want %v", got, tc.want)
				}
			})
		})
	}
}
