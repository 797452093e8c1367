package ptylink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// A person on the line sees an echo, can list the commands and gets help for each.
func TestPersonOnTheLine(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		l, err := e.cp.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = l.(interface{ SetReadDeadline(time.Time) error }).SetReadDeadline(time.Now().Add(testTime))
		r := bufio.NewReader(l)
		greeted := make(chan error, 1)
		go func() { // before the AP comes, which does not wait long for somebody to take its greeting
			hello, err := r.ReadString('\r')
			if hello != closeDown(1) {
				err = fmt.Errorf("greeted by %q: %v", hello, err)
			}
			greeted <- err
		}()
		a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		if err := await(t, "the AP's greeting", greeted); err != nil {
			t.Fatal(err)
		}
		for _, tt := range [][2]string{
			{"at\r", "at\r\r\nOK\r\n"},
			{"ATX\bI\r", "ATX\b \bI\r\r\nbipd AP\r\n\r\nOK\r\n"},
			{"at+gmi\r", "at+gmi\r\r\nbipd AP\r\n\r\nOK\r\n"},
			{"AT%GETNET=?\r", "AT%GETNET=?\r\r\n%GETNET: (1-7),(0-255)[,\"<network access name>\"]\r\n\r\nOK\r\n"},
			{"AT+CMUX=?\r", "AT+CMUX=?\r\r\n+CMUX: " + cmuxUsage + "\r\n\r\nOK\r\n"},
			{"ATE0;+CMEE=2\r", "ATE0;+CMEE=2\r\r\nOK\r\n"},
			{"AT+CMUX=7\r", "\r\n+CME ERROR: incorrect parameters\r\n"},
			{"AT%WEBCLCH=7\r", "\r\n+CME ERROR: no such channel\r\n"},
		} {
			if _, err := io.WriteString(l, tt[0]); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(tt[1]))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != tt[1] {
				t.Errorf("%q: %q %v", tt[0], got, err)
			}
		}
		a.stop()
		l.Close()
	})
}

// The end of the line ends a handler's context, and the next line is served.
func TestHandlerEndsWithTheLine(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		started, ended := make(chan struct{}, 1), make(chan error, 1)
		h := testHandlers()
		h["%WEBOPCH"] = func(ctx context.Context, _ at.Command) ([]string, error) {
			started <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}
		a := startAP(t, PeerConfig{Open: e.ap.Open}, h)
		c := startCP(t, LinkConfig{Open: e.cp.Open})
		await(t, "line up", c.up)
		result := make(chan error, 1)
		go func() {
			_, err := c.WebOpenChannel(within(t, testTime), WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:9"), Buffer: 9})
			result <- err
		}()
		await(t, "the handler", started)
		e.cp.crash() // the Link opens the line again by itself
		if err := await(t, "the command's end", result); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		await(t, "the handler's end", ended)
		await(t, "line down at the AP", a.down)
		await(t, "line down at the CP", c.down)
		await(t, "line up again", c.up)
		checkChannels(t, c, a, 2)
	})
}

// Channel gives each opening once, keeps waiting over a loss of the line, and knows only channels 1 to 7.
func TestPeerChannel(t *testing.T) {
	testkit.NoLeaks(t)
	e := pipeEnds(t)
	a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: steady}, testHandlers())
	for _, n := range []int{-1, 0, 8} {
		if _, err := a.Channel(t.Context(), n); !errors.Is(err, at.ErrNoChannel) {
			t.Error(err)
		}
	}
	got := make(chan error, 1)
	go func() { _, err := a.Channel(within(t, testTime), 3); got <- err }()
	c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: steady})
	await(t, "line up", c.up)
	if _, err := c.OpenChannel(t.Context(), 8); !errors.Is(err, at.ErrNoChannel) {
		t.Error(err)
	}
	e.cp.crash()
	await(t, "line down", c.down)
	await(t, "line up again", c.up)
	near, err := c.OpenChannel(within(t, testTime), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := await(t, "the channel", got); err != nil {
		t.Error(err)
	}
	if _, err := a.Channel(within(t, 20*time.Millisecond), 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given out twice: %v", err)
	}
	if _, err := c.OpenChannel(within(t, testTime), 3); err == nil {
		t.Error("a channel is open twice")
	}
	near.Close()
	if near, err = c.OpenChannel(within(t, testTime), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Channel(within(t, testTime), 3); err != nil {
		t.Error(err)
	}
	near.Close()
}

func TestPeerHandlePanics(t *testing.T) {
	p := NewPeer(PeerConfig{})
	h := func(context.Context, at.Command) ([]string, error) { return nil, nil }
	p.Handle("%X", h)
	for _, name := range []string{"", "X1", "%x", "+CMUX", "+CMEE", "E", "%X"} {
		func() {
			defer func() {
				if r := recover(); r == nil || !strings.Contains(r.(string), name) {
					t.Errorf("%q: %v", name, r)
				}
			}()
			p.Handle(name, h)
		}()
	}
}

// An answer that is none of the command's is an error of its own, and the CP makes sure of the line before it goes on.
func TestUnexpectedAnswers(t *testing.T) {
	testkit.NoLeaks(t)
	e := pipeEnds(t)
	answer := make(chan []string, 1)
	h := map[string]at.HandlerFunc{}
	for _, name := range []string{"%GETNET", "%WEBOPCH", "%NETSTAT"} {
		h[name] = func(context.Context, at.Command) ([]string, error) {
			select {
			case lines := <-answer:
				return lines, nil
			case <-t.Context().Done():
				return nil, at.ErrUnknown
			}
		}
	}
	var asked atomic.Int32
	tap := func(d Direction, line string) {
		if d == Received && line == "AT" {
			asked.Add(1)
		}
	}
	startAP(t, PeerConfig{Open: e.ap.Open, Tap: tap}, h)
	c := startCP(t, LinkConfig{Open: e.cp.Open, NoMux: true, Mux: mux.Config{KeepAlive: -1}})
	await(t, "line up", c.up)
	ctx := within(t, testTime)
	ask := map[string]func() error{
		"%NETPAR": func() error { _, err := c.GetNet(ctx, 1, 3, ""); return err },
		"%WEBOPCH": func() error {
			_, err := c.WebOpenChannel(ctx, WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:9"), Buffer: 9})
			return err
		},
		"%NETSTAT": func() error { _, err := c.NetStat(ctx); return err },
	}
	for name, f := range ask {
		for _, lines := range [][]string{nil, {name + ": x"}, {name + ": 2"}, {name + ": 2,\"192.0.2.1\",5"}, {name + ": 1", name + ": 1"}} {
			answer <- lines
			before := asked.Load()
			if err := f(); !errors.Is(err, ErrAnswer) {
				t.Errorf("%s %q: %v", name, lines, err)
			}
			if _, err := c.Do(ctx, at.Command{Name: "+CMEE", Form: at.Read}); err != nil || asked.Load() <= before { // or more, where the answer took its time
				t.Errorf("%s %q: %v, %d times AT before the next command", name, lines, err, asked.Load()-before)
			}
		}
	}
}
