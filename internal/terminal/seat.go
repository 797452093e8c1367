package terminal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bipd/ccid"
	"bipd/internal/cp"
	"bipd/uicc"
)

// seat is the reader of a card that the configuration names: the slot that the card was given, while there is one.
type seat struct {
	name string
	sel  ccid.Selector
	hub  *ccid.Hub

	mu      sync.Mutex
	slot    string // "1-1.2.0"; "" = none
	now     uicc.Reader
	changed chan struct{} // closed at the next change
}

func newSeat(name string, sel ccid.Selector) *seat {
	return &seat{name: name, sel: sel, changed: make(chan struct{})}
}

// Name is the selector, for the slot may be another one tomorrow.
func (s *seat) Name() string { return s.name }

// set gives the card a slot, or "" and nil.
func (s *seat) set(slot string, r uicc.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slot, s.now = slot, r
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *seat) reader() (now uicc.Reader, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.changed
}

// id is the slot's; "" where the card has none.
func (s *seat) id() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slot
}

func (s *seat) empty() bool { return s.id() == "" }

// seatPatience is how long a slot may take to come before the card's reader counts as gone: that of a reader which is
// plugged in when bipd starts comes within this time.
const seatPatience = 2 * time.Second

// Watch follows the slot; see uicc.Reader.
func (s *seat) Watch(ctx context.Context) <-chan uicc.SlotState {
	out := make(chan uicc.SlotState)
	go func() {
		defer close(out)
		r := s.await(ctx)
		if r == nil {
			select {
			case out <- uicc.SlotGone:
			case <-ctx.Done():
			}
			return
		}
		for state := range r.Watch(ctx) {
			select {
			case out <- state:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// await waits a while for a slot; nil = none has come.
func (s *seat) await(ctx context.Context) uicc.Reader {
	late := time.NewTimer(seatPatience)
	defer late.Stop()
	for {
		r, changed := s.reader()
		if r != nil {
			return r
		}
		select {
		case <-changed:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// Connect activates the card in the slot.
func (s *seat) Connect(ctx context.Context) (uicc.Card, error) {
	if r, _ := s.reader(); r != nil {
		return r.Connect(ctx)
	}
	return nil, fmt.Errorf("%s: %w: no such slot is there", s.name, uicc.ErrRemoved)
}

// WhyGone says why there is no slot.
func (s *seat) WhyGone() error {
	if err := cp.WhyGone(s.hub, s.sel); err != nil {
		return err
	}
	return errors.New("the slot is another card's: bipctl readers tells whose")
}
