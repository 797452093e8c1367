// Package terminal is all CPs of one bipd: one for each card that the configuration names, and one for each slot of a
// USB reader that comes and goes where the configuration asks for every slot. It is what bipctl asks.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bipd/ccid"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/internal/daemon"
	"bipd/internal/readers"
	"bipd/limits"
	"bipd/trace"
	"bipd/uicc"
)

// Config is what makes a Terminal.
type Config struct {
	File  *config.Bipd
	Hub   *ccid.Hub // the USB readers; nil = those of the machine. The Terminal runs it where a card is in one
	Log   *slog.Logger
	Trace *trace.Stream
}

// Terminal is all cards that one bipd serves.
type Terminal struct {
	cfg     Config
	log     *slog.Logger
	hub     *ccid.Hub // nil where no card is in a USB reader
	closers []func() error
	plan    plan

	lineWait time.Duration

	mu    sync.Mutex
	units []unit // in the file's order, those of "ccid:*" last and in the order of their slots
}

// unit is a CP that serves.
type unit struct {
	*cp.CP
	seat *seat  // of a card that the configuration names in a USB reader; nil of others
	slot string // of a card that comes and goes with its slot, "1-1.2.0"; "" of others
}

// New opens the readers of the configuration. Close gives back what it took.
func New(cfg Config) (*Terminal, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Terminal{cfg: cfg, log: cfg.Log, plan: newPlan(cfg.File.Cards), lineWait: lineWait}
	if len(t.plan) > 0 {
		t.hub = cfg.Hub
		if t.hub == nil {
			t.hub = ccid.NewHub(ccid.Config{Log: cfg.Log})
		}
	}
	for _, card := range cfg.File.Cards {
		if err := t.add(card); err != nil {
			t.Close()
			return nil, fmt.Errorf("card %s: %w", card.Name, err)
		}
	}
	return t, nil
}

// add makes the unit of one [[card]], unless it stands for many.
func (t *Terminal) add(card config.Card) error {
	u := unit{}
	var reader uicc.Reader
	var left *limits.Bucket
	if e := t.plan.of(card.Name); e != nil {
		if e.seat == nil {
			return nil
		}
		e.seat.hub = t.hub
		u.seat, reader = e.seat, e.seat
	} else {
		var log *slog.Logger // a software card comes and goes as it likes, and each time the reader logs it
		log, left = limits.Log(t.log, t.cfg.File.Limits.LogLines, "card", card.Name)
		r, closeReader, err := cp.OpenReader(card.Reader, log)
		if err != nil {
			return err
		}
		t.closers = append(t.closers, closeReader)
		reader = r
	}
	var err error
	if u.CP, err = t.newUnit(card, reader, left); err == nil {
		t.units = append(t.units, u)
	}
	return err
}

// Close gives the readers back that New opened. Run has returned before.
func (t *Terminal) Close() error {
	var errs []error
	for _, f := range t.closers {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// Run serves all cards until ctx ends, which is no error.
func (t *Terminal) Run(ctx context.Context) error {
	var tasks []daemon.Task
	for _, u := range t.list() {
		tasks = append(tasks, daemon.Task{Name: "card " + u.Name(), Run: u.Run})
	}
	if t.hub == nil {
		return daemon.RunTasks(ctx, tasks...)
	}
	tasks = append(tasks, daemon.Task{Name: "slots", Run: t.follow})
	// The USB readers end after the cards, which are powered off in them.
	hubCtx, stopHub := context.WithCancel(context.WithoutCancel(ctx))
	defer stopHub()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- t.hub.Run(hubCtx)
	}()
	err := daemon.RunTasks(ctx, tasks...)
	stopHub()
	if hubErr := <-ended; hubErr != nil && !errors.Is(hubErr, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("USB readers: %w", hubErr))
	}
	return err
}

// list gives the units of the moment.
func (t *Terminal) list() []unit {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.units)
}

// Cards is what bipctl shows of the cards.
func (t *Terminal) Cards() []control.Card {
	list := []control.Card{}
	for _, u := range t.list() {
		list = append(list, u.Status())
	}
	return list
}

// Channels is what bipctl shows of the channels.
func (t *Terminal) Channels() []control.Channel {
	list := []control.Channel{}
	for _, u := range t.list() {
		list = append(list, u.Channels()...)
	}
	return list
}

// Readers is what bipctl shows of the USB readers.
func (t *Terminal) Readers() ([]control.Reader, error) {
	if t.hub == nil {
		return nil, control.ErrNoReaders
	}
	list := readers.USB(t.hub.List())
	served := t.servedAs()
	for i := range list {
		for j := range list[i].Slots {
			s := &list[i].Slots[j]
			s.ServedAs = served[s.ID]
		}
	}
	return list, nil
}
