// Package cp is the communication processor put together: one card in one reader, its toolkit session, its BIP gateway,
// the bearers of both methods and the line to the AP. bipd runs one CP for each card; tests and the demo run the same.
package cp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/control"
	"bipd/limits"
	"bipd/ptylink"
	"bipd/trace"
	"bipd/uicc"
)

// Config is what makes a CP.
type Config struct {
	Name      string         // of the card
	Reader    uicc.Reader    // may have the method WhyGone() error, which says more of a reader that is gone
	PIN       string         // empty = none is tried; never logged
	PINICCID  string         // ICCID of the one card that the PIN is for; empty = every card
	LocalInfo *cat.LocalInfo // nil: PROVIDE LOCAL INFORMATION is not offered; its Location is not used
	// Location is what cards hear of the service: its Info (nil = TestNetwork), and where FixedLocation is set its Status, which
	// else follows the network.
	Location      cat.Location
	FixedLocation bool
	ShowTexts     bool // a text that the card wants shown counts as shown in log and trace
	AllowAPDU     bool // Transmit may send what the operator likes
	// SendSMS sends a short message of the card; nil: SEND SHORT MESSAGE is not offered.
	SendSMS func(context.Context, cat.ShortMessage) error

	PollInterval   time.Duration
	BufferLimit    int // octets
	ConnectTimeout time.Duration
	SendTimeout    time.Duration
	FinishTime     time.Duration // see bip.Config

	Router    bip.Router // nil: the bearers of both methods, by Rules
	Rules     []bip.Rule
	Interface string       // of method 1; empty = as the host routes
	DNS       []netip.Addr // where the AP names none

	ListenOn    netip.Addr      // of UICC server mode; the zero Addr = not offered
	ListenPorts []bip.PortRange // that a card may listen on; nil: see bip.KernelBearer
	ListenFrom  []netip.Prefix  // who may connect to a card; nil: see bip.KernelBearer

	Policy *egress.Policy // of both methods; nil: the defaults of package egress

	Line *ptylink.LinkConfig // nil: no AP; method 1 then asks nobody for the network
	// LineWait is how long after the start of Run a card has to wait for the line to come up, which it needs for a network;
	// 0 = not at all.
	LineWait time.Duration

	Limits Limits
	// ReaderLines is the limit of what the reader logs of the card, to be counted with the others; nil = none.
	ReaderLines *limits.Bucket

	Log   *slog.Logger
	Trace *trace.Stream
}

// CP is one communication processor.
type CP struct {
	cfg     Config
	log     *slog.Logger
	quota   *quota
	link    *ptylink.Link
	line    *lineBearer    // of all sessions: a channel's connection may outlive its session
	network *apNetwork     // nil without a line
	lineUp  chan struct{}  // closed once the line has come up, and the AP has said whether its network is
	ending  sync.WaitGroup // gateways of sessions that have ended

	started time.Time // of Run

	mu       sync.Mutex
	state    string // of the card: see control.Card
	err      error  // why the last session ended
	atr      []byte
	session  *cat.Session // nil between sessions
	gateway  *bip.Gateway
	ui       *cat.UserInterface
	channels []control.Channel // of the session, as they were last told
}

// New makes a CP. Run runs it.
func New(cfg Config) *CP {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &CP{cfg: cfg, log: cfg.Log.With("card", cfg.Name), quota: newQuota(cfg), state: "absent", lineUp: make(chan struct{})}
	if cfg.Line != nil {
		line, told, state := *cfg.Line, cfg.Line.Unsolicited, cfg.Line.State
		line.Log = c.quota.lineLog
		if line.Mux.Log != nil {
			line.Mux.Log = c.quota.lineLog
		}
		line.Unsolicited = func(code string) {
			c.heard(code)
			if told != nil {
				told(code)
			}
		}
		c.network = newAPNetwork(c.wakeSession)
		line.State = func(up bool, err error) {
			if up {
				c.network.askSoon()
			} else {
				c.network.told(false)
			}
			if state != nil {
				state(up, err)
			}
		}
		c.link = ptylink.NewLink(line)
		c.line = newLineBearer(c.link, cfg.Policy, cfg.Trace, cfg.DNS)
	}
	return c
}

// heard takes what the AP says by itself; what it means for a channel the channel's DLC tells. A code that cannot be read
// is left: it may be a torn line with a password.
func (c *CP) heard(code string) {
	what, err := ptylink.ParseUnsolicited(code)
	if err != nil {
		return
	}
	log := c.quota.lineLog.With("card", c.cfg.Name)
	switch v := what.(type) {
	case ptylink.WebStat:
		log = log.With("channel", v.Channel, "state", v.State)
		if v.Cause != 0 {
			log = log.With("cause", v.Cause)
		}
		log.Info("the AP tells the state of a connection")
	case ptylink.NetStat:
		c.network.told(v.Up)
		log.Info("the AP's network has changed", "up", v.Up, "access", v.Access, "interface", v.Interface)
	}
}

// Name is the card's.
func (c *CP) Name() string { return c.cfg.Name }

// Run serves the reader, and keeps the line up, until ctx ends or the reader is gone for good. The line stays until the
// connections of the last session have ended.
func (c *CP) Run(ctx context.Context) error {
	c.started = time.Now()
	line, endLine := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	if c.link != nil {
		wg.Go(func() { c.followNetwork(line, sync.OnceFunc(func() { close(c.lineUp) })) })
		wg.Go(func() {
			if err := c.link.Run(line); err != nil && line.Err() == nil {
				c.log.Error("line to the AP is given up", "error", err)
			}
		})
	}
	err := c.serveReader(ctx)
	c.ending.Wait()
	endLine()
	wg.Wait()
	return err
}

// errGone is why there is no card where there is no reader.
var errGone = errors.New("the reader is gone")

// serveReader runs a session for each card that is put into the reader, which may go and come back.
func (c *CP) serveReader(ctx context.Context) error {
	for was := true; ; {
		there := c.watchReader(ctx)
		if ctx.Err() != nil {
			break
		}
		if was || there {
			log := c.log.With("reader", c.cfg.Reader.Name())
			if err := c.whyGone(); err != nil {
				log = log.With("error", err)
			}
			log.Warn("reader is gone; looking for it again")
		}
		was = false
		if !pause(ctx, readerRetry) {
			break
		}
	}
	return context.Cause(ctx)
}

const readerRetry = 2 * time.Second

// whyGone is what the reader says of its being gone; nil where it says nothing.
func (c *CP) whyGone() error {
	if r, ok := c.cfg.Reader.(interface{ WhyGone() error }); ok {
		return r.WhyGone()
	}
	return nil
}

// watchReader returns when the reader is gone, and whether it was there.
func (c *CP) watchReader(ctx context.Context) (there bool) {
	watch, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	end := func() {} // ends the session under way and waits for it
	defer func() { end() }()
	for state := range c.cfg.Reader.Watch(watch) {
		end()
		end = func() {}
		there = there || state != uicc.SlotGone
		switch state {
		case uicc.SlotPresent:
			end = c.startCard(ctx)
		case uicc.SlotEmpty:
			c.setState("absent", nil)
		case uicc.SlotGone:
			err := errGone
			if why := c.whyGone(); why != nil {
				err = fmt.Errorf("%w: %w", errGone, why)
			}
			c.setState("absent", err)
			return there
		}
	}
	return there
}

// startCard serves the inserted card on a goroutine of its own; the function it returns ends that.
func (c *CP) startCard(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.serveCard(ctx)
	}()
	return func() {
		cancel(uicc.ErrRemoved)
		<-done
	}
}

// A card whose session failed is tried again after a wait that grows.
const (
	minSessionRetry = time.Second
	maxSessionRetry = 30 * time.Second
)

// serveCard runs sessions until ctx ends. A failed card is tried again, but never one that refused the PIN.
func (c *CP) serveCard(ctx context.Context) {
	if err := c.awaitLine(ctx); err != nil {
		return
	}
	wait, log := minSessionRetry, c.quota.cardLog.With("card", c.cfg.Name) // a card may come and go without end
	for {
		started := time.Now()
		err := c.runSession(ctx)
		if ctx.Err() != nil || errors.Is(err, uicc.ErrRemoved) {
			log.Info("card session ended", "cause", err)
			c.setState("absent", nil)
			return
		}
		c.setState("failed", err)
		if errors.Is(err, cat.ErrPIN) {
			log.Error("card is left alone until it is put in anew", "error", err)
			return
		}
		if time.Since(started) > maxSessionRetry {
			wait = minSessionRetry
		}
		log.Error("card session failed", "error", err, "again_in", wait)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, maxSessionRetry)
	}
}

// awaitLine waits, for a time after the start, until the line has come up, and it is known whether the AP's network is: a
// card is at work as soon as it has power, and some ask for a channel but once.
func (c *CP) awaitLine(ctx context.Context) error {
	left := c.cfg.LineWait - time.Since(c.started)
	select {
	case <-c.lineUp:
		return nil
	default:
		if c.link == nil || left <= 0 {
			return nil
		}
	}
	c.setState("waiting", nil)
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case <-c.lineUp:
	case <-late.C:
		c.log.Warn("the card starts without the line to the AP, which is not up")
	case <-ctx.Done():
		c.setState("absent", nil)
		return context.Cause(ctx)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runSession activates the card and serves it until it ends. What the card has sent by then is delivered beside the next
// session.
func (c *CP) runSession(ctx context.Context) error {
	card, err := c.cfg.Reader.Connect(ctx)
	if err != nil {
		return fmt.Errorf("activating the card: %w", err)
	}
	defer card.Close()
	session := cat.NewSession(uicc.Settle(card, (&tap{c: c}).exchange), cat.Config{
		Name: c.cfg.Name, PIN: c.cfg.PIN, PINICCID: c.cfg.PINICCID, PollInterval: c.cfg.PollInterval, AllowAPDU: c.cfg.AllowAPDU,
		MayReset: c.quota.resets.Allow, Log: c.quota.cardLog, Trace: c.cfg.Trace,
	})
	gateway := bip.New(session, bip.Config{
		Card: c.cfg.Name, Router: c.routes(), Listen: c.cfg.ListenOn.IsValid(), BufferLimit: c.cfg.BufferLimit,
		ConnectTimeout: c.cfg.ConnectTimeout, SendTimeout: c.cfg.SendTimeout, FinishTime: c.cfg.FinishTime,
		MayConnect: c.quota.connections.Allow, Log: c.quota.cardLog, Trace: c.cfg.Trace,
	})
	gateway.Register(session)
	c.setServing(card.ATR(), session, gateway, c.register(session))
	defer c.ending.Go(gateway.Close)
	return session.Run(ctx)
}

func (c *CP) routes() bip.Router {
	if c.cfg.Router != nil {
		return c.cfg.Router
	}
	kernel := &bip.KernelBearer{Interface: c.cfg.Interface,
		ListenOn: c.cfg.ListenOn, ListenPorts: c.cfg.ListenPorts, ListenFrom: c.cfg.ListenFrom, DNS: c.cfg.DNS,
		Policy: c.allow, Trace: c.cfg.Trace}
	t := &bip.Table{Rules: c.cfg.Rules, Method1: kernel}
	if c.line != nil {
		t.Method2, kernel.Network = c.line, c.line.askNetwork
	}
	return t
}

// setState says why there is no session.
func (c *CP) setState(state string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.err, c.atr, c.session, c.gateway, c.ui, c.channels = state, err, nil, nil, nil, nil, nil
}

func (c *CP) setServing(atr []byte, s *cat.Session, g *bip.Gateway, ui *cat.UserInterface) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.err, c.atr, c.session, c.gateway, c.ui, c.channels = "serving", nil, atr, s, g, ui, nil
}
