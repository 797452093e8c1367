package terminal

import (
	"fmt"
	"io"

	"bipd/ccid"
	"bipd/internal/config"
	"bipd/internal/readers"
)

// plan is the cards of the configuration that are in USB readers, in the file's order.
type plan []*entry

// entry is one [[card]] in a USB reader.
type entry struct {
	card config.Card
	seat *seat // nil of "ccid:*", whose cards come and go with their slots
}

// newPlan picks the cards that are in USB readers.
func newPlan(cards []config.Card) plan {
	var p plan
	for _, c := range cards {
		if c.USB == nil {
			continue
		}
		e := &entry{card: c}
		if !c.EverySlot() {
			e.seat = newSeat(c.Reader, *c.USB)
		}
		p = append(p, e)
	}
	return p
}

// of gives the entry of a card by its name.
func (p plan) of(name string) *entry {
	for _, e := range p {
		if e.card.Name == name {
			return e
		}
	}
	return nil
}

// choose finds the card for a slot: the first of the file that names it and has no other slot, else the first of
// "ccid:*"; nil = none. inVain are the other cards without a slot that name this one too.
func (p plan) choose(ids ccid.IDs, slot int) (chosen *entry, inVain []*entry) {
	var every *entry
	for _, e := range p {
		sel := e.card.USB
		switch {
		case !sel.Matches(ids) || sel.Slot != slot && sel.Slot != ccid.AllSlots:
		case e.seat == nil:
			if every == nil {
				every = e
			}
		case !e.seat.empty():
		case chosen == nil:
			chosen = e
		default:
			inVain = append(inVain, e)
		}
	}
	if chosen == nil {
		chosen = every
	}
	return chosen, inVain
}

// leave takes a slot from the card that has it.
func (p plan) leave(slot string) {
	for _, e := range p {
		if e.seat != nil && e.seat.id() == slot {
			e.seat.set("", nil)
		}
	}
}

// Describe writes which card would be served where, with these USB readers.
func Describe(w io.Writer, cards []config.Card, attached []readers.Attached) {
	p := newPlan(cards)
	found := map[*entry][]string{}
	var left []string
	for _, r := range attached {
		for n := range r.Slots {
			e, _ := p.choose(r.IDs, n)
			switch {
			case e == nil:
				left = append(left, r.SlotName(n))
			case e.seat != nil:
				e.seat.set(r.SlotID(n), nil)
				found[e] = append(found[e], "in "+r.SlotName(n))
			default:
				found[e] = append(found[e], e.card.ForSlot(r.SlotID(n)).Name+" in "+r.SlotName(n))
			}
		}
	}
	for _, c := range cards {
		fmt.Fprintf(w, "card %s: %s\n", c.Name, c.Reader)
		e := p.of(c.Name)
		if e == nil {
			continue
		}
		for _, f := range found[e] {
			fmt.Fprintf(w, "   now %s\n", f)
		}
		if len(found[e]) == 0 {
			fmt.Fprintf(w, "   now nowhere: no USB reader is there for it\n")
		}
	}
	for _, l := range left {
		fmt.Fprintf(w, "not served: %s\n", l)
	}
}
