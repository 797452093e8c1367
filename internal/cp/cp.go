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
	"bipd/ptylink"
	"bipd/trace"
	"bipd/uicc"
)

// Config is what makes a CP.
type Config struct {
	Name      string // of the card
	Reader    uicc.Reader
	PIN       string // empty = none is tried; never logged
	LocalInfo *cat.LocalInfo

	PollInterval   time.Duration
	BufferLimit    int // octets
	ConnectTimeout time.Duration
	SendTimeout    time.Duration

	Rules     []bip.Rule
	Interface string       // of method 1; empty = as the host routes
	DNS       []netip.Addr // where the AP names none
	Policy    *egress.Policy

	Line *ptylink.LinkConfig // nil: no AP; method 1 then asks nobody for the network

	Log   *slog.Logger
	Trace *trace.Stream
}

// CP is one communication processor.
type CP struct {
	cfg  Config
	log  *slog.Logger
	link *ptylink.Link

	mu      sync.Mutex
	state   string // of the card: see control.Card
	err     error  // why the last session ended
	atr     []byte
	session *cat.Session // nil between sessions
	gateway *bip.Gateway
}

// New makes a CP. Run runs it.
func New(cfg Config) *CP {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &CP{cfg: cfg, log: cfg.Log.With("card", cfg.Name), state: "absent"}
	if cfg.Line != nil {
		c.link = ptylink.NewLink(*cfg.Line)
	}
	return c
}

// Run serves the reader, and keeps the line up, until ctx ends or the reader is gone for good.
func (c *CP) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	if c.link != nil {
		wg.Go(func() {
			if err := c.link.Run(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("line to the AP is given up", "error", err)
			}
		})
	}
	err := c.serveReader(ctx)
	cancel()
	return err
}

// errGone says that a reader will not come back.
var errGone = errors.New("the reader is gone")

// serveReader runs a session for each card that is put into the reader.
func (c *CP) serveReader(ctx context.Context) error {
	for ctx.Err() == nil {
		err := c.watchReader(ctx)
		if ctx.Err() != nil {
			break
		}
		c.log.Warn("reader is gone; looking for it again", "reader", c.cfg.Reader.Name(), "error", err)
		if !pause(ctx, readerRetry) {
			break
		}
	}
	return context.Cause(ctx)
}

const readerRetry = 2 * time.Second

func (c *CP) watchReader(ctx context.Context) error {
	watch, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	end := func() {} // ends the session under way and waits for it
	defer func() { end() }()
	for state := range c.cfg.Reader.Watch(watch) {
		end()
		end = func() {}
		switch state {
		case uicc.SlotPresent:
			end = c.startCard(ctx)
		case uicc.SlotEmpty:
			c.setState("absent", nil)
		case uicc.SlotGone:
			c.setState("absent", errGone)
			return errGone
		}
	}
	return errGone
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
	wait := minSessionRetry
	for {
		started := time.Now()
		err := c.runSession(ctx)
		if ctx.Err() != nil || errors.Is(err, uicc.ErrRemoved) {
			c.log.Info("card session ended", "cause", err)
			c.setState("absent", err)
			return
		}
		c.setState("failed", err)
		if errors.Is(err, cat.ErrPIN) {
			c.log.Error("card is left alone until it is put in anew", "error", err)
			return
		}
		if time.Since(started) > maxSessionRetry {
			wait = minSessionRetry
		}
		c.log.Error("card session failed", "error", err, "again_in", wait)
		if !pause(ctx, wait) {
			return
		}
		wait = min(2*wait, maxSessionRetry)
	}
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

// runSession activates the card and serves it until it ends.
func (c *CP) runSession(ctx context.Context) error {
	card, err := c.cfg.Reader.Connect(ctx)
	if err != nil {
		return fmt.Errorf("activating the card: %w", err)
	}
	defer card.Close()
	session := cat.NewSession(uicc.Settle(card, c.tap), cat.Config{
		Name: c.cfg.Name, PIN: c.cfg.PIN, PollInterval: c.cfg.PollInterval, Log: c.cfg.Log, Trace: c.cfg.Trace,
	})
	gateway := bip.New(session, bip.Config{
		Card: c.cfg.Name, Router: c.routes(), BufferLimit: c.cfg.BufferLimit,
		ConnectTimeout: c.cfg.ConnectTimeout, SendTimeout: c.cfg.SendTimeout, Log: c.cfg.Log, Trace: c.cfg.Trace,
	})
	gateway.Register(session)
	session.Handle(c.cfg.LocalInfo, cat.TypeProvideLocalInformation)
	c.setSession("serving", card.ATR(), session, gateway)
	defer func() {
		c.setSession("absent", nil, nil, nil)
		gateway.Close()
	}()
	return session.Run(ctx)
}

func (c *CP) routes() *bip.Table {
	kernel := &bip.KernelBearer{Interface: c.cfg.Interface, DNS: c.cfg.DNS, Trace: c.cfg.Trace}
	if c.cfg.Policy != nil {
		kernel.Policy = c.cfg.Policy.Check
	}
	t := &bip.Table{Rules: c.cfg.Rules, Method1: kernel}
	if c.link != nil {
		line := &lineBearer{link: c.link, trace: c.cfg.Trace, kernelDNS: c.cfg.DNS}
		t.Method2, kernel.Network = line, line.askNetwork
	}
	return t
}

func (c *CP) setState(state string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.err = state, err
}

func (c *CP) setSession(state string, atr []byte, s *cat.Session, g *bip.Gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.err, c.atr, c.session, c.gateway = state, nil, atr, s, g
}

// Status is what bipctl shows of the card.
func (c *CP) Status() control.Card {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := control.Card{Name: c.cfg.Name, Reader: c.cfg.Reader.Name(), State: c.state, ATR: fmt.Sprintf("%X", c.atr), Line: "none"}
	if c.err != nil {
		s.Error = c.err.Error()
	}
	switch {
	case c.link == nil:
	case c.link.Multiplexed():
		s.Line = "multiplexed"
	case c.link.Up():
		s.Line = "AT"
	default:
		s.Line = "down"
	}
	return s
}

// statusWait is how long a busy card may keep bipctl waiting.
const statusWait = time.Second

// Channels lists the open channels: nothing where no session runs.
func (c *CP) Channels() []control.Channel {
	c.mu.Lock()
	session, gateway := c.session, c.gateway
	c.mu.Unlock()
	if session == nil {
		return nil
	}
	got := make(chan []bip.ChannelInfo, 1)
	if !session.Post(func() { got <- gateway.Channels() }) {
		return nil
	}
	var list []control.Channel
	select {
	case infos := <-got:
		for _, i := range infos {
			list = append(list, control.Channel{Card: c.cfg.Name, Channel: i.ID, Method: int(i.Method), State: i.State,
				Network: i.Network, Remote: i.Remote.String(), Buffer: i.Buffer, Received: i.Received, Sent: i.Sent})
		}
	case <-time.After(statusWait):
	}
	return list
}
