package cp_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/ccidemu"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/mux"
	"bipd/softuicc"
	"bipd/trace"
	"bipd/uicc"
)

// testTime bounds each thing that a test waits for, appletTime all that an applet does. Both pass in full only where a test fails.
const (
	testTime   = 30 * time.Second
	appletTime = 3 * time.Minute
)

// What nobody may ever see: every bed has them all, and searches its log, its AT lines and its trace for them.
const (
	pin             = "82640193"
	profilePassword = "Profile-S3cret"
	cardLogin       = "card-L0gin"
	cardPassword    = "card-S3cret"
)

// fast are multiplexer settings that notice a dead end soon: for tests of one alone, since a busy machine looks like it.
var fast = mux.Config{N1: 512, T1: 500 * time.Millisecond, KeepAlive: 500 * time.Millisecond}

// patient are multiplexer settings that take a busy machine for no dead end.
var patient = mux.Config{N1: 512, T1: 2 * time.Second, KeepAlive: testTime}

// bed is a CP with a card and an AP, joined by a line:
//
//	UICC (in process) - CP = pty = AP - servers on loopback
type bed struct {
	t      testing.TB
	o      options
	card   *softuicc.Card
	reader *softuicc.Reader
	usb    *usbReader // nil where none is asked for
	cp     *cp.CP
	open   lineEnds
	apEnd  *mortalEnd
	up     chan bool // each change of the line, as the CP has it
	log    *testkit.Log
	shown  output
	events *watcher
	apLog  *slog.Logger
	cpSide *trace.Stream
	apSide *trace.Stream
	stopCP func()
	stopAP func() // does nothing where none runs
	before census
}

type options struct {
	applets  []softuicc.Applet
	quirks   softuicc.Quirks
	smsReply []byte         // the card's response data to an SMS-PP download
	reader   uicc.Reader    // nil: one into which the card is put as soon as the line is up
	usb      *ccidemu.Model // not nil: the reader is an emulated USB reader of this model
	cp       func(*cp.Config)
	ap       func(*ap.Config)
	apd      serveLine // nil: an ap.AP
	noAP     bool
	deaf     bool // the line does not come up: do not wait for it
	noMux    bool
	early    bool       // the card is in before the CP runs
	pipe     bool       // the line is a net.Pipe, not a pty
	line     *lineEnds  // the line; nil: a pty
	mux      mux.Config // the zero value: patient
	quiet    bool       // neither trace nor debug log: for what is large
	tolerate func(softuicc.Violation) bool
}

// serveLine is an AP on one line.
type serveLine func(ctx context.Context, line ptylink.PeerConfig) error

// start runs CP and AP and, once the line is up, puts the card in. The end of the test ends them and checks what is left.
func start(t testing.TB, o options) *bed {
	t.Helper()
	if o.mux == (mux.Config{}) {
		o.mux = patient
	}
	b := &bed{t: t, o: o, before: count(), up: make(chan bool, 100), log: &testkit.Log{}, stopAP: func() {}}
	b.shown.to = t.Output()
	t.Cleanup(b.shown.end)
	b.cpSide, b.apSide = &trace.Stream{Source: "bipd"}, &trace.Stream{Source: "apd"}
	if !o.quiet {
		b.events = watchStreams(b.cpSide, b.apSide)
	}
	b.open = ptyEnds(t)
	switch {
	case o.pipe:
		b.open = pipeEnds()
	case o.line != nil:
		b.open = *o.line
	}
	b.apEnd = &mortalEnd{open: b.open.ap}
	b.apLog = b.logger().With("daemon", "apd")
	b.newCard()
	if o.usb != nil {
		b.usb = openUSB(t, *o.usb)
		b.o.reader = b.usb.slot
	}
	if o.early {
		b.insert()
	}
	b.startCP()
	t.Cleanup(b.end)
	if !o.noAP {
		b.startAP()
	}
	if !o.noAP && !o.deaf {
		b.awaitLine(true)
	}
	if o.reader == nil && !o.early {
		b.insert()
	}
	return b
}

// run is start, and waits until the applets have ended well.
func run(t testing.TB, o options) *bed {
	t.Helper()
	b := start(t, o)
	b.wait()
	return b
}

func (b *bed) logger() *slog.Logger {
	level := slog.LevelDebug
	if b.o.quiet {
		level = slog.LevelInfo
	}
	var to io.Writer = b.log
	if testing.Verbose() {
		if _, benchmark := b.t.(*testing.B); !benchmark {
			to = io.MultiWriter(b.log, &b.shown)
		}
	}
	return slog.New(slog.NewTextHandler(to, &slog.HandlerOptions{Level: level}))
}

// output is a test's, up to its end: what is still at work then must not take the other tests with it.
type output struct {
	mu sync.Mutex
	to io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.to.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to = io.Discard
}

func (b *bed) newCard() {
	card, err := softuicc.New(softuicc.Config{Applets: b.o.applets, PIN: pin, ThinkTime: 200 * time.Millisecond, SMSPPAnswer: b.o.smsReply})
	if err != nil {
		b.t.Fatal(err)
	}
	card.SetQuirks(b.o.quirks)
	b.card, b.reader = card, softuicc.NewReader("reader")
}

func (b *bed) insert() {
	b.t.Helper()
	if b.usb != nil {
		b.usb.insert(b.card)
		return
	}
	if err := b.reader.Insert(b.card); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) startCP() {
	log := b.logger().With("daemon", "bipd")
	cfg := cp.Config{
		Name: "card0", Reader: b.reader, PIN: pin, LocalInfo: &cat.LocalInfo{Now: time.Now},
		PollInterval:   500 * time.Millisecond, // an applet that was late to speak waits for the next poll
		ConnectTimeout: testTime, Policy: loopbackPolicy(b.t), Log: log, Trace: b.cpSide,
		Line: &ptylink.LinkConfig{
			Name: "card0", Open: b.open.cp, NoMux: b.o.noMux, Mux: b.o.mux, Retry: 10 * time.Millisecond, Log: log,
			State: func(up bool, _ error) {
				select {
				case b.up <- up:
				case <-b.t.Context().Done():
				}
			},
			Tap: tap(log),
		},
	}
	if b.o.reader != nil {
		cfg.Reader = b.o.reader
	}
	if b.o.cp != nil {
		b.o.cp(&cfg)
	}
	b.cp = cp.New(cfg)
	b.stopCP = b.task("CP", func(ctx context.Context) error { return b.cp.Run(ctx) }, context.Canceled)
}

// tap logs the AT lines, which have passwords masked, but not logins.
func tap(log *slog.Logger) func(ptylink.Direction, string) {
	return func(d ptylink.Direction, l string) {
		log.Debug("AT", "direction", d, "line", strings.ReplaceAll(l, cardLogin, "(login)"))
	}
}

// crashAP closes the AP's end of the line as the kernel does for a process that died; the AP cannot open it again until
// reviveAP.
func (b *bed) crashAP()  { b.apEnd.crash() }
func (b *bed) reviveAP() { b.apEnd.dead.Store(false) }

// startAP runs the AP until stopAP.
func (b *bed) startAP() {
	serve := b.o.apd
	if serve == nil {
		serve = b.realAP
	}
	line := ptylink.PeerConfig{
		Name: "card0", Open: b.apEnd.Open, Mux: b.o.mux, Log: b.apLog,
		Tap: tap(b.apLog),
	}
	b.stopAP = b.task("AP", func(ctx context.Context) error { return serve(ctx, line) }, nil)
}

func (b *bed) realAP(ctx context.Context, line ptylink.PeerConfig) error {
	cfg := ap.Config{Profiles: testProfiles(b.t), Policy: loopbackPolicy(b.t), Network: &network{}, Log: b.apLog, Trace: b.apSide}
	if b.o.ap != nil {
		b.o.ap(&cfg)
	}
	processor := ap.New(cfg)
	defer processor.Wait()
	return processor.ServeLine(ctx, line)
}

// task runs f until the function that it returns is called, which waits for f's end and checks its error.
func (b *bed) task(name string, f func(context.Context) error, want error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, want) {
				b.t.Errorf("%s ended: %v, want %v", name, err, want)
			}
		case <-time.After(testTime):
			b.t.Errorf("%s does not end:\n%s", name, stacks())
		}
	})
}

// awaitLine waits until the CP says that the line is up, or down.
func (b *bed) awaitLine(want bool) {
	b.t.Helper()
	for timeout := time.After(testTime); ; {
		select {
		case up := <-b.up:
			if up == want {
				return
			}
		case <-timeout:
			b.t.Fatalf("waited %v for the line, up %v", testTime, want)
		}
	}
}

// wait waits until the applets of the card have ended; their errors fail the test.
func (b *bed) wait() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), appletTime+testTime)
	defer cancel()
	if err := b.card.Wait(ctx); err != nil {
		b.t.Errorf("applet: %v", err)
	}
}

// reached waits until an applet has come to a point, which it tells by closing the channel.
func (b *bed) reached(what string, point <-chan struct{}) {
	b.t.Helper()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	go func() { ended <- b.card.Wait(ctx) }()
	select {
	case <-point:
	case err := <-ended:
		select {
		case <-point: // and so it ended
		default:
			b.t.Fatalf("the applets ended before %s: %v", what, err)
		}
	case <-time.After(appletTime):
		b.t.Fatalf("waited %v for %s:\n%s", appletTime, what, stacks())
	}
}

func (b *bed) end() {
	b.stopCP()
	b.stopAP()
	b.card.Close()
	if b.usb != nil {
		b.usb.close()
	}
	for _, v := range b.card.Violations() {
		if b.o.tolerate == nil || !b.o.tolerate(v) {
			b.t.Errorf("terminal against the specification: %v", v)
		}
	}
	if b.events != nil {
		b.events.close(b.t)
	}
	noSecret(b.t, "log", b.log.String())
	b.before.check(b.t)
}

func loopbackPolicy(t testing.TB) *egress.Policy {
	t.Helper()
	return policy(t, egress.Rule{Action: "allow", Prefix: []string{"127.0.0.0/8", "::1/128", "192.0.2.0/24"}})
}

func policy(t testing.TB, rules ...egress.Rule) *egress.Policy {
	t.Helper()
	p, err := egress.New(egress.Config{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var testDNS = []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")}

func testProfiles(t testing.TB) *ap.Profiles {
	t.Helper()
	p, err := ap.NewProfiles([]ap.Profile{
		{Name: "internet", Default: true, AccessPoint: "inter.net", User: "user", Password: profilePassword, DNS: testDNS, MTU: 1400},
		{Name: "iot", Password: profilePassword},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// network is an AP's access to the network that is there, unless down is set.
type network struct{ down bool }

func (n *network) Status(context.Context, string) (ap.Status, error) {
	return ap.Status{Up: !n.down, Access: ptylink.AccessWLAN, Interface: "wlan0", Reason: "not associated"}, nil
}

// census counts what a test may not leave behind.
type census struct{ goroutines, descriptors int }

func count() census {
	fds, _ := os.ReadDir("/proc/self/fd")
	return census{runtime.NumGoroutine(), len(fds)}
}

// check waits a bounded time for goroutines and descriptors to be as few as before.
func (before census) check(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(testTime); ; time.Sleep(2 * time.Millisecond) {
		now := count()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("left behind: %+v, before: %+v; descriptors: %s\n%s", now, before, descriptors(), stacks())
			return
		}
	}
}

func descriptors() string {
	var list []string
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		list = append(list, fd.Name()+" "+to)
	}
	return strings.Join(list, ", ")
}

func stacks() []byte {
	buf := make([]byte, 1<<17)
	return buf[:runtime.Stack(buf, true)]
}

// TestMain opens what the runtime keeps open for ever, so that no test seems to leave it behind.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	new(egress.Policy).Check(egress.Request{Network: "tcp", Destination: netip.MustParseAddrPort("127.0.0.1:1")})
	os.Exit(m.Run())
}
