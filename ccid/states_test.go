package ccid

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// Each event in each state, as the table at slotState has it.
func TestSlotStates(t *testing.T) {
	sawIn := func(typ messageType, icc iccStatus) func(*Slot) { return func(s *Slot) { s.saw(typ, icc) } }
	events := map[string]func(*Slot){
		"absent":         sawIn(typeGetSlotStatus, iccAbsent),
		"inactive":       sawIn(typeGetSlotStatus, iccInactive),
		"active":         sawIn(typeGetSlotStatus, iccActive),
		"reserved":       sawIn(typeGetSlotStatus, 3),
		"powered on":     func(s *Slot) { s.powered([]byte{0x3B, 0}) },
		"mute":           func(s *Slot) { s.mute(uicc.ErrMute) },
		"powered off":    func(s *Slot) { s.unpowered() },
		"reset for it":   func(s *Slot) { s.cut(false) },
		"reset for else": func(s *Slot) { s.cut(true) },
		"exchanged":      func(s *Slot) { s.exchanged(s.powerUps) },
		"gone":           func(s *Slot) { s.lost() },
	}
	const other = 100 // another card
	for _, tc := range []struct {
		from slotState
		to   map[string]slotState // where it is not the same
	}{
		{slotUnknown, map[string]slotState{"absent": slotAbsent, "inactive": slotInserted + other, "active": slotInserted + other, "powered on": slotPowered + other, "gone": slotGone}},
		{slotAbsent, map[string]slotState{"inactive": slotInserted + other, "active": slotInserted + other, "powered on": slotPowered + other, "gone": slotGone}},
		{slotInserted, map[string]slotState{"absent": slotAbsent, "powered on": slotPowered, "mute": slotMute, "gone": slotGone}},
		{slotMute, map[string]slotState{"absent": slotAbsent, "powered on": slotPowered, "powered off": slotInserted, "gone": slotGone}},
		{slotPowered, map[string]slotState{
			"absent": slotAbsent, "inactive": slotInserted + other, "mute": slotMute, "powered off": slotInserted,
			"reset for it": slotInserted, "reset for else": slotInserted + other, "exchanged": slotInserted + other, "gone": slotGone,
		}},
		{slotGone, nil},
	} {
		for name, event := range events {
			s := newSlot(&Device{}, 0)
			s.state, s.insertion = tc.from, 5
			event(s)
			wantState := tc.from
			if to, ok := tc.to[name]; ok {
				wantState = to
			}
			wantInsertion := uint64(5)
			if wantState >= other {
				wantState, wantInsertion = wantState-other, 6
			}
			if s.state != wantState || s.insertion != wantInsertion {
				t.Errorf("%v, %s: %v and card %d, want %v and card %d", tc.from, name, s.state, s.insertion, wantState, wantInsertion)
			}
			if (s.atr != nil) != (s.state == slotPowered && name == "powered on") || (s.fault != nil) != (s.state == slotMute && name == "mute") {
				t.Errorf("%v, %s: ATR %X, fault %v", tc.from, name, s.atr, s.fault)
			}
		}
	}
}

func TestSlotStateNames(t *testing.T) {
	if got := fmt.Sprint(slotUnknown, slotMute, slotGone, slotState(9), slotState(-1)); got != "unknown mute gone state 9 state -1" {
		t.Error(got)
	}
}

// watched are readers that tell of changes by interrupts, and one that must be polled.
func watched() []ccidemu.Model {
	return []ccidemu.Model{ccidemu.PCTwin(), ccidemu.CardMan3121(), ccidemu.QEMU(), ccidemu.AU9522(), ccidemu.Manual()}
}

// A watch tells the state at its start and each change, and ends with SlotGone.
func TestWatch(t *testing.T) {
	for _, m := range watched() {
		run(t, m.Name, func(t *testing.T) {
			testkit.NoLeaks(t)
			r, d := emulated(t, m, Config{timing: quick()})
			states := d.Slots()[0].Watch(context.Background())
			if st := next(t, states); st != uicc.SlotEmpty {
				t.Fatalf("state %v at first", st)
			}
			for range 3 {
				insert(t, r, newCard(t, softuicc.Config{}))
				if st := next(t, states); st != uicc.SlotPresent {
					t.Fatalf("state %v after insertion", st)
				}
				r.Remove(0)
				if st := next(t, states); st != uicc.SlotEmpty {
					t.Fatalf("state %v after removal", st)
				}
			}
			insert(t, r, newCard(t, softuicc.Config{}))
			until(t, states, uicc.SlotPresent)
			if st := next(t, d.Slots()[0].Watch(testContext(t))); st != uicc.SlotPresent {
				t.Fatalf("a later watch begins with %v", st)
			}
			r.Unplug()
			until(t, states, uicc.SlotGone)
			if _, ok := <-states; ok {
				t.Error("a state after SlotGone")
			}
			if _, err := d.Slots()[0].Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
				t.Errorf("Connect: %v", err)
			}
		})
	}
}

// A reader may tell by an interrupt that the card is gone, and leave the command under way without an answer.
func TestRemovalWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		cfg := Config{timing: quick()}
		cfg.timing.card = patient
		r, d := emulated(t, ccidemu.PCTwin(), cfg)
		settled(t, d)
		insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
		s := d.Slots()[0]
		c := connect(t, s)
		defer c.Close()
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Silent, Message: xfr, Nth: 1})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Transmit(testContext(t), unhex(t, "00A4000C023F00"))
			failed <- err
		}()
		synctest.Wait() // all that runs: the command waits for its answer
		d.mu.Lock()
		if !s.pending.active || s.pending.typ != typeXfrBlock {
			t.Errorf("pending %+v, want XfrBlock", s.pending)
		}
		d.mu.Unlock()
		r.Remove(0)
		if err := <-failed; !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("error %v, want that the card was removed", err)
		}
		if _, err := c.Transmit(testContext(t), unhex(t, "00A4000C023F00")); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("the next command: %v, want that the card was removed", err)
		}
	})
}

// A watch ends with its context.
func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		_, d := emulated(t, ccidemu.PCTwin(), Config{})
		ctx, cancel := context.WithCancel(context.Background())
		states := d.Slots()[0].Watch(ctx)
		next(t, states)
		cancel()
		for range states {
		}
	})
}

// A card that is taken out is removed for its user, between two APDUs as in the midst of one; the next one is another.
func TestRemoval(t *testing.T) {
	for _, m := range watched() {
		for _, busy := range []bool{false, true} {
			run(t, fmt.Sprint(m.Name, ", in an APDU ", busy), func(t *testing.T) {
				testkit.NoLeaks(t)
				r, d := emulated(t, m, Config{timing: quick()})
				time.Sleep(d.cfg.timing.latch) // the reader was opened long ago
				s := d.Slots()[0]
				states := s.Watch(testContext(t))
				card := newCard(t, softuicc.Config{})
				insert(t, r, card)
				until(t, states, uicc.SlotPresent)
				c := connect(t, s)
				want(t, c, selectMF, "9000")
				if busy {
					card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Removal }})
				} else {
					r.Remove(0)
				}
				if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("Transmit: %v", err)
				}
				until(t, states, uicc.SlotEmpty)
				insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
				until(t, states, uicc.SlotPresent)
				if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("Transmit to the next card: %v", err)
				}
				if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("Reset of the next card: %v", err)
				}
				c2 := connect(t, s)
				if err := c.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				want(t, c2, selectMF, "9000") // the first one's Close has not touched it
				if err := c2.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A card that is exchanged while nobody reads the interrupt is another card, though the reader says that a card is in.
func TestExchangeUnnoticed(t *testing.T) {
	for _, m := range watched() {
		run(t, m.Name, func(t *testing.T) {
			cfg := Config{timing: quick()}
			cfg.timing.latch = 0 // the reader was opened long ago
			r, d := emulated(t, m, cfg)
			s := d.Slots()[0]
			states := s.Watch(testContext(t))
			insert(t, r, newCard(t, softuicc.Config{}))
			until(t, states, uicc.SlotPresent)
			c := connect(t, s)
			r.Remove(0)
			insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
			until(t, states, uicc.SlotPresent)
			if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
				t.Errorf("Transmit: %v", err)
			}
			c2 := connect(t, s)
			defer c2.Close()
			if string(c2.ATR()) != string(brief(t)) {
				t.Errorf("ATR %X is the first card's", c2.ATR())
			}
			want(t, c2, selectMF, "9000")
		})
	}
}

// Where the status shows a card with power before and after, the interrupt alone tells that it was exchanged.
func TestExchangeToldByInterruptAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlot(&Device{cfg: Config{}.filled()}, 0)
		s.dev.slots = []*Slot{s}
		s.dev.since.Store(new(time.Time))
		s.saw(typeGetSlotStatus, iccInactive)
		s.powered([]byte{0x3B, 0})
		time.Sleep(s.dev.cfg.timing.latch)
		s.dev.interrupt([]byte{0x50, 0x03})
		h := <-s.hints
		if h.exchanged != s.powerUps+1 || !h.changed {
			t.Fatalf("hint %+v", h)
		}
		s.exchanged(h.exchanged - 1)
		if s.state != slotInserted || s.insertion != 2 {
			t.Errorf("state %v, card %d", s.state, s.insertion)
		}
		s.powered([]byte{0x3B, 0})
		s.exchanged(h.exchanged - 1) // an old hint does nothing to the next card
		if s.state != slotPowered {
			t.Errorf("state %v", s.state)
		}
		s.dev.interrupt(nil)
		s.dev.interrupt([]byte{0x50})
		s.dev.interrupt([]byte{0x51, 0, 0, 1})
		s.dev.interrupt([]byte{0x99, 0xFF})
		if len(s.hints) != 0 {
			t.Error("a hint of nothing")
		}
	})
}

// What a reader tells right after it was opened, or after its status showed the card, may be of before: the card that is in since
// then stays, where the status says so.
func TestOldNews(t *testing.T) {
	for state, msg := range map[string][]byte{"no card": {0x50, 0x02}, "a card": {0x50, 0x03}} {
		for _, open := range []time.Duration{0, time.Hour} {
			run(t, fmt.Sprintf("%s, open for %v", state, open), func(t *testing.T) {
				s := newSlot(&Device{cfg: Config{}.filled()}, 0)
				s.dev.slots = []*Slot{s}
				s.dev.refreshed()
				time.Sleep(open)
				s.saw(typeGetSlotStatus, iccInactive)
				s.powered([]byte{0x3B, 0})
				s.dev.interrupt(msg)
				if h := <-s.hints; h.exchanged != 0 || !h.changed {
					t.Errorf("hint %+v, want that the status is asked for and nothing else", h)
				}
			})
		}
	}
}

// The status may show a new card before the interrupt does, and whoever asks has it powered by then: it is not another card.
func TestInterruptAfterStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ccidemu.New(ccidemu.PCTwin())
		defer r.Close()
		m := r.Model()
		desc, err := ParseDescriptor(m.ClassDescriptor())
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDevice(slowNotify{r.Transport()}, desc, IDs{PacketSize: m.MaxPacket}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		time.Sleep(time.Minute) // the reader was opened long ago
		insert(t, r, newCard(t, softuicc.Config{}))
		c := connect(t, d.Slots()[0])
		want(t, c, selectMF, "9000")
		time.Sleep(time.Second) // the interrupt has come
		want(t, c, selectMF, "9000")
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowNotify has interrupts that come late: an endpoint may be asked only every 255 ms.
type slowNotify struct{ *ccidemu.Transport }

func (s slowNotify) Notify(ctx context.Context, buf []byte) (int, error) {
	n, err := s.Transport.Notify(ctx, buf)
	time.Sleep(200 * time.Millisecond)
	return n, err
}

// One slot has one card user at a time.
func TestInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := emulated(t, ccidemu.PCTwin(), Config{})
		insert(t, r, newCard(t, softuicc.Config{}))
		s := d.Slots()[0]
		c := connect(t, s)
		if _, err := s.Connect(testContext(t)); !errors.Is(err, ErrInUse) {
			t.Errorf("Connect: %v", err)
		}
		want(t, c, selectMF, "9000")
		c.Close()
		c.Close()
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("Transmit after Close: %v", err)
		}
		connect(t, s).Close()
	})
}

// The reader is pulled while commands run: all of them end, and so does everything else.
func TestUnplug(t *testing.T) {
	for _, m := range []ccidemu.Model{ccidemu.PCTwin(), ccidemu.MultiSlot(2), ccidemu.CardMan3121()} {
		run(t, m.Name, func(t *testing.T) {
			testkit.NoLeaks(t)
			r, d := emulated(t, m, Config{})
			ended := make(chan error, len(d.Slots()))
			for n, s := range d.Slots() {
				card := newCard(t, softuicc.Config{})
				if err := r.Insert(n, card, softuicc.ContactsConfig{}); err != nil {
					t.Fatal(err)
				}
				c := connect(t, s)
				begun := make(chan struct{})
				card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault {
					close(begun)
					return softuicc.Stuck
				}})
				go func() {
					_, err := c.Transmit(context.Background(), []byte{0, 0xA4, 0, 0x0C, 2, 0x3F, 0})
					ended <- errors.Join(err, c.Close())
				}()
				<-begun
			}
			r.Unplug()
			for range d.Slots() {
				select {
				case err := <-ended:
					if !errors.Is(err, uicc.ErrRemoved) {
						t.Errorf("Transmit: %v", err)
					}
				case <-time.After(patient):
					t.Fatal("Transmit hangs")
				}
			}
			<-d.Gone()
			if d.Err() == nil {
				t.Error("no reason")
			}
		})
	}
}

// Close ends everything, also what waits.
func TestDeviceClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		r, d := emulated(t, ccidemu.PCTwin(), Config{})
		card := newCard(t, softuicc.Config{})
		insert(t, r, card)
		c := connect(t, d.Slots()[0])
		begun := make(chan struct{})
		card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault {
			close(begun)
			return softuicc.Stuck
		}})
		ended := make(chan error, 1)
		go func() {
			_, err := c.Transmit(context.Background(), []byte{0, 0xA4, 0, 0x0C, 2, 0x3F, 0})
			ended <- err
		}()
		<-begun
		states := d.Slots()[0].Watch(context.Background())
		d.Close()
		if err := <-ended; !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("Transmit: %v", err)
		}
		until(t, states, uicc.SlotGone)
		if err := d.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// Slots of one reader work side by side: one waits for its card while the others go on. Where the reader takes one command
// at a time they take turns.
func TestSlotsInParallel(t *testing.T) {
	for _, m := range []ccidemu.Model{ccidemu.MultiSlot(2), ccidemu.MultiSlot(5), ccidemu.AU9522()} {
		run(t, m.Name, func(t *testing.T) {
			testkit.NoLeaks(t)
			r, d := emulated(t, m, Config{})
			var work sync.WaitGroup
			for n, s := range d.Slots() {
				raw := atr(t, uicc.ATR{Groups: []uicc.InterfaceGroup{{}}, Historical: []byte{byte(n)}})
				card := newCard(t, softuicc.Config{ATR: raw, ICCID: fmt.Sprintf("898800000000000000%d", n)})
				work.Go(func() {
					if err := r.Insert(n, card, softuicc.ContactsConfig{}); err != nil {
						t.Error(err)
						return
					}
					c, err := s.Connect(testContext(t))
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if string(c.ATR()) != string(raw) {
						t.Errorf("slot %d has ATR %X", n, c.ATR())
					}
					var first string
					for i := range 200 {
						if _, err := c.Transmit(testContext(t), []byte{0, 0xA4, 0, 0x04, 2, 0x2F, 0xE2}); err != nil {
							t.Error(err)
							return
						}
						id, err := c.Transmit(testContext(t), []byte{0, 0xB0, 0, 0, 10})
						if err != nil {
							t.Error(err)
							return
						}
						if i == 0 {
							first = string(id)
						} else if string(id) != first {
							t.Errorf("slot %d: %X after %X", n, id, first)
							return
						}
					}
				})
			}
			work.Wait()
			obedient(t, r)
		})
	}
}

// One slot's command hangs: the other slot is served meanwhile.
func TestSlotHangsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := emulated(t, ccidemu.MultiSlot(2), Config{})
		stuck, other := newCard(t, softuicc.Config{}), newCard(t, softuicc.Config{})
		for n, card := range []*softuicc.Card{stuck, other} {
			if err := r.Insert(n, card, softuicc.ContactsConfig{}); err != nil {
				t.Fatal(err)
			}
		}
		c0, c1 := connect(t, d.Slots()[0]), connect(t, d.Slots()[1])
		defer c1.Close()
		begun := make(chan struct{})
		stuck.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault {
			close(begun)
			return softuicc.Stuck
		}})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			_, err := c0.Transmit(ctx, []byte{0, 0xA4, 0, 0x0C, 2, 0x3F, 0})
			ended <- err
		}()
		<-begun
		for range 20 {
			want(t, c1, selectMF, "9000")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Transmit: %v", err)
		}
		stuck.SetQuirks(softuicc.Quirks{})
		want(t, c1, selectMF, "9000") // it kept its power
		if err := c0.Reset(testContext(t), uicc.ColdReset); err != nil {
			t.Fatal(err)
		}
		want(t, c0, selectMF, "9000")
		c0.Close()
		obedient(t, r)
	})
}

// A thousand cards come and go, and nothing is left of them.
func TestInsertRemoveCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		r, d := emulated(t, ccidemu.SCR3310(), Config{})
		s := d.Slots()[0]
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		states := s.Watch(ctx)
		until(t, states, uicc.SlotEmpty)
		card := newCard(t, softuicc.Config{})
		for i := range 1000 {
			insert(t, r, card)
			until(t, states, uicc.SlotPresent)
			c, err := s.Connect(ctx)
			if err != nil {
				t.Fatalf("card %d: %v", i, err)
			}
			want(t, c, "80F2000C", "9000")
			r.Remove(0)
			until(t, states, uicc.SlotEmpty)
			if err := c.Close(); err != nil {
				t.Fatalf("card %d: %v", i, err)
			}
		}
		if st, insertion, _ := s.look(); st != slotAbsent || insertion < 1000 {
			t.Errorf("state %v, card %d", st, insertion)
		}
	})
}

// A reader that tells nothing before an IccPowerOff gets one, also after a USB reset, and no other reader does.
func TestPowerOffMakesReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		r, d := emulated(t, ccidemu.SIMHUB(), Config{timing: quick()})
		s := d.Slots()[0]
		states := s.Watch(testContext(t))
		if st := next(t, states); st != uicc.SlotEmpty {
			t.Fatalf("state %v of an empty slot", st)
		}
		card := newCard(t, softuicc.Config{})
		insert(t, r, card)
		until(t, states, uicc.SlotPresent)
		c := connect(t, s)
		want(t, c, selectMF, "9000")
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Silent, Message: 0x6F, Nth: 1}, ccidemu.Fault{Kind: ccidemu.Silent, Message: 0x72})
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrMute) {
			t.Errorf("error %v", err)
		}
		r.SetFaults()
		if err := c.Reset(testContext(t), uicc.ColdReset); err != nil { // the reader was reset meanwhile
			t.Fatal(err)
		}
		want(t, c, selectMF, "9000")
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A status that is refused while a card has power costs the card nothing.
func TestStatusRefusedUnderPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		r, d := emulated(t, ccidemu.SCR3310(), Config{timing: quick()})
		insert(t, r, newCard(t, softuicc.Config{}))
		s := d.Slots()[0]
		c := connect(t, s)
		defer c.Close()
		want(t, c, "00A40004022FE2", "9000")
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: 0x65})
		if _, err := s.status(testContext(t)); err == nil {
			t.Error("no error")
		}
		r.SetFaults()
		want(t, c, "00B000000A", "9000") // the file is still selected
	})
}
