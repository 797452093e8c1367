package ptylink

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// A CP that opens the DLC of AT again and again, and asks for more than it may, has one server wait for it and not one for
// each opening: the last alone answers.
func TestATOpenedAnew(t *testing.T) {
	testkit.NoLeaks(t)
	e := pipeEnds(t)
	var asked, waiting, most atomic.Int32 // by command line
	waits, ended := make(chan struct{}, 100), make(chan struct{}, 100)
	const plain = 2 // Sync and AT+CMUX on the plain line
	a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: steady, Pace: func(ctx context.Context) error {
		if n := asked.Add(1); n <= plain+1 || n > plain+4 {
			return nil
		}
		most.Store(max(most.Load(), waiting.Add(1)))
		defer waiting.Add(-1)
		waits <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	}}, testHandlers())
	line, err := e.cp.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plainly := at.NewClient(line, at.ClientConfig{})
	ctx := within(t, testTime)
	if _, err := plainly.Do(ctx, at.Command{}); err != nil {
		t.Fatal(err)
	}
	rest, err := plainly.Switch(ctx, cmuxCommand(steady, 0))
	if err != nil {
		t.Fatal(err)
	}
	m := mux.New(&restLine{line, rest}, steady)
	defer m.Close()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	open := func() *mux.DLC {
		d, err := m.Open(ctx, dlcAT)
		if err == nil {
			_, err = io.WriteString(d, "AT\r")
		}
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	read := func(d *mux.DLC) {
		answer := make([]byte, len("\r\nOK\r\n"))
		if _, err := io.ReadFull(d, answer); err != nil || string(answer) != "\r\nOK\r\n" {
			t.Fatalf("answer %q: %v", answer, err)
		}
	}
	first := open()
	read(first)
	first.Close()
	for range 3 {
		d := open()
		await(t, "a command that has to wait", waits)
		d.Close()
	}
	last := open()
	read(last)
	for range 3 {
		await(t, "the end of a server whose DLC is gone", ended)
	}
	if n := most.Load(); n != 1 {
		t.Errorf("%d servers at once", n)
	}
	last.Close()
	m.Close()
	a.stop()
}
