package bip_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/trace"
	"bipd/uicc"
)

// testTime bounds each thing that a test waits for.
const testTime = 30 * time.Second

// sessionTime bounds a whole session, which may have tens of thousands of commands: on a busy machine that takes a while.
const sessionTime = 6 * testTime

// terminal is a session and a gateway that serve one software UICC in process.
type terminal struct {
	t        testing.TB
	card     *softuicc.Card
	session  *cat.Session
	gateway  *bip.Gateway
	log      *testkit.Log
	cancel   context.CancelFunc
	ended    chan error
	before   int // goroutines
	tolerate func(softuicc.Violation) bool
}

type options struct {
	router  bip.Router
	config  bip.Config
	poll    time.Duration // between two STATUS commands; 0 = shortPoll
	think   time.Duration // how long the card waits for an applet; 0 = 50 ms
	quirks  softuicc.Quirks
	taps    []uicc.Tap
	applets []softuicc.Applet
	// tolerate tells violations that are a matter of opinion.
	tolerate func(softuicc.Violation) bool
}

// run serves a card with the applets until they have ended. The judge's violations, an applet's error and goroutines that
// are left over fail the test.
func run(t testing.TB, o options) *terminal {
	t.Helper()
	term := start(t, o)
	term.waitApplets()
	term.end(context.Canceled)
	return term
}

// start serves a card until end.
func start(t testing.TB, o options) *terminal {
	t.Helper()
	term := &terminal{t: t, before: runtime.NumGoroutine(), log: &testkit.Log{}, ended: make(chan error, 1), tolerate: o.tolerate}
	if o.poll == 0 {
		o.poll = shortPoll
	}
	if o.think == 0 {
		o.think = 50 * time.Millisecond
	}
	card, err := softuicc.New(softuicc.Config{Applets: o.applets, ThinkTime: o.think})
	if err != nil {
		t.Fatal(err)
	}
	card.SetQuirks(o.quirks)
	var to io.Writer = term.log
	if testing.Verbose() {
		to = io.MultiWriter(term.log, t.Output())
	}
	log := slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, benchmark := t.(*testing.B); benchmark {
		log = slog.New(slog.DiscardHandler)
	}
	term.card = card
	term.session = cat.NewSession(uicc.Settle(card, o.taps...), cat.Config{Name: "card0", Log: log, Trace: o.config.Trace, PollInterval: o.poll})
	o.config.Card, o.config.Router, o.config.Log = "card0", o.router, log
	term.gateway = bip.New(term.session, o.config)
	term.gateway.Register(term.session)
	var ctx context.Context
	ctx, term.cancel = context.WithTimeout(t.Context(), sessionTime)
	go func() { term.ended <- term.session.Run(ctx) }()
	return term
}

func (term *terminal) waitApplets() {
	term.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	if err := term.card.Wait(ctx); err != nil {
		term.t.Errorf("applet: %v", err)
	}
}

// end waits for the end of the session, which it brings about where want is context.Canceled, and checks what is left.
func (term *terminal) end(want error) {
	t := term.t
	t.Helper()
	if want == context.Canceled {
		term.cancel()
	}
	select {
	case err := <-term.ended:
		if !errors.Is(err, want) {
			t.Errorf("session ended: %v, want %v", err, want)
		}
	case <-time.After(testTime):
		t.Fatalf("session does not end:\n%s", stacks())
	}
	term.cancel()
	closed := make(chan struct{})
	go func() {
		term.gateway.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(testTime):
		t.Fatalf("gateway does not close:\n%s", stacks())
	}
	term.card.Close()
	for _, v := range term.card.Violations() {
		if term.tolerate == nil || !term.tolerate(v) {
			t.Errorf("terminal against the specification: %v", v)
		}
	}
	if _, benchmark := t.(*testing.B); !benchmark { // which has servers of other measurements running
		if err := testkit.Goroutines(term.before); err != nil {
			t.Error(err)
		}
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<16)
	return buf[:runtime.Stack(buf, true)]
}

// kernel routes every channel through the host's stack.
func kernel(stream *trace.Stream) bip.Router {
	return &bip.Table{Method1: &bip.KernelBearer{Trace: stream}}
}

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// statusTap counts STATUS commands and tells of each.
type statusTap chan struct{}

func newStatusTap() statusTap { return make(statusTap, 1) }

func (s statusTap) tap(capdu, _ []byte, _ time.Time, _ time.Duration) {
	if capdu[1] == 0xF2 {
		select {
		case s <- struct{}{}:
		default:
		}
	}
}

// settled waits until the session has nothing better to do than to poll: what it had to tell the card, it has told.
func (s statusTap) settled(a *app) {
	select { // one from before
	case <-s:
	default:
	}
	for range 2 { // the first may have been under way already
		select {
		case <-s:
		case <-a.ctx.Done():
			a.fail("no STATUS came")
		}
	}
}

// shortPoll has STATUS come often: applets that wait for the network, not the card, act only then.
const shortPoll = 20 * time.Millisecond

// noPoll has STATUS come never.
const noPoll = time.Hour

func tapsOf(t ...uicc.Tap) []uicc.Tap { return t }
