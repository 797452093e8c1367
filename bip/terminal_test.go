package bip_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
	"bipd/trace"
	"bipd/uicc"
)

// terminal is a session and a gateway that serve one software UICC in process.
type terminal struct {
	card    *softuicc.Card
	session *cat.Session
	gateway *bip.Gateway
	stream  *trace.Stream
}

type options struct {
	router  bip.Router
	config  bip.Config
	quirks  softuicc.Quirks
	taps    []uicc.Tap
	applets []softuicc.Applet
}

// run serves a card with the applets until they have ended. The judge's violations, an applet's error and goroutines that
// are left over fail the test.
func run(t testing.TB, o options) *terminal {
	t.Helper()
	before := runtime.NumGoroutine()
	card, err := softuicc.New(softuicc.Config{Applets: o.applets, ThinkTime: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	card.SetQuirks(o.quirks)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	term := &terminal{card: card, stream: &trace.Stream{Source: "test"}}
	term.session = cat.NewSession(uicc.Settle(card, o.taps...), cat.Config{Name: "card0", Log: log, Trace: o.config.Trace})
	o.config.Card, o.config.Router, o.config.Log = "card0", o.router, log
	term.gateway = bip.New(term.session, o.config)
	term.gateway.Register(term.session)

	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- term.session.Run(ctx) }()
	if err := card.Wait(ctx); err != nil {
		t.Errorf("applet: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("session ended: %v", err)
	}
	term.gateway.Close()
	card.Close()
	for _, v := range card.Violations() {
		t.Errorf("terminal against the specification: %v", v)
	}
	noLeak(t, before)
	return term
}

// noLeak waits a bounded time for the goroutines to be as few as before.
func noLeak(t testing.TB, before int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kernel routes every channel through the host's stack.
func kernel(stream *trace.Stream) bip.Router {
	return &bip.Table{Method1: &bip.KernelBearer{Trace: stream}}
}

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }
