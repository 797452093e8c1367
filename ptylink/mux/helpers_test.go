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

// line makes the two ends of a line.
type line func(t testing.TB) (a, b io.ReadWriteCloser)

func pipeLine(testing.TB) (a, b io.ReadWriteCloser) {
	return net.Pipe()
}

// startPair starts two multiplexers on a line; the first is the initiator.
func startPair(t testing.TB, l line, cfg Config) (a, b *Mux) {
	t.Helper()
	la, lb := l(t)
	cfgB := cfg
	cfgB.Role = Responder
	a, b = New(la, cfg), New(lb, cfgB)
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() { b.Close(); close(closed) }()
		a.Close()
		<-closed
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
