package pcsc

import (
	"context"
	"time"

	"bipd/uicc"
)

// pollInterval is the time between two looks at the states where pcscd does not tell of changes. pcscd itself looks
// at the readers every 400 ms.
const pollInterval = 500 * time.Millisecond

// Watch follows the slot (see uicc.Reader). SlotGone says that pcscd does not list the reader any more, or that pcscd
// itself cannot be reached, which is logged; a later Watch finds the reader when it is back. SlotPresent after
// SlotPresent says that the card was exchanged for another.
func (r *Reader) Watch(ctx context.Context) <-chan uicc.SlotState {
	ch := make(chan uicc.SlotState, 1)
	go func() {
		defer close(ch)
		err := r.follow(ctx, func(st uicc.SlotState) { post(ch, st) })
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.cfg.Log.Warn("reader lost", "reader", r.name, "error", err)
		}
		post(ch, uicc.SlotGone)
	}()
	return ch
}

// post puts st into ch in place of a state that nobody has taken yet. Only one goroutine may post.
func post(ch chan uicc.SlotState, st uicc.SlotState) {
	select {
	case <-ch:
	default:
	}
	ch <- st
}

// follow reports the state of the slot and every change, until the reader is not listed (nil), or pcscd fails or ctx
// ends.
func (r *Reader) follow(ctx context.Context, report func(uicc.SlotState)) error {
	c, err := dial(ctx, r.cfg.Socket, r.cfg.Timeout)
	if err != nil {
		return err
	}
	defer c.close()
	cmd, wait := cmdWaitReaderStateChange, c.waitEvent
	if !c.canWait() {
		cmd, wait = cmdGetReadersState, pause
	}
	var last struct {
		known  bool
		state  uicc.SlotState
		events uint32
	}
	for {
		states, err := c.states(ctx, cmd)
		if err != nil {
			return err
		}
		s := find(states, r.name)
		if s == nil {
			return nil
		}
		st := uicc.SlotEmpty
		if s.State&statePresent != 0 {
			st = uicc.SlotPresent
		}
		if !last.known || st != last.state || s.Events != last.events {
			report(st)
		}
		last.known, last.state, last.events = true, st, s.Events
		if err := wait(ctx); err != nil {
			return err
		}
	}
}

// pause waits for pollInterval.
func pause(ctx context.Context) error {
	select {
	case <-time.After(pollInterval):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
