package conformance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

const (
	testTime  = 30 * time.Second      // bounds each thing that a case waits for
	shortPoll = 20 * time.Millisecond // between two STATUS commands: applets that wait for the network act only then
	noPoll    = time.Hour
	// thinkTime is how long the card waits for what its applet says next: an applet that is late on a machine under load ends no
	// chain of commands by that. Applets that wait in the toolkit cost nothing.
	thinkTime = testTime
)

// options are what a case wants of its terminal.
type options struct {
	net    *network   // nil: one that connects everything
	router bip.Router // in place of net
	config bip.Config
	poll   time.Duration // 0: shortPoll
	// tolerate tells violations that a case brings about or that are a matter of opinion.
	tolerate func(softuicc.Violation) bool
	// local answers PROVIDE LOCAL INFORMATION; nil: localInfo.
	local *cat.LocalInfo
	// bare leaves out what a configuration may leave out: UICC server mode, local information, menus, texts, messages.
	bare bool
	// until, where it is set, is awaited beside the applet's end: the card may be reset.
	until <-chan struct{}
}

// bench is a running terminal with a software UICC.
type bench struct {
	k    *testCase
	net  *network
	card *softuicc.Card
	log  *testkit.Log
	rec  *recording
	// profile is the data of the TERMINAL PROFILE.
	profile softuicc.Profile
	session *cat.Session
	ui      *cat.UserInterface
	sent    []cat.ShortMessage // by the card; to be read when the applet has ended
}

// play serves a card with one applet until the applet has ended. An applet's error, the judge's violations, and goroutines
// that are left over fail the case. The APDUs are kept for the independent decoder.
func play(k *testCase, o options, applet func(a *app)) *bench {
	k.Helper()
	before := runtime.NumGoroutine()
	b := &bench{k: k, net: o.net, log: &testkit.Log{}, rec: newRecording(k.Name())}
	if b.net == nil {
		b.net = newNetwork()
	}
	if o.bare {
		b.net.ListenOn = netip.Addr{}
	}
	if o.router == nil {
		o.router = &bip.Table{Method1: b.net}
	}
	if o.poll == 0 {
		o.poll = shortPoll
	}
	var err error
	b.card, err = softuicc.New(softuicc.Config{Applets: []softuicc.Applet{b.applet(applet)}, ThinkTime: thinkTime})
	if err != nil {
		k.Fatal(err)
	}
	var to io.Writer = b.log
	if testing.Verbose() && !*printTable {
		to = io.MultiWriter(b.log, k.Output())
	}
	log := slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}))
	session := cat.NewSession(uicc.Settle(b.card, b.rec.tap), cat.Config{Name: "card0", Log: log, Trace: o.config.Trace, PollInterval: o.poll})
	b.session = session
	o.config.Card, o.config.Router, o.config.Log = "card0", o.router, log
	o.config.Listen = !o.bare
	gateway := bip.New(session, o.config)
	gateway.Register(session)
	if !o.bare {
		b.register(session, o.local)
	}
	b.profile = session.Profile()
	ctx, cancel := context.WithTimeout(k.Context(), 2*testTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- session.Run(ctx) }()
	if err := b.card.Wait(ctx); err != nil && !errors.Is(err, softuicc.ErrReset) {
		k.Errorf("%v", err)
	}
	if o.until != nil {
		select {
		case <-o.until:
		case <-ctx.Done():
			k.Errorf("what the case waits for did not happen")
		}
	}
	cancel()
	b.end(ended, gateway, o.tolerate)
	if err := testkit.Goroutines(before); err != nil {
		k.Error(err)
	}
	return b
}

// register puts together what a session answers beside BIP.
func (b *bench) register(s *cat.Session, local *cat.LocalInfo) {
	if local == nil {
		local = localInfo
	}
	s.Handle(local, cat.TypeProvideLocalInformation)
	cat.NewLocationService(s, local.Location)
	cat.NewShortMessages(s, func(_ context.Context, m cat.ShortMessage) error {
		b.sent = append(b.sent, m)
		return nil
	})
	b.ui = cat.NewUserInterface(s, true)
}

func (b *bench) end(ended chan error, gateway *bip.Gateway, tolerate func(softuicc.Violation) bool) {
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			b.k.Errorf("session ended: %v", err)
		}
	case <-time.After(testTime):
		b.k.Fatalf("the session does not end")
	}
	gateway.Close()
	b.card.Close()
	for _, v := range b.card.Violations() {
		if tolerate == nil || !tolerate(v) {
			b.k.Errorf("against the specification: %v", v)
		}
	}
	recordings.add(b.rec)
}

// exchange is one APDU and its answer, as they crossed the card's contacts.
type exchange struct {
	capdu, rapdu []byte
	start        time.Time
}

// recording is what one terminal and its card said to each other.
type recording struct {
	name   string
	status chan struct{} // tells of STATUS commands

	mu        sync.Mutex
	exchanges []exchange
}

func newRecording(name string) *recording {
	_, name, _ = strings.Cut(name, "/")
	return &recording{name: name, status: make(chan struct{}, 1)}
}

func (r *recording) tap(capdu, rapdu []byte, start time.Time, _ time.Duration) {
	r.mu.Lock()
	r.exchanges = append(r.exchanges, exchange{slices.Clone(capdu), slices.Clone(rapdu), start})
	r.mu.Unlock()
	if capdu[1] == insStatus {
		select {
		case r.status <- struct{}{}:
		default:
		}
	}
}

// all are the exchanges so far.
func (r *recording) all() []exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.exchanges)
}

// last is the newest exchange with the instruction.
func (r *recording) last(ins byte) exchange {
	all := r.all()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].capdu[1] == ins {
			return all[i]
		}
	}
	return exchange{}
}

// of are all command APDUs with the instruction.
func (r *recording) of(ins byte) []exchange {
	return slices.DeleteFunc(r.all(), func(e exchange) bool { return e.capdu[1] != ins })
}

// Instructions of the toolkit (ETSI TS 102 221 clause 10.1.2).
const (
	insProfile  = 0x10
	insFetch    = 0x12
	insResponse = 0x14
	insEnvelope = 0xC2
	insStatus   = 0xF2
)

// recordings are those of all cases, for the independent decoder.
var recordings archive

type archive struct {
	mu   sync.Mutex
	list []*recording
}

func (a *archive) add(r *recording) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, r)
}
