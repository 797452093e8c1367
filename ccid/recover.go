package ccid

import (
	"context"
	"errors"
	"fmt"

	"bipd/ccid/usbfs"
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
			return nil
		}
		d.cfg.Log.Debug("reader not in step", "slot", s.name, "err", err)
	}
	return fmt.Errorf("ccid: %s: the reader is out of step, unplug it and plug it in again: %w", s.name, err)
}

// abort aborts the command that was given up: by a request on the control pipe and by a message of the same number, which
// the reader answers last.
func (s *Slot) abort(ctx context.Context) error {
	d := s.dev
	if d.quirks.noAbort || d.noAbort.Load() {
		return ErrNotSupported
	}
	timed, cancel := context.WithTimeout(ctx, d.cfg.timing.reader)
	defer cancel()
	_, err := d.t.Control(timed, requestOut, requestAbort, uint16(s.stuckSeq)<<8|uint16(s.number), nil)
	if err == nil {
		var a answer
		a, err = s.exchange(ctx, &command{typ: typeAbort}, s.stuckSeq, d.cfg.timing.reader)
		if err == nil {
			s.saw(typeAbort, a.icc)
			return nil
		}
	}
	switch {
	case isGone(err):
		d.fail(err)
	case ctx.Err() == nil:
		d.noAbort.Store(true)
	}
	if errors.Is(err, usbfs.ErrStall) {
		err = fmt.Errorf("%w: the reader aborts no command: %w", ErrNotSupported, err)
	}
	return err
}

// ask asks for the slot's status under a new number.
func (s *Slot) ask(ctx context.Context) error {
	a, err := s.exchange(ctx, &command{typ: typeGetSlotStatus}, s.seq, s.dev.cfg.timing.reader)
	s.seq++
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
	err := d.t.Reset(timed)
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
