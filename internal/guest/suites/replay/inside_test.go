//go:build guest

package replay

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"bipd/internal/ccidemu"
	"bipd/softuicc"
	"bipd/uicc"
)

// kindsOf are the cards that a model is tried with.
func kindsOf(m ccidemu.Model) []kind {
	if m.Verbatim {
		return []kind{plain}
	}
	if m.Name == ccidemu.SIMHUB().Name {
		return []kind{plain, oneByte, fast} // it is slower than the others
	}
	if m.Protocols == 1 {
		return []kind{plain, oneByte, fast, specific}
	}
	return []kind{plain, oneByte, fast, specific, blocks, crc, slow, noisy, either}
}

// Each model with each kind of card, one after the other in the same reader.
func TestInsideModels(t *testing.T) {
	want := oracle(t)
	for _, m := range ccidemu.Models() {
		if m.Name == ccidemu.Characters().Name {
			continue // the driver has no character level
		}
		t.Run(m.Name, func(t *testing.T) {
			r, _ := attach(t, m)
			hub := drive(t)
			for slot := range min(m.Slots, 2) {
				for _, k := range kindsOf(m) {
					t.Run(k.name, func(t *testing.T) {
						insert(t, r, slot, k)
						card := connect(t, hub, slot)
						play(t, card, want)
						for _, kind := range []uicc.ResetKind{uicc.WarmReset, uicc.ColdReset} {
							if err := card.Reset(within(t), kind); err != nil {
								t.Errorf("reset %d: %v", kind, err)
							}
						}
						play(t, card, want)
						if err := card.Close(); err != nil {
							t.Errorf("close: %v", err)
						}
						r.Remove(slot)
					})
				}
			}
			clean(t, r)
		})
	}
}

// The slots of a reader that can work at the same time do.
func TestInsideSlotsAtOnce(t *testing.T) {
	want := oracle(t)
	r, _ := attach(t, ccidemu.MultiSlot(3))
	hub := drive(t)
	var players sync.WaitGroup
	for slot, k := range []kind{plain, slow, fast} {
		insert(t, r, slot, k)
		card := connect(t, hub, slot)
		players.Add(1)
		go func() {
			defer players.Done()
			defer card.Close()
			play(t, card, want)
		}()
	}
	players.Wait()
	clean(t, r)
}

// Readers and cards that take their time.
func TestInsideTime(t *testing.T) {
	want := oracle(t)
	short := ccidemu.CardMan3121()
	short.ExtendEvery = 20 * time.Millisecond
	for name, tc := range map[string]struct {
		model ccidemu.Model
		kind  kind
		delay time.Duration
	}{
		"NULL":       {ccidemu.ACR39U(), kind{cfg: softuicc.ContactsConfig{T0: softuicc.T0Config{Nulls: 5}}}, 0},
		"slow NULL":  {ccidemu.PCTwin(), kind{cfg: softuicc.ContactsConfig{T0: softuicc.T0Config{NullEvery: 20 * time.Millisecond}}}, 50 * time.Millisecond},
		"WTX":        {ccidemu.ACR38U(), kind{atr: blocks.atr, cfg: softuicc.ContactsConfig{T1: softuicc.T1Config{WTXEvery: 20 * time.Millisecond}}}, 50 * time.Millisecond},
		"short APDU": {short, plain, 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := attach(t, tc.model)
			insert(t, r, 0, tc.kind).SetQuirks(softuicc.Quirks{Delay: tc.delay})
			card := connect(t, drive(t), 0)
			defer card.Close()
			play(t, card, want)
			clean(t, r)
		})
	}
}

// A reader that fails its driver in ways that cost nothing but patience: what the card says arrives all the same.
func TestInsideFaults(t *testing.T) {
	want := oracle(t)
	r, _ := attach(t, ccidemu.SCR3310())
	insert(t, r, 0, plain)
	card := connect(t, drive(t), 0)
	defer card.Close()
	for name, faults := range map[string][]ccidemu.Fault{
		"twice":        {{Kind: ccidemu.Twice}},
		"foreign bSeq": {{Kind: ccidemu.ForeignSeq}},
		"foreign slot": {{Kind: ccidemu.ForeignSlot}},
		"stray":        {{Kind: ccidemu.StrayZLP}},
		"trailing":     {{Kind: ccidemu.Trailing, Message: xfrBlock, N: 3}},
		"split":        {{Kind: ccidemu.Split, Message: xfrBlock, N: 40}},
		"no end":       {{Kind: ccidemu.NoZLP}},
		"time":         {{Kind: ccidemu.Extend, Message: xfrBlock, N: 3}},
		"all of them": {{Kind: ccidemu.Twice}, {Kind: ccidemu.ForeignSeq}, {Kind: ccidemu.StrayZLP},
			{Kind: ccidemu.Extend, Message: xfrBlock, N: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r.SetFaults(faults...)
			defer r.SetFaults()
			if err := card.Reset(within(t), uicc.ColdReset); err != nil {
				t.Fatal(err)
			}
			play(t, card, want)
		})
	}
	clean(t, r)
}

// xfrBlock is bMessageType of the message that carries APDUs.
const xfrBlock = 0x6F

// A reader that loses the answer to one command: the driver says so, and after a reset of the card all is
// in step again.
func TestInsideLostAnswers(t *testing.T) {
	want := oracle(t)
	r, _ := attach(t, ccidemu.SCR3310())
	insert(t, r, 0, plain)
	card := connect(t, drive(t), 0)
	defer card.Close()
	for name, kind := range map[string]ccidemu.FaultKind{"stall": ccidemu.StallIn, "late": ccidemu.Late, "silent": ccidemu.Silent} {
		t.Run(name, func(t *testing.T) {
			r.SetFaults(ccidemu.Fault{Kind: kind, Message: xfrBlock, Nth: 5})
			defer r.SetFaults()
			if lines, err := ccidemu.PlaySession(within(t), card); err == nil {
				t.Fatalf("nothing is lost: %q", lines)
			} else if same(lines, want[:len(lines)]) != nil {
				t.Error(same(lines, want))
			}
			if err := card.Reset(within(t), uicc.ColdReset); err != nil {
				t.Fatal(err)
			}
			play(t, card, want)
		})
	}
	clean(t, r)
}

// transmitting waits in an APDU that the card does not answer, and gives what becomes of it.
func transmitting(t *testing.T, soft *softuicc.Card, card uicc.Card) <-chan error {
	t.Helper()
	stuck := make(chan struct{}, 1)
	soft.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault {
		select {
		case stuck <- struct{}{}:
		default:
		}
		return softuicc.Stuck
	}})
	result := make(chan error, 1)
	ctx := within(t)
	go func() {
		_, err := card.Transmit(ctx, []byte{0x80, 0xF2, 0x00, 0x0C})
		result <- err
	}()
	select {
	case <-stuck:
	case <-ctx.Done():
		t.Fatal("the APDU does not reach the card")
	}
	return result
}

// The reader is unplugged in the middle of an APDU, and comes back.
func TestInsideUnplug(t *testing.T) {
	want := oracle(t)
	for _, m := range []ccidemu.Model{ccidemu.SCR3310(), ccidemu.CardMan3121(), ccidemu.Manual()} {
		t.Run(m.Name, func(t *testing.T) {
			r, a := attach(t, m)
			soft := insert(t, r, 0, plain)
			hub := drive(t)
			for range 3 {
				card := connect(t, hub, 0)
				play(t, card, want)
				outcome := transmitting(t, soft, card)
				if err := a.Detach(); err != nil {
					t.Fatal(err)
				}
				if err := <-outcome; !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("the APDU ends with %v", err)
				}
				card.Close()
				eventually(t, "the reader is gone", func() error {
					if n := len(hub.List()); n != 0 {
						return errors.New("it is listed")
					}
					return nil
				})
				soft.SetQuirks(softuicc.Quirks{})
				a = plug(t, r)
				t.Cleanup(func() { a.Detach() })
			}
			clean(t, r)
		})
	}
}

// The card is pulled in the middle of an APDU, and another one inserted.
func TestInsidePullCard(t *testing.T) {
	want := oracle(t)
	r, _ := attach(t, ccidemu.AU9540())
	hub := drive(t)
	for range 3 {
		soft := insert(t, r, 0, plain)
		card := connect(t, hub, 0)
		play(t, card, want)
		outcome := transmitting(t, soft, card)
		r.Remove(0)
		if err := <-outcome; !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("the APDU ends with %v", err)
		}
		if err := card.Close(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("close: %v", err)
		}
	}
	clean(t, r)
}
