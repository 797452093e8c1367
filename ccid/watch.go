package ccid

import (
	"context"
	"errors"
	"time"

	"bipd/ccid/usbfs"
	"bipd/uicc"
)

// mostFaults is how many interrupt transfers in a row may fail before the slots are polled instead.
const mostFaults = 3

// hint is why a slot's status is asked for.
type hint struct {
	exchanged uint64 // 1 + the power-up after which an interrupt told that the card was taken out; 0: none did
	changed   bool   // an interrupt told of a change
	stuck     bool   // a command was given up
	poll      bool   // from now on there are no interrupts
}

// Watch follows the slot (see uicc.Reader). SlotPresent after SlotPresent says that the card was exchanged for another.
func (s *Slot) Watch(ctx context.Context) <-chan uicc.SlotState {
	out := make(chan uicc.SlotState, 1)
	go func() {
		defer close(out)
		for {
			st, _, changed := s.look()
			if st != slotUnknown {
				post(out, seen(st))
			}
			if st == slotGone {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// seen is the state as watchers are told it.
func seen(st slotState) uicc.SlotState {
	switch {
	case st == slotGone:
		return uicc.SlotGone
	case st.occupied():
		return uicc.SlotPresent
	}
	return uicc.SlotEmpty
}

// post puts v into ch, which holds one, in place of what nobody has taken yet. Only one goroutine may post.
func post[T any](ch chan T, v T) {
	select {
	case <-ch:
	default:
	}
	ch <- v
}

// notified receives the interrupts of the reader and passes on what they tell. Without interrupts the slots are polled.
func (d *Device) notified() {
	buf := make([]byte, 64)
	faults := 0
	for faults < mostFaults {
		n, err := d.t.Notify(d.ctx, buf)
		switch {
		case d.ctx.Err() != nil:
			return
		case isGone(err):
			d.fail(err)
			return
		case errors.Is(err, usbfs.ErrNoEndpoint):
			faults = mostFaults
		case err != nil:
			faults++
		default:
			faults = 0
			d.interrupt(buf[:n])
		}
	}
	for _, s := range d.slots {
		s.hint(hint{poll: true})
	}
}

// interrupt takes in one interrupt message (CCID clause 6.3).
func (d *Device) interrupt(msg []byte) {
	if len(msg) == 0 {
		return
	}
	switch messageType(msg[0]) {
	case typeNotifySlotChange:
		for n, s := range d.slots {
			if c := parseSlotChange(msg[1:], n); c.changed {
				s.told(c)
			}
		}
	case typeHardwareError:
		d.cfg.Log.Warn("hardware error of the reader", "reader", d.ids.String(), "message", msg)
	}
}

// told takes in that an interrupt told of a change. That the card was changed while it had power stays true whatever the
// status says afterwards: it was at least taken out and put in again. Only a reader that was just opened or reset, or whose
// status showed the card before its interrupt did, may still tell of how the card came in, and of how the one before it went: then the
// status alone counts.
func (s *Slot) told(c slotChange) {
	h := hint{changed: true}
	s.mu.Lock()
	if s.state == slotPowered && !s.dev.fresh() && time.Since(s.inserted) >= s.dev.cfg.timing.latch {
		h.exchanged = s.powerUps + 1
	}
	s.mu.Unlock()
	if !c.present {
		s.hurry()
	}
	s.hint(h)
}

// refreshed notes that the reader was opened or reset; fresh tells whether that was just now.
func (d *Device) refreshed() { d.since.Store(new(time.Now())) }

func (d *Device) fresh() bool { return time.Since(*d.since.Load()) < d.cfg.timing.latch }

// hurry shortens the wait for an answer from a card that is gone. Not every reader gives one then.
func (s *Slot) hurry() {
	s.dev.mu.Lock()
	defer s.dev.mu.Unlock()
	if s.pending.active {
		s.pending.removed = true
		s.patience.extend(s.dev.cfg.timing.removal)
	}
}

// hint leaves h for follow, together with what it has not taken yet.
func (s *Slot) hint(h hint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case old := <-s.hints:
		h = hint{max(h.exchanged, old.exchanged), h.changed || old.changed, h.stuck || old.stuck, h.poll || old.poll}
	default:
	}
	s.hints <- h
}

// follow keeps the state of the slot: it asks for the status at the start, after each hint, and regularly where there are
// no interrupts.
func (s *Slot) follow() {
	t := s.dev.cfg.timing
	ctx := s.dev.ctx
	var poll <-chan time.Time
	retry := t.retry
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var h hint
		select {
		case <-ctx.Done():
			return
		case <-s.dev.gone:
			return
		case h = <-s.hints:
		case <-timer.C:
		case <-poll:
		}
		if h.poll && poll == nil {
			ticker := time.NewTicker(t.poll)
			defer ticker.Stop()
			poll = ticker.C
		}
		err := s.refresh(ctx, h)
		if err == nil {
			retry = t.retry
			continue
		}
		if retry == t.retry && ctx.Err() == nil {
			s.dev.cfg.Log.Warn("the reader does not tell the state of a slot", "slot", s.name, "error", err)
		}
		timer.Reset(retry)
		retry = min(2*retry, t.retryMax)
	}
}

// refresh asks for the status. A slot at work while it is polled is left alone: its answers tell.
func (s *Slot) refresh(ctx context.Context, h hint) error {
	if h == (hint{}) && len(s.turn) == 0 {
		if st, _, _ := s.look(); st != slotUnknown {
			return nil
		}
	}
	icc, err := s.status(ctx)
	if err == nil && icc != iccAbsent && h.exchanged != 0 {
		s.exchanged(h.exchanged - 1)
	}
	return err
}

// exchanged notes that the card that got the power-up was exchanged.
func (s *Slot) exchanged(powerUp uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == slotPowered && s.powerUps == powerUp {
		s.enter(slotInserted, true)
	}
}
