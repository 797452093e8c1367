package ptylink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// noise spoils what goes over a line while it is on.
type noise struct {
	mu   sync.Mutex
	on   bool
	r    *rand.Rand
	hits int
}

func (n *noise) set(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.on = on
}

// spoil flips a bit, drops an octet or repeats some, in one of four pieces.
func (n *noise) spoil(p []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on || n.r.IntN(4) != 0 {
		return p
	}
	n.hits++
	i := n.r.IntN(len(p))
	switch n.r.IntN(4) {
	case 0:
		return append(p[:i:i], p[i+1:]...)
	case 1:
		return append(p[:len(p):len(p)], p[i:]...)
	}
	p = bytes.Clone(p)
	p[i] ^= 1 << n.r.IntN(8)
	return p
}

// A UART that changes, loses and repeats octets: channels are torn, the line goes down and comes up again by itself, but
// what is delivered is right. Once the noise is over the line carries everything.
func TestNoisyUART(t *testing.T) {
	testkit.NoLeaks(t)
	line := &noise{r: rand.New(rand.NewPCG(1, 2))}
	e := uartEndsWith(t, line.spoil)
	a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open})
	await(t, "line up", c.up)
	line.set(true)
	whole, torn := 0, 0
	for i := 0; torn < 20 && i < 1000; i++ {
		switch ok, err := noisyTransfer(t.Context(), c, a, 1+i%MaxChannel); {
		case err != nil:
			t.Fatal(err)
		case ok:
			whole++
		default:
			torn++
		}
	}
	line.set(false)
	t.Logf("%d octets spoilt; %d transfers whole, %d torn", line.hits, whole, torn)
	if torn < 20 {
		t.Error("the noise does nothing")
	}
	for end := time.Now().Add(testTime); ; time.Sleep(10 * time.Millisecond) { // the last fault may still show
		ok, err := noisyTransfer(t.Context(), c, a, 1)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the line does not come back")
		}
	}
}

// noisyTransfer sends 20 KB from the AP to the CP and the other way. An error is a wrong octet or a wrong end.
func noisyTransfer(ctx context.Context, c *cp, a *ap, n int) (whole bool, wrong error) {
	ctx, cancel := context.WithTimeout(ctx, testTime)
	defer cancel()
	near, err := c.OpenChannel(ctx, n)
	if err != nil {
		time.Sleep(20 * time.Millisecond)
		return false, nil
	}
	defer near.Close()
	wait, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	far, err := a.Channel(wait, n)
	if err != nil {
		return false, nil
	}
	defer far.Close()
	data := make([]byte, 20_000)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ n)
	}
	_ = near.SetDeadline(time.Now().Add(5 * time.Second))
	_ = far.SetDeadline(time.Now().Add(5 * time.Second))
	var both sync.WaitGroup
	var errs [2]error
	var done [2]bool
	for i, ends := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() { _, _ = ends[0].Write(data) })
		both.Go(func() {
			got, err := io.ReadAll(io.LimitReader(ends[1], int64(len(data))))
			done[i] = len(got) == len(data)
			switch {
			case !bytes.Equal(got, data[:len(got)]):
				errs[i] = fmt.Errorf("channel %d: wrong octets in the first %d", n, len(got))
			case err == nil && !done[i]:
				errs[i] = fmt.Errorf("channel %d: orderly end after %d octets", n, len(got))
			}
			if !done[i] {
				near.Close()
				far.Close()
			}
		})
	}
	both.Wait()
	return done[0] && done[1], errors.Join(errs[:]...)
}

// On a UART the CP asks for the payload check, on a pty not; one that is told to does or does not.
func TestCheckIsAsked(t *testing.T) {
	for _, c := range []struct {
		mode  CheckMode
		line  string
		asked bool
	}{{CheckUART, "uart", true}, {CheckUART, "pty", false}, {CheckOn, "pty", true}, {CheckOff, "uart", false}} {
		t.Run(fmt.Sprint(c.line, c.mode), func(t *testing.T) {
			testkit.NoLeaks(t)
			e := lines[c.line](t)
			var mu sync.Mutex
			asked := false
			tap := func(d Direction, l string) {
				mu.Lock()
				defer mu.Unlock()
				asked = asked || d == Received && strings.Contains(l, nameMuxCheck)
			}
			a := startAP(t, PeerConfig{Open: e.ap.Open, Tap: tap}, testHandlers())
			cp := startCP(t, LinkConfig{Open: e.cp.Open, Check: c.mode})
			await(t, "line up", cp.up)
			checkChannels(t, cp, a, 1, 2)
			mu.Lock()
			defer mu.Unlock()
			if asked != c.asked {
				t.Errorf("asked: %t", asked)
			}
		})
	}
}

// The AP's multiplexer has the payload check if the CP asked for it on the line before AT+CMUX, and only then.
func TestCheckHoldsForTheNextLine(t *testing.T) {
	for script, want := range map[string]bool{
		"AT%MUXCHK=1,7\rAT+CMUX=0\r":              true,
		"AT%MUXCHK=1,7\rnoise\rAT+CMUX=0\r":       true,
		"AT+CMUX=0\r":                             false,
		"AT%MUXCHK=1\rAT+CMUX=0\r":                false,
		"AT%MUXCHK=0\rAT+CMUX=0\r":                false,
		"AT%MUXCHK=1,7\rAT\rAT+CMUX=0\r":          false,
		"AT%MUXCHK=1,7\rAT%MUXCHK=2\rAT+CMUX=0\r": false,
		"AT%MUXCHK=1,7\rAT%MUXCHK=?\rAT+CMUX=0\r": false,
		"AT%MUXCHK=1,7\rAT%MUXCHK\rAT+CMUX=0,0\r": false,
		"AT%MUXCHK=1,7,1\rAT+CMUX=0\r":            false,
		"AT%MUXCHK=0,7\rAT+CMUX=0\r":              false,
		"AT%MUXCHK=1,4294967296\rAT+CMUX=0\r":     false,
		"AT%MUXCHK=1,7\rAT+CMUX=9\rAT+CMUX=0\r":   false,
	} {
		t.Run(script, func(t *testing.T) {
			testkit.NoLeaks(t)
			near, far := net.Pipe()
			defer near.Close()
			a := NewPeer(PeerConfig{})
			served := make(chan mux.Config, 1)
			go func() {
				_, cfg, err := a.serveAT(t.Context(), far)
				if sw := (*at.Switched)(nil); !errors.As(err, &sw) {
					t.Error(err)
				}
				served <- cfg
			}()
			go func() { _, _ = io.Copy(io.Discard, near) }()
			if _, err := io.WriteString(near, script); err != nil {
				t.Fatal(err)
			}
			if cfg := await(t, "AT+CMUX", served); cfg.Check != want {
				t.Errorf("payload check %t", cfg.Check)
			}
		})
	}
}

// A foreign AP, which has AT+CMUX and a multiplexer but knows nothing of the payload check: the line does without.
func TestCheckRefused(t *testing.T) {
	t.Run("ERROR", func(t *testing.T) { checkForeignAP(t, false) })
	t.Run("OK to everything", func(t *testing.T) { checkForeignAP(t, true) })
}

func checkForeignAP(t *testing.T, yes bool) {
	testkit.NoLeaks(t)
	e := uartEnds(t)
	l, err := e.ap.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	foreign := make(chan *mux.Mux, 1)
	go func() {
		s := at.NewServer(at.ServerConfig{Echo: true})
		if yes {
			s.Handle(nameMuxCheck, func(context.Context, at.Command) ([]string, error) { return nil, nil }, "")
		}
		s.Handle(nameCMUX, func(context.Context, at.Command) ([]string, error) { return nil, at.ErrSwitch }, "")
		var sw *at.Switched
		if !errors.As(s.Serve(t.Context(), l), &sw) {
			t.Error("no AT+CMUX")
		}
		m := mux.New(&restLine{l, sw.Rest}, mux.Config{Role: mux.Responder, N1: 256})
		foreign <- m
		if err := m.Start(t.Context()); err != nil {
			t.Error(err)
			return
		}
		d, err := m.Accept(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		_ = at.NewServer(at.ServerConfig{}).Serve(t.Context(), d)
	}()
	c := startCP(t, LinkConfig{Open: e.cp.Open})
	await(t, "line up", c.up)
	m := await(t, "the AP's multiplexer", foreign)
	defer m.Close()
	near, err := c.OpenChannel(within(t, testTime), 1)
	if err != nil {
		t.Fatal(err)
	}
	far, err := m.Accept(within(t, testTime))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	c.stop()
}

// A line on which nothing moves any more, though both ends live: both notice, channels end, and when it moves again the line
// comes back.
func TestFrozenUART(t *testing.T) {
	testkit.NoLeaks(t)
	var gate sync.RWMutex
	e := uartEndsWith(t, func(p []byte) []byte {
		gate.RLock()
		defer gate.RUnlock()
		return p
	})
	a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open})
	await(t, "line up", c.up)
	near, err := c.OpenChannel(within(t, testTime), 3)
	if err != nil {
		t.Fatal(err)
	}
	far, err := a.Channel(within(t, testTime), 3)
	if err != nil {
		t.Fatal(err)
	}
	gate.Lock()
	thaw := sync.OnceFunc(gate.Unlock)
	defer thaw() // or the wires never end
	written := make(chan error, 1)
	go func() {
		for {
			if _, err := near.Write(make([]byte, 4096)); err != nil {
				written <- err
				return
			}
		}
	}()
	await(t, "line down at the CP", c.down)
	await(t, "line down at the AP", a.down)
	if err := await(t, "the end of a Write", written); err == nil {
		t.Error("no error")
	}
	if _, err := io.Copy(io.Discard, far); err == nil {
		t.Error("a torn channel looks like an ended one")
	}
	thaw()
	await(t, "line up again", c.up)
	checkChannels(t, c, a, 3)
}
