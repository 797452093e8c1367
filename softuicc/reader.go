package softuicc

import (
	"context"
	"errors"
	"sync"

	"bipd/uicc"
)

// Reader is a card reader with one slot into which tests put a Card. It implements uicc.Reader.
type Reader struct {
	name string

	mu      sync.Mutex
	card    *Card
	gone    bool
	changed chan struct{} // closed at the next change
}

var _ uicc.Reader = (*Reader)(nil)

// NewReader makes a reader with an empty slot.
func NewReader(name string) *Reader {
	return &Reader{name: name, changed: make(chan struct{})}
}

// Name names the slot.
func (r *Reader) Name() string { return r.name }

// Insert puts a card into the slot. A card that was torn out of a reader may go in again, without power.
func (r *Reader) Insert(c *Card) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return uicc.ErrRemoved
	}
	if r.card != nil {
		return errors.New("softuicc: slot is taken")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onGone != nil {
		return errors.New("softuicc: card is in another slot")
	}
	if c.isGone() {
		c.gone = make(chan struct{})
	}
	c.clear()
	c.powered = false
	c.onGone = func() { r.emptied(c) }
	r.card = c
	r.change()
	return nil
}

// Remove takes the card out, also in the middle of an APDU.
func (r *Reader) Remove() {
	r.mu.Lock()
	c := r.card
	r.mu.Unlock()
	if c != nil {
		c.Remove()
	}
}

// Unplug takes the reader itself away, with its card.
func (r *Reader) Unplug() {
	r.Remove()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		r.gone = true
		r.change()
	}
}

func (r *Reader) emptied(c *Card) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.card == c {
		r.card = nil
		r.change()
	}
}

// change wakes the watchers. The caller holds mu.
func (r *Reader) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *Reader) state() (uicc.SlotState, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.gone:
		return uicc.SlotGone, r.changed
	case r.card != nil:
		return uicc.SlotPresent, r.changed
	}
	return uicc.SlotEmpty, r.changed
}

// State is the present state of the slot.
func (r *Reader) State() uicc.SlotState {
	state, _ := r.state()
	return state
}

// Watch sends the state of the slot and its changes; see uicc.Reader.
func (r *Reader) Watch(ctx context.Context) <-chan uicc.SlotState {
	out := make(chan uicc.SlotState)
	go func() {
		defer close(out)
		state, changed := r.state()
		pending := out
		for {
			select {
			case <-ctx.Done():
				return
			case pending <- state:
				if state == uicc.SlotGone {
					return
				}
				pending = nil
			case <-changed:
				state, changed = r.state()
				pending = out
			}
		}
	}()
	return out
}

// Connect gives the card power and returns it in its raw view.
func (r *Reader) Connect(ctx context.Context) (uicc.Card, error) {
	r.mu.Lock()
	c := r.card
	r.mu.Unlock()
	if c == nil {
		return nil, uicc.ErrRemoved
	}
	if err := c.Reset(ctx, uicc.ColdReset); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &inserted{card: c, gone: c.gone}, nil
}

// inserted is a card from one insertion to its removal: put in again, it is another one.
type inserted struct {
	card *Card
	gone <-chan struct{}
}

func (i *inserted) ATR() []byte { return i.card.ATR() }

func (i *inserted) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	return i.card.transmit(ctx, i.gone, capdu)
}

func (i *inserted) Reset(ctx context.Context, kind uicc.ResetKind) error {
	select {
	case <-i.gone:
		return uicc.ErrRemoved
	default:
		return i.card.Reset(ctx, kind)
	}
}

func (i *inserted) Close() error {
	select {
	case <-i.gone:
		return nil
	default:
		return i.card.Close()
	}
}
