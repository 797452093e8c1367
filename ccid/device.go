package ccid

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bipd/ccid/usbfs"
	"bipd/uicc"
)

// Device is one opened reader.
type Device struct {
	t      Transport
	desc   Descriptor
	ids    IDs
	quirks quirks
	cfg    Config
	slots  []*Slot

	busy    chan struct{} // holds one token for each slot that may work besides (bMaxCCIDBusySlots)
	sending chan struct{} // holds the token of bulk OUT
	leading chan struct{} // holds the token of bulk IN, see receive.go

	seq     byte        // of the next command, with sending
	in      inbox       // of who has the token of bulk IN
	spare   []byte      // for messages that nobody waits for
	noAbort atomic.Bool // the reader has refused an abort

	since atomic.Pointer[time.Time] // opened or reset

	mu   sync.Mutex // guards the slots' pending, reply and buf, and err
	err  error      // why the reader is of no further use
	gone chan struct{}

	ctx     context.Context // of the goroutines
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// NewDevice drives the reader behind t, which from now on is the Device's. It follows the slots from the start, until
// Close. It fails with ErrNotSupported where the reader works at character level, and then leaves t alone.
func NewDevice(t Transport, desc Descriptor, ids IDs, cfg Config) (*Device, error) {
	if desc.Level() == LevelCharacter {
		return nil, fmt.Errorf("%w: %s works at character level, only TPDU and APDU levels are", ErrNotSupported, ids)
	}
	d := &Device{
		t: t, desc: desc, ids: ids, quirks: quirksOf(ids), cfg: cfg.filled(),
		seq:  byte(rand.Uint32()), // lest an answer that an earlier program did not wait for is taken for the first
		busy: tokens(desc.busySlots()), sending: tokens(1), leading: tokens(1),
		gone: make(chan struct{}),
	}
	d.in.packet = int(ids.PacketSize)
	if d.in.packet == 0 {
		d.in.packet = 64
	}
	d.refreshed()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for n := range desc.Slots() {
		d.slots = append(d.slots, newSlot(d, n))
	}
	d.running.Go(d.notified)
	for _, s := range d.slots {
		d.running.Go(s.follow)
	}
	return d, nil
}

// tokens gives a channel that holds n tokens.
func tokens(n int) chan struct{} {
	c := make(chan struct{}, n)
	for range n {
		c <- struct{}{}
	}
	return c
}

// Slots are the reader's slots in their order.
func (d *Device) Slots() []*Slot { return d.slots }

// Descriptor is the reader's class descriptor.
func (d *Device) Descriptor() Descriptor { return d.desc }

// Gone is closed when the reader is of no further use: it was unplugged, or the Device closed.
func (d *Device) Gone() <-chan struct{} { return d.gone }

// Err is why the reader is gone; nil while it is there.
func (d *Device) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Close gives the reader back: the slots are gone for their watchers, calls that wait end, the goroutines end, and then
// the transport is closed. Cards are to be closed before it, if they are to be powered off.
func (d *Device) Close() error {
	d.fail(usbfs.ErrClosed)
	d.cancel()
	err := d.t.Close()
	d.running.Wait()
	for _, s := range d.slots {
		<-s.turn
		s.patience.drop()
		s.turn <- struct{}{}
	}
	return err
}

// fail marks the reader as gone, the first time with its reason.
func (d *Device) fail(err error) {
	d.mu.Lock()
	first := d.err == nil
	if first {
		d.err = err
		close(d.gone)
	}
	d.mu.Unlock()
	if first {
		for _, s := range d.slots {
			s.lost()
		}
	}
}

// errGone is what a call ends with when the reader is gone.
func (d *Device) errGone() error {
	return fmt.Errorf("ccid: %s: the reader is gone: %w: %w", d.ids, uicc.ErrRemoved, d.Err())
}

// acquire takes a token from c.
func (d *Device) acquire(ctx context.Context, c chan struct{}) error {
	select {
	case <-c:
		return nil
	default:
	}
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.gone:
		return d.errGone()
	}
}

// pending is a command whose answer is awaited.
type pending struct {
	active   bool
	answered bool // in reply
	removed  bool // an interrupt told meanwhile that the card is gone
	typ      messageType
	seq      byte
	wait     time.Duration // before and besides time extensions
	end      time.Time     // of all time extensions; zero before the first
}

// takeTurn waits for the slot's turn; giveTurn gives it back.
func (s *Slot) takeTurn(ctx context.Context) error { return s.dev.acquire(ctx, s.turn) }

func (s *Slot) giveTurn() { s.turn <- struct{}{} }

// do takes the slot's turn for one command whose answer's data does not matter. See doInTurn.
func (s *Slot) do(ctx context.Context, c *command, wait time.Duration) (answer, error) {
	if err := s.takeTurn(ctx); err != nil {
		return answer{}, err
	}
	defer s.giveTurn()
	a, err := s.doInTurn(ctx, c, wait)
	a.data = nil
	return a, err
}

// doCopy takes the slot's turn for one command, and gives a copy of its answer's data.
func (s *Slot) doCopy(ctx context.Context, c *command, wait time.Duration) ([]byte, error) {
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer s.giveTurn()
	a, err := s.doInTurn(ctx, c, wait)
	return slices.Clone(a.data), err
}

// doInTurn sends a command to the slot and gives its answer, judged (see Slot.judge), within the time wait, which the reader
// may prolong. Where it gives up, the slot is brought into step again before its next command. The caller has the slot's
// turn; the answer's data is good until it gives it back or sends the next command.
func (s *Slot) doInTurn(ctx context.Context, c *command, wait time.Duration) (answer, error) {
	if s.stuck {
		if err := s.recover(ctx); err != nil {
			return answer{}, err
		}
	}
	a, err := s.exchange(ctx, c, wait)
	if err != nil {
		return answer{}, err
	}
	return a, s.judge(c.typ, a)
}

// exchange sends a command and waits for its answer. A slot whose command is given up counts as busy until it is in step again,
// which is brought about at once.
func (s *Slot) exchange(ctx context.Context, c *command, wait time.Duration) (answer, error) {
	d := s.dev
	if !s.stuck {
		if err := d.acquire(ctx, d.busy); err != nil {
			return answer{}, err
		}
	}
	timed := s.patience.begin(ctx, wait)
	sent, err := d.send(timed, s, c, wait)
	if err == nil {
		err = d.await(timed, s)
	}
	a, p := d.collect(s)
	answered := p.answered
	s.patience.end()
	switch {
	case answered && !s.stuck, !sent && !s.stuck:
		d.busy <- struct{}{}
	case !answered && !s.stuck:
		s.stuck = true
		if c.typ != typeGetSlotStatus { // which follow itself asks again for
			s.hint(hint{stuck: true})
		}
	}
	if answered {
		return a, nil
	}
	if p.removed && ctx.Err() == nil && timed.Err() != nil {
		return answer{}, s.errRemoved(c.typ)
	}
	return answer{}, s.explain(ctx, c.typ, wait, timed, err)
}

// explain says why there is no answer: err is what the transport or the wait ended with.
func (s *Slot) explain(ctx context.Context, typ messageType, wait time.Duration, timed context.Context, err error) error {
	d := s.dev
	select {
	case <-d.gone:
		return d.errGone()
	default:
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case timed.Err() == nil:
		return fmt.Errorf("ccid: %s: %v: %w", s.name, typ, err)
	case typ == typeXfrBlock || typ == typePowerOn:
		return fmt.Errorf("ccid: %s: %v: no answer in time (%v, more where the reader asked for it): %w", s.name, typ, wait, uicc.ErrMute)
	}
	return fmt.Errorf("%w: %s: %v: the reader gives no answer in %v", ErrProtocol, s.name, typ, wait)
}

// send sends one message under the next number and makes it the slot's pending command; sent tells whether the reader may
// have seen some of it. An abort is announced on the control pipe (CCID clause 5.3.1).
func (d *Device) send(ctx context.Context, s *Slot, c *command, wait time.Duration) (sent bool, err error) {
	if err := d.acquire(ctx, d.sending); err != nil {
		return false, err
	}
	defer func() { d.sending <- struct{}{} }()
	seq := d.seq
	d.seq++
	if c.typ == typeAbort {
		_, err = d.t.Control(ctx, requestOut, requestAbort, uint16(seq)<<8|uint16(s.number), nil)
	}
	if err == nil {
		s.out = c.append(s.out[:0], byte(s.number), seq)
		d.expect(s, pending{active: true, typ: c.typ, seq: seq, wait: wait})
		err = d.t.Send(ctx, s.out)
		sent = true
	}
	if err == nil && d.quirks.zeroLengthOut && len(s.out)%d.in.packet == 0 {
		err = d.t.Send(ctx, nil)
	}
	if isGone(err) {
		d.fail(err)
	}
	return sent, err
}

// isGone tells whether an error of a transport means that no transfer will ever succeed again.
func isGone(err error) bool {
	return errors.Is(err, usbfs.ErrGone) || errors.Is(err, fs.ErrClosed)
}
