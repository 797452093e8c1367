package softuicc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"

	"bipd/cat"
)

// Applet is a program on the card. It starts when the terminal has sent its TERMINAL PROFILE and runs in a goroutine of
// its own; ctx ends when the card is reset, powered off or removed, and every call of tk then returns ErrReset.
type Applet func(ctx context.Context, tk *Toolkit) error

// Toolkit is an applet's way to the terminal. Its methods may be called from several goroutines; their commands are
// queued, and applets take turns.
type Toolkit struct {
	card *Card
	kit  *proactive
	main uint64 // goroutine of the applet

	// Guarded by the card's lock.
	queue    []*call
	ended    bool
	waiting  bool // the applet's own goroutine waits in the toolkit for something from outside
	astir    bool // another goroutine of the applet was woken and has not come back
	wanted   [256]bool
	events   []Event
	notify   chan struct{} // events came
	watchers int           // goroutines in Wait
}

// run is the applet's goroutine.
func (tk *Toolkit) run(applet Applet) {
	tk.main = goroutineID()
	err := applet(tk.kit.ctx, tk)
	c := tk.card
	c.mu.Lock()
	defer c.mu.Unlock()
	tk.ended = true
	if tk.kit.running--; tk.kit.running == 0 {
		close(tk.kit.ended)
	}
	if err != nil {
		tk.kit.errs = append(tk.kit.errs, err)
		c.log.Warn("applet ended", "card", c.cfg.Name, "err", err)
	}
	c.signal()
}

// Wait blocks until TERMINAL PROFILE has started the applets and all of them have ended; it returns their errors joined,
// or ctx's. For a card that was reset since it returns ErrReset.
func (c *Card) Wait(ctx context.Context) error {
	select {
	case <-c.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	kit := c.kit
	c.mu.Unlock()
	if kit == nil {
		return ErrReset
	}
	select {
	case <-kit.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(kit.errs...)
}

// busy reports whether the applet may be about to queue a command.
func (tk *Toolkit) busy() bool { return !tk.ended && (!tk.waiting || tk.astir) }

// parked notes that a goroutine waits for something from outside; own says whether it is the applet's own.
func (tk *Toolkit) parked(own bool) {
	if own {
		tk.waiting = true
	} else {
		tk.astir = false
	}
	tk.card.signal()
}

// woken notes that a goroutine of the applet has something to do again.
func (tk *Toolkit) woken(own bool) {
	if own {
		tk.waiting = false
	} else {
		tk.astir = true
	}
	tk.kit.touch()
}

// goroutineID tells an applet's own goroutine from those it started, which no API does: whether a card has come to rest
// depends on the goroutine that runs the applet, not on one that sits in a Read on its behalf.
func goroutineID() uint64 {
	var buf [40]byte
	b := bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(b, ' '); i > 0 {
		b = b[:i]
	}
	id, _ := strconv.ParseUint(string(b), 10, 64)
	return id
}

// Profile returns the terminal's profile.
func (tk *Toolkit) Profile() Profile {
	tk.card.mu.Lock()
	defer tk.card.mu.Unlock()
	return slices.Clone(tk.kit.profile)
}

// DoRaw sends a proactive command as it stands, right or wrong (BER-TLV D0 and all, at most 255 octets), and returns the
// data of its TERMINAL RESPONSE. A ctx that ends takes the command back, unless the terminal has been told of it.
func (tk *Toolkit) DoRaw(ctx context.Context, command []byte) ([]byte, error) {
	var response []byte
	err := tk.do(ctx, func(byte) []byte { return slices.Clone(command) },
		func(r []byte) { response = slices.Clone(r) })
	return response, err
}

// Do sends a proactive command to destination (cat.DeviceTerminal, cat.DeviceChannel(n), ...) and returns the terminal's
// response, whatever its result. An error says that there was none, or one that cannot be read.
func (tk *Toolkit) Do(ctx context.Context, body cat.Body, qualifier byte, destination cat.DeviceID) (cat.Response, error) {
	var raw []byte
	err := tk.do(ctx, func(number byte) []byte {
		return cat.Command{
			Details: cat.CommandDetails{Number: number, Type: body.Type(), Qualifier: qualifier},
			Devices: cat.DeviceIdentities{Source: cat.DeviceUICC, Destination: destination},
			Body:    body,
		}.Append(nil)
	}, func(r []byte) { raw = slices.Clone(r) })
	if err != nil {
		return cat.Response{}, err
	}
	response, _, err := cat.ParseResponse(raw)
	if err != nil {
		return response, fmt.Errorf("softuicc: response to %v: %w", body.Type(), err)
	}
	return response, nil
}

// do makes a command with the next number, queues it and waits for its response.
func (tk *Toolkit) do(ctx context.Context, build func(number byte) []byte, take func([]byte)) error {
	c, kit := tk.card, tk.kit
	c.mu.Lock()
	if c.kit != kit {
		c.mu.Unlock()
		return ErrReset
	}
	w := &call{owner: tk, take: take, done: make(chan struct{}, 1), foreign: tk.waiting}
	w.command = build(kit.nextNumber())
	if n := len(w.command); n < 1 || n > maxCommand {
		c.mu.Unlock()
		return fmt.Errorf("softuicc: proactive command of %d octets, 1 to %d fit", n, maxCommand)
	}
	kit.enqueue(w)
	c.mu.Unlock()

	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	case <-kit.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.done: // it came after all
		return nil
	default:
	}
	kit.withdraw(w)
	if c.kit != kit {
		return ErrReset
	}
	return ctx.Err()
}
