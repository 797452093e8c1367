package ptylink

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// serial is a serial line between two ends: what is written while nobody has the other end open is lost. hit changes
// octets, by direction (0: to the AP) and number since the start.
type serial struct {
	hit func(direction, octet int, b byte) byte

	mu   sync.Mutex
	ends [2]*serialEnd // as opened last: 0 of the CP
	sent [2]int        // octets by direction
	dead bool          // nothing goes over it
}

// silence has nothing go over the line, without either end being told.
func (l *serial) silence(dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = dead
}

func (l *serial) open(i int) (io.ReadWriteCloser, error) {
	e := &serialEnd{line: l, i: i}
	e.some.L = &l.mu
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[i] = e
	return e, nil
}

func (l *serial) count(direction int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent[direction]
}

type serialEnd struct {
	line *serial
	i    int

	some   sync.Cond
	in     []byte
	closed bool
	past   bool // the read deadline has passed
}

func (e *serialEnd) Speed() int { return 115200 }

func (e *serialEnd) Read(p []byte) (int, error) {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, os.ErrClosed
		case e.past:
			return 0, os.ErrDeadlineExceeded
		case len(e.in) > 0:
			n := copy(p, e.in)
			e.in = e.in[n:]
			return n, nil
		}
		e.some.Wait()
	}
}

func (e *serialEnd) Write(p []byte) (int, error) {
	l := e.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.closed {
		return 0, os.ErrClosed
	}
	if l.dead {
		return len(p), nil
	}
	far := l.ends[1-e.i]
	for _, b := range p {
		b = l.hit(e.i, l.sent[e.i], b)
		l.sent[e.i]++
		if far != nil && !far.closed {
			far.in = append(far.in, b)
		}
	}
	if far != nil {
		far.some.Broadcast()
	}
	return len(p), nil
}

func (e *serialEnd) Close() error {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	e.closed = true
	e.some.Broadcast()
	return nil
}

// SetDeadline knows the past and the far future alone.
func (e *serialEnd) SetDeadline(t time.Time) error {
	e.line.mu.Lock()
	defer e.line.mu.Unlock()
	e.past = !t.IsZero() && t.Before(time.Now())
	e.some.Broadcast()
	return nil
}

// started is what an end has said of the multiplexer that it has now.
type started struct {
	slog.Handler
	mu    sync.Mutex
	n1    int64
	check bool
}

func (s *started) Enabled(context.Context, slog.Level) bool { return true }

func (s *started) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *started) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "n1":
			s.n1 = a.Value.Int64()
		case "payload_check":
			s.check = a.Value.Bool()
		}
		return true
	})
	return nil
}

func (s *started) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("N1 %d, payload check %t", s.n1, s.check)
}

// startTook is a start of a line on which hit changes octets: how long it took until data passed both ways, and how many
// octets went to the AP and to the CP until the line was up. Both ends must have come to the same settings, and all data is
// as it was sent. Without the payload check PN settles N1 for each DLC instead.
func startTook(t *testing.T, what string, mode CheckMode, hit func(direction, octet int, b byte) byte) (took time.Duration, octets [2]int) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		line := &serial{hit: hit}
		opener := func(i int) open {
			return func(context.Context) (io.ReadWriteCloser, error) { return line.open(i) }
		}
		var logs [2]started
		up := make(chan bool, 100)
		l := NewLink(LinkConfig{Open: opener(0), Check: mode, Log: slog.New(&logs[0]), State: func(is bool, _ error) { up <- is }})
		p := NewPeer(PeerConfig{Open: opener(1), Log: slog.New(&logs[1])})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		begin := time.Now()
		running.Go(func() { _ = p.Run(ctx) })
		synctest.Wait() // the AP has the line
		running.Go(func() { _ = l.Run(ctx) })
		for passed := false; !passed; {
			select {
			case is := <-up:
				if !is {
					continue
				}
				octets = [2]int{line.count(0), line.count(1)}
			case <-time.After(time.Minute):
				t.Errorf("%s: no line within %v", what, time.Since(begin))
				passed = true
				continue
			}
			if passed = passesData(ctx, t, what, l, p); passed {
				const want = "N1 512, payload check true"
				if cp, ap := logs[0].get(), logs[1].get(); mode != CheckOff && (cp != want || ap != want) {
					t.Errorf("%s: the CP has %s, the AP %s", what, cp, ap)
				}
			}
		}
		took = time.Since(begin)
		cancel()
		running.Wait()
	})
	return took, octets
}

// passesData sends 2000 octets each way on channel 3. false means that some did not come, whose DLC or line has ended.
func passesData(ctx context.Context, t *testing.T, what string, l *Link, p *Peer) bool {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	near, err := l.OpenChannel(ctx, 3)
	if err != nil {
		return false
	}
	defer near.Close()
	far, err := p.Channel(ctx, 3)
	if err != nil {
		return false
	}
	defer far.Close()
	data := bytes.Repeat([]byte("0123456789abcdef,.-+"), 100)
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		if _, err := way[0].Write(data); err != nil {
			return false
		}
		_ = way[1].SetReadDeadline(time.Now().Add(20 * time.Second))
		got := make([]byte, len(data))
		n, err := io.ReadFull(way[1], got)
		if !bytes.Equal(got[:n], data[:n]) {
			t.Errorf("%s: changed octets were delivered", what)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// sweepStart flips one bit of the start of a serial line, at each of every places: however it goes on, the line comes up
// with multiplexer and payload check, the same at both ends, within some seconds.
func sweepStart(t *testing.T, mode CheckMode, every int) {
	whole := func(_, _ int, b byte) byte { return b }
	clean, octets := startTook(t, "nothing changed", mode, whole)
	t.Logf("%v for %d octets to the AP, %d to the CP", clean, octets[0], octets[1])
	var longest time.Duration
	starts, slow := 0, 0
	place := 0
	for direction := range octets {
		for octet := range octets[direction] {
			for bit := range 8 {
				if place++; place%every != 0 {
					continue
				}
				what := fmt.Sprintf("direction %d, octet %d, bit %d", direction, octet, bit)
				took, _ := startTook(t, what, mode, func(d, n int, b byte) byte {
					if d == direction && n == octet {
						b ^= 1 << bit
					}
					return b
				})
				starts++
				longest = max(longest, took)
				if took > 3*time.Second {
					slow++
				}
				if took > 8*time.Second {
					t.Errorf("%s: %v", what, took)
				}
			}
		}
	}
	t.Logf("%d starts with a changed bit: the longest took %v, %d more than 3 s", starts, longest, slow)
}

func TestChangedStartNightly(t *testing.T) {
	every := [2]int{17, 23} // bits
	if testkit.Nightly() {
		every = [2]int{1, 1}
	}
	sweepStart(t, CheckUART, every[0])
	sweepStart(t, CheckOff, every[1])
}
