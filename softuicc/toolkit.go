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
		c.log.Warn("applet ended", "card", c.cfg.Name, "error", err)
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
	w, err := tk.exchange(ctx, slices.Clone(command), false, nil)
	if err != nil {
		return nil, err
	}
	defer w.release()
	return slices.Clone(w.response), nil
}

// Do sends a proactive command to destination (cat.DeviceTerminal, cat.DeviceChannel(n), ...) and returns the terminal's
// response, whatever its result. An error says that there was none, or one that cannot be read.
func (tk *Toolkit) Do(ctx context.Context, body cat.Body, qualifier byte, destination cat.DeviceID) (cat.Response, error) {
	command := cat.Command{
		Details: cat.CommandDetails{Type: body.Type(), Qualifier: qualifier},
		Devices: cat.DeviceIdentities{Source: cat.DeviceUICC, Destination: destination},
		Body:    body,
	}
	w, err := tk.exchange(ctx, command.Append(nil), true, nil)
	if err != nil {
		return cat.Response{}, err
	}
	defer w.release()
	response, _, err := cat.ParseResponse(slices.Clone(w.response))
	if err != nil {
		return response, fmt.Errorf("softuicc: response to %v: %w", body.Type(), err)
	}
	return response, nil
}

// exchange queues a command, with the next command number if it is numbered, and waits for its response. The call is to
// be released once its response was read. take, if not nil, sees the response first, under the card's lock.
func (tk *Toolkit) exchange(ctx context.Context, command []byte, numbered bool, take func([]byte)) (*call, error) {
	if n := len(command); n < 1 || n > maxCommand {
		return nil, fmt.Errorf("softuicc: proactive command of %d octets, 1 to %d fit", n, maxCommand)
	}
	c, kit := tk.card, tk.kit
	c.mu.Lock()
	if c.kit != kit {
		c.mu.Unlock()
		return nil, ErrReset
	}
	if numbered {
		kit.numbered(command)
	}
	w := calls.Get().(*call)
	w.owner, w.command, w.take, w.foreign = tk, command, take, tk.waiting
	kit.enqueue(w)
	c.mu.Unlock()

	select {
	case <-w.done:
		return w, nil
	case <-ctx.Done():
	case <-kit.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.done: // it came after all
		return w, nil
	default:
	}
	kit.withdraw(w)
	if c.kit != kit {
		return nil, ErrReset
	}
	return nil, ctx.Err()
}

// numbered puts the next command number, 01 to FE (ETSI TS 102 223 clause 8.6), into a command that begins with its
// details: D0, length, 81 03, number.
func (kit *proactive) numbered(command []byte) []byte {
	kit.number = kit.number%0xFE + 1
	at := 4
	if command[1] == 0x81 {
		at = 5
	}
	command[at] = kit.number
	return command
}
