package ccid

import (
	"context"
	"fmt"
)

// recover brings a slot into step again whose command was given up before its answer came (CCID clause 5.3.1). A reader
// that can aborts the command. Where it cannot, one with several slots is asked for the slot's status, so that the others
// may go on; if that fails too, and with one slot at once, the device is reset: there are readers that give the next answers the
// number of the command that was given up, until then. Late answers are dropped by their number. The caller has
// the slot's turn.
func (s *Slot) recover(ctx context.Context) error {
	d := s.dev
	steps := []func(context.Context) error{s.abort, s.ask, s.reset}
	if len(d.slots) == 1 {
		steps = []func(context.Context) error{s.abort, s.reset}
	}
	var err error
	for _, step := range steps {
		err = step(ctx)
		select {
		case <-d.gone:
			return d.errGone()
		default:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			s.stuck = false
			d.busy <- struct{}{}
			return nil
		}
		d.cfg.Log.Debug("reader not in step", "slot", s.name, "error", err)
	}
	return fmt.Errorf("ccid: %s: the reader is out of step, unplug it and plug it in again: %w", s.name, err)
}

// abort aborts the command that was given up. Its own answer, if it still comes, is dropped by its number.
func (s *Slot) abort(ctx context.Context) error {
	d := s.dev
	if d.quirks.noAbort || d.noAbort.Load() {
		return ErrNotSupported
	}
	a, err := s.exchange(ctx, &command{typ: typeAbort}, d.cfg.timing.reader)
	switch {
	case err == nil && a.command == commandOK:
		s.saw(typeAbort, a.icc)
		return nil
	case err == nil:
		err = &Error{Slot: s.name, Command: typeAbort.String(), Code: a.err}
	case ctx.Err() != nil:
		return err
	}
	d.noAbort.Store(true)
	return err
}

// ask asks for the slot's status. Any answer will do.
func (s *Slot) ask(ctx context.Context) error {
	a, err := s.exchange(ctx, &command{typ: typeGetSlotStatus}, s.dev.cfg.timing.reader)
	if err == nil {
		s.saw(typeGetSlotStatus, a.icc)
	}
	return err
}

// reset resets the device. All cards lose their power by it.
func (s *Slot) reset(ctx context.Context) error {
	d := s.dev
	d.cfg.Log.Warn("resetting the reader, which did not answer", "reader", d.ids.String())
	timed, cancel := context.WithTimeout(ctx, d.cfg.timing.reader)
	defer cancel()
	d.refreshed()
	err := d.t.Reset(timed)
	d.refreshed()
	if isGone(err) {
		d.fail(err)
	}
	if err != nil {
		return err
	}
	select {
	case <-d.leading: // else who leads learns of the reset by its transfer's end
		d.in.drop()
		d.leading <- struct{}{}
	default:
	}
	for _, other := range d.slots {
		other.cut(other != s)
	}
	return nil
}
