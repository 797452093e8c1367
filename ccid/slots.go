package ccid

import (
	"context"
	"fmt"
	"slices"

	"bipd/uicc"
)

// SlotEvent says that a slot has come or gone.
type SlotEvent struct {
	ID    string // for the configuration, "1-1.2.0"
	Name  string // for people, "USB Reader [1-1.2] slot 0"
	IDs   IDs    // of its reader
	Slot  int    // its number in the reader, from 0
	Added bool   // it has come; else it is gone
}

// openReader is a reader that is open, from then until it is closed.
type openReader struct {
	serial uint64 // no two are the same
	device *Device
}

// openReaders gives the readers that are open, by path, and a channel that is closed when others are.
func (h *Hub) openReaders() (list []openReader, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.readers {
		if a.device != nil {
			list = append(list, openReader{a.serial, a.device})
		}
	}
	return list, h.changed
}

// Slots sends each slot of each open reader as it comes and goes, first those that are there, until ctx ends, when it
// closes the channel. A reader that was unplugged and plugged in again has gone in between for every receiver, however slow.
func (h *Hub) Slots(ctx context.Context) <-chan SlotEvent {
	out := make(chan SlotEvent)
	go func() {
		defer close(out)
		var known []openReader
		for {
			now, changed := h.openReaders()
			if !sendSlots(ctx, out, without(known, now), false) || !sendSlots(ctx, out, without(now, known), true) {
				return
			}
			known = now
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// without gives the readers of a that are not among b.
func without(a, b []openReader) []openReader {
	return slices.DeleteFunc(slices.Clone(a), func(r openReader) bool { return slices.Contains(b, r) })
}

// sendSlots sends an event for each slot of the readers. It gives up when ctx ends.
func sendSlots(ctx context.Context, out chan<- SlotEvent, readers []openReader, added bool) bool {
	for _, r := range readers {
		ids := r.device.ids
		for n, s := range r.device.slots {
			select {
			case out <- SlotEvent{ID: ids.SlotID(n), Name: s.name, IDs: ids, Slot: n, Added: added}:
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// Reader gives the slot that the selector names, which need not be there: Watch then sends SlotGone at once. Of "*" it is
// the first reader's first slot.
func (h *Hub) Reader(sel Selector) uicc.Reader { return &hubReader{h, sel} }

// hubReader is a slot by its selector.
type hubReader struct {
	hub *Hub
	sel Selector
}

var _ uicc.Reader = (*hubReader)(nil)

// Name is the selector as the configuration has it.
func (r *hubReader) Name() string { return "ccid:" + r.sel.String() }

// slot finds the slot, nil where it is not there.
func (r *hubReader) slot() *Slot {
	open, _ := r.hub.openReaders()
	for _, o := range open {
		if n := max(r.sel.Slot, 0); r.sel.Matches(o.device.ids) && n < len(o.device.slots) {
			return o.device.slots[n]
		}
	}
	return nil
}

// Watch follows the slot as long as its reader is plugged in.
func (r *hubReader) Watch(ctx context.Context) <-chan uicc.SlotState {
	if s := r.slot(); s != nil {
		return s.Watch(ctx)
	}
	out := make(chan uicc.SlotState, 1)
	out <- uicc.SlotGone
	close(out)
	return out
}

// Connect connects the slot's card. Where the reader is attached and cannot be used, the error says why.
func (r *hubReader) Connect(ctx context.Context) (uicc.Card, error) {
	if s := r.slot(); s != nil {
		return s.Connect(ctx)
	}
	return nil, fmt.Errorf("ccid: %s: %w: %w", r.sel, uicc.ErrRemoved, r.hub.whyNot(r.sel))
}

// whyNot says why no slot fits the selector.
func (h *Hub) whyNot(sel Selector) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.readers {
		switch {
		case !sel.Matches(a.ids):
		case a.err != nil:
			return a.err
		case sel.Slot >= a.desc.Slots():
			return fmt.Errorf("%s has %d slots", a.ids, a.desc.Slots())
		}
	}
	return errNoReader
}
