package mux

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// testContext bounds a test.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// await takes what comes in a bounded time.
func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(60 * time.Second):
		t.Fatalf("waited for %s", what)
		panic("unreachable")
	}
}

// line makes the two ends of a line.
type line func(t testing.TB) (a, b io.ReadWriteCloser)

func pipeLine(testing.TB) (a, b io.ReadWriteCloser) {
	return net.Pipe()
}

// startPair starts two multiplexers on a line; the first is the initiator.
func startPair(t testing.TB, l line, cfg Config) (a, b *Mux) {
	t.Helper()
	la, lb := l(t)
	if cfg.T1 == 0 && cfg.N2 == 0 { // tries enough for a machine that stands still for a while
		cfg.N2 = 100
	}
	if cfg.T2 == 0 {
		cfg.T2 = 10 * time.Second
	}
	cfgB := cfg
	cfgB.Role = Responder
	a, b = New(la, cfg), New(lb, cfgB)
	t.Cleanup(func() {
		closed := make(chan struct{}, 2)
		go func() { b.Close(); closed <- struct{}{} }()
		go func() { a.Close(); closed <- struct{}{} }()
		for range 2 {
			await(t, "the end of both multiplexers", closed)
		}
	})
	ctx := testContext(t)
	if err := a.Start(ctx); err != nil {
		t.Fatalf("initiator: %v", err)
	}
	if err := b.Start(ctx); err != nil {
		t.Fatalf("responder: %v", err)
	}
	return a, b
}

// openDLC opens a DLC from a and accepts it at b.
func openDLC(t testing.TB, a, b *Mux, dlci int) (da, db *DLC) {
	t.Helper()
	ctx := testContext(t)
	da, err := a.Open(ctx, dlci)
	if err != nil {
		t.Fatalf("open %d: %v", dlci, err)
	}
	db, err = b.Accept(ctx)
	if err != nil {
		t.Fatalf("accept %d: %v", dlci, err)
	}
	if da.DLCI() != dlci || db.DLCI() != dlci {
		t.Fatalf("opened DLC %d, got %d and %d", dlci, da.DLCI(), db.DLCI())
	}
	return da, db
}
