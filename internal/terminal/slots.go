package terminal

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"bipd/ccid"
	"bipd/uicc"
)

// follow gives each slot that comes to a card, and takes it from the card when it goes. A card keeps its slot until the
// reader is unplugged.
func (t *Terminal) follow(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	visits := map[string]*visit{} // the latest of each slot
	for e := range t.hub.Slots(ctx) {
		if !e.Added {
			t.leave(e.ID)
			if v := visits[e.ID]; v != nil {
				v.stop() // and is kept: the slot's next visit waits for its end
			}
			continue
		}
		v, err := t.enter(e)
		if err != nil {
			t.log.Error("slot of a USB reader is not served", "slot", e.ID, "reader", e.Name, "error", err)
		}
		if v == nil {
			continue
		}
		v.before = visits[e.ID]
		visits[e.ID] = v
		visitCtx, stop := context.WithCancel(ctx)
		v.stop = stop
		running.Go(func() { v.run(visitCtx) })
	}
	return ctx.Err()
}

// visit is the life of a unit that comes and goes with its slot.
type visit struct {
	unit   unit
	before *visit // of the same slot; nil = none
	stop   context.CancelFunc
	done   chan struct{} // closed when the unit has ended
}

func (v *visit) run(ctx context.Context) {
	defer close(v.done)
	defer v.stop()
	if v.before != nil {
		<-v.before.done // two CPs cannot have one slot, one name and one line
		v.before = nil
	}
	v.unit.Run(ctx) // ends with ctx alone
}

// enter gives a slot to a card. Where that is one of "ccid:*" it returns the visit, which is to be run.
func (t *Terminal) enter(e ccid.SlotEvent) (*visit, error) {
	chosen, inVain := t.plan.choose(e.IDs, e.Slot)
	log := t.log.With("slot", e.ID, "reader", e.Name)
	for _, other := range inVain {
		log.Warn("two cards name one slot of a USB reader: the first in the file has it", "card", chosen.card.Name, "without", other.card.Name)
	}
	if chosen == nil {
		log.Info("slot of a USB reader is not served: no [[card]] without a slot names it")
		return nil, nil
	}
	reader := named{t.hub.Reader(ccid.Selector{Path: e.IDs.Path, Slot: e.Slot}), e.Name}
	if chosen.seat != nil {
		log.Info("slot of a USB reader is a card's", "card", chosen.card.Name)
		chosen.seat.set(e.ID, reader)
		return nil, nil
	}
	card := chosen.card.ForSlot(e.ID)
	c, err := t.newUnit(card, reader, nil)
	if err != nil {
		return nil, err
	}
	u := unit{CP: c, slot: e.ID}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.units {
		if other.Name() == card.Name {
			return nil, fmt.Errorf("another card has the name %q", card.Name)
		}
	}
	t.units = append(t.units, u)
	slices.SortStableFunc(t.units, func(a, b unit) int { return cmp.Compare(a.slot, b.slot) })
	log.Info("slot of a USB reader is a card's", "card", card.Name)
	return &visit{unit: u, done: make(chan struct{})}, nil
}

// named is a reader with a name for people.
type named struct {
	uicc.Reader
	name string
}

func (n named) Name() string { return n.name }

// leave takes a slot from its card.
func (t *Terminal) leave(slot string) {
	t.plan.leave(slot)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.units = slices.DeleteFunc(t.units, func(u unit) bool { return u.slot == slot })
}

// servedAs are the names of the cards by slot.
func (t *Terminal) servedAs() map[string]string {
	names := map[string]string{}
	for _, u := range t.list() {
		slot := u.slot
		if u.seat != nil {
			slot = u.seat.id()
		}
		if slot != "" {
			names[slot] = u.Name()
		}
	}
	return names
}
