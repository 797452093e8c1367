package ccidemu

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"bipd/ccid/usbfs"
	"bipd/softuicc"
)

// Reader is one emulated reader, attached by one of its faces. Its methods may be called from any goroutine.
type Reader struct {
	model Model

	mu        sync.Mutex
	slots     []*slot
	bulkIn    pipe
	interrupt pipe
	out       []byte // of the bulk OUT message under way
	seq       int    // bSeq of the last command; -1 = none since the reset
	faults    []*counted
	late      [][]byte // answers that the fault Late holds
	settings  []string
	gone      bool
	plugged   chan struct{} // closed when the reader is gone
	work      context.Context
	stopWork  context.CancelFunc // ends what the cards work on
	working   sync.WaitGroup
	watch     context.CancelFunc // ends the watches of the slots
	watching  sync.WaitGroup

	judgement  sync.Mutex // may be taken with mu held
	violations []Violation
}

// New makes a reader with empty slots. Close it after use.
func New(m Model) *Reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reader{
		model: m, seq: -1, plugged: make(chan struct{}), watch: cancel,
		bulkIn: pipe{size: int(m.MaxPacket)}, interrupt: pipe{size: 8},
	}
	r.work, r.stopWork = context.WithCancel(ctx)
	r.SetFaults()
	for i := range m.Slots {
		s := newSlot(r, i)
		r.slots = append(r.slots, s)
		r.watching.Add(1)
		go s.watch(ctx)
	}
	return r
}

// Model is what the reader is.
func (r *Reader) Model() Model { return r.model }

// maxSettings bounds the list of settings.
const maxSettings = 1000

// Settings lists in their order the commands by which the host set parameters and rate, so that drivers can be compared: PPS
// requests, SetParameters and SetDataRateAndClockFrequency, each with its data, "SetParameters T=0 1100000A00".
func (r *Reader) Settings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.settings)
}

// noteSetting notes a command that is a setting. The caller holds mu.
func (r *Reader) noteSetting(c *command) {
	var what string
	switch {
	case len(r.settings) == maxSettings:
		return
	case c.typ == msgSetParameters:
		what = fmt.Sprintf("%s T=%d", name(c.typ), c.specific[0])
	case c.typ == msgSetDataRate:
		what = name(c.typ)
	case c.typ == msgXfrBlock && len(c.data) > 0 && c.data[0] == 0xFF:
		what = "PPS"
	default:
		return
	}
	r.settings = append(r.settings, fmt.Sprintf("%s %X", what, c.data))
}

// Insert puts a card into a slot, whose contacts behave as cfg says.
func (r *Reader) Insert(n int, card *softuicc.Card, cfg softuicc.ContactsConfig) error {
	if n < 0 || n >= len(r.slots) {
		return fmt.Errorf("ccidemu: slot %d of %d", n, len(r.slots))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return usbfs.ErrGone
	}
	s := r.slots[n]
	s.look()
	if err := s.reader.Insert(card); err != nil {
		return err
	}
	told := cfg.Line.OnViolation
	cfg.Line.OnViolation = func(v softuicc.Violation) {
		r.violate("("+v.Clause+")", nil, "%s [%s]", v.Text, v.APDU)
		if told != nil {
			told(v)
		}
	}
	s.inserted(card.ATR(), cfg)
	return nil
}

// Remove takes the card out of a slot, also in the middle of an APDU.
func (r *Reader) Remove(n int) {
	s := r.slots[n]
	s.reader.Remove()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.look()
}

// Unplug takes the reader away with its cards: what waits ends with usbfs.ErrGone.
func (r *Reader) Unplug() {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return
	}
	r.gone = true
	r.stopWork()
	r.watch()
	r.bulkIn.fail(usbfs.ErrGone)
	r.interrupt.fail(usbfs.ErrGone)
	close(r.plugged)
	r.mu.Unlock()
	for _, s := range r.slots {
		s.reader.Unplug()
	}
	r.working.Wait()
	r.watching.Wait()
}

// Close is Unplug.
func (r *Reader) Close() error {
	r.Unplug()
	return nil
}

// reset is a USB reset or a new configuration: commands are forgotten, and the cards lose their power.
func (r *Reader) reset() {
	r.mu.Lock()
	if r.gone {
		r.mu.Unlock()
		return
	}
	r.stopWork()
	for _, s := range r.slots {
		if s.busy != nil {
			s.busy.mute = true
		}
	}
	r.bulkIn.fail(usbfs.ErrAborted)
	r.interrupt.fail(usbfs.ErrAborted)
	r.mu.Unlock()
	r.working.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return
	}
	r.work, r.stopWork = context.WithCancel(context.Background())
	r.out, r.seq, r.late = nil, -1, nil
	r.bulkIn.packets, r.interrupt.packets = nil, nil
	for _, s := range r.slots {
		s.reset()
	}
	r.notify()
}

// send is one bulk OUT transfer. It returns usbfs.ErrStall where the endpoint stalls.
func (r *Reader) send(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return usbfs.ErrGone
	}
	short := len(b) == 0 || len(b)%int(r.model.MaxPacket) != 0
	if len(r.out) == 0 && len(b) == 0 {
		return nil // the end of a message of full packets, which its dwLength has ended already
	}
	r.out = append(r.out, b...)
	m := r.out
	if len(m) < headerLength && !short {
		return nil
	}
	if len(m) < headerLength {
		r.out = nil
		r.violate("6.1", m, "a message of %d octets", len(m))
		return usbfs.ErrStall
	}
	// The comparison is made in 64 bits, for dwLength may be anything.
	want := headerLength + uint64(binary.LittleEndian.Uint32(m[1:]))
	if !short && uint64(len(m)) < want && want <= uint64(r.model.longest()) {
		return nil
	}
	r.out = nil
	c := parseCommand(slices.Clone(m))
	c.faults = r.striking(c.typ)
	if _, ok := c.fault(StallOut); ok {
		return usbfs.ErrStall
	}
	bad := errNone
	switch {
	case want > uint64(r.model.longest()):
		r.violate("5.1", m[:headerLength], "a message of %d octets, the reader takes %d", want, r.model.longest())
		bad = errLength
	case uint64(len(m)) != want:
		r.violate("6.1", m, "%d octets, dwLength is %d", len(m), want-headerLength)
		bad = errLength
	}
	r.take(c, bad)
	return nil
}

// take judges a command as such, and has its slot obey it. bad is the error that it has already. The caller holds mu.
func (r *Reader) take(c *command, bad int) {
	if r.seq >= 0 && c.seq != byte(r.seq+1) && c.seq != 0 { // 00 also begins anew, as a driver does
		r.violate("6.1", c.raw, "bSeq %02X follows %02X", c.seq, byte(r.seq))
	}
	r.seq = int(c.seq)
	r.noteSetting(c)
	n := int(c.slot)
	if r.model.LooseSlots {
		n = 0
	}
	if n >= len(r.slots) {
		r.violate("6.1", c.raw, "bSlot %d, the last slot is %d", n, len(r.slots)-1)
		r.deliver(c, answer(answerType(c.typ), c.slot, c.seq, statusFailed|iccAbsent, errSlot, 0, nil))
		return
	}
	s := r.slots[n]
	s.look()
	if f, ok := c.fault(Fail); ok {
		bad = f.N
	}
	switch {
	case s.aborting(c):
		s.fail(c, errAborted)
	case c.typ == msgAbort && bad == errNone:
		s.obey(c) // also while a command is outstanding
	case s.busy != nil:
		r.violate("6.1", c.raw, "%s while %s is outstanding", name(c.typ), name(s.busy.typ))
		s.fail(c, errBusy)
	case r.tooBusy():
		r.violate("5.1", c.raw, "more slots busy than the %d of bMaxCCIDBusySlots", r.model.BusySlots)
		s.fail(c, errBusy)
	case bad != errNone:
		s.fail(c, bad)
	default:
		s.obey(c)
	}
}

// tooBusy tells whether no further slot may get a command.
func (r *Reader) tooBusy() bool {
	busy := 0
	for _, s := range r.slots {
		if s.busy != nil {
			busy++
		}
	}
	return busy >= int(r.model.BusySlots)
}

// notify sends NotifySlotChange (CCID clause 6.3.1) if the host waits for one and a slot has changed; changes stay until
// then. The caller holds mu.
func (r *Reader) notify() {
	if len(r.interrupt.requests) == 0 {
		return
	}
	b := make([]byte, 1+(2*len(r.slots)+7)/8)
	b[0] = msgNotifySlotChange
	changed := false
	for i, s := range r.slots {
		at, shift := 1+i/4, i%4*2
		if s.present {
			b[at] |= 1 << shift
		}
		if s.changed {
			b[at] |= 2 << shift
			s.changed, changed = false, true
		}
	}
	if changed {
		r.interrupt.message(b, true)
		r.interrupt.pump()
	}
}

// submit queues an IN request of one endpoint. The caller holds mu.
func (r *Reader) submit(p *pipe, q *request) {
	if r.gone {
		q.done(nil, usbfs.ErrGone)
		return
	}
	p.submit(q)
	if p == &r.interrupt {
		r.notify()
	}
}

// worker runs f beside the reader and has the slot answer what it gives. The caller holds mu.
func (r *Reader) worker(s *slot, c *command, f func(ctx context.Context) reply) {
	ctx, cancel := context.WithCancel(r.work)
	s.busy, s.stop = c, cancel
	insertion := s.insertion
	r.working.Add(1)
	go func() {
		defer r.working.Done()
		defer cancel()
		rep := f(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.look(); rep.removed && s.present && s.insertion == insertion {
			s.left() // the card has told before its slot could
		}
		s.busy, s.stop = nil, nil
		if !c.mute && !rep.silent && !r.gone {
			s.answer(c, rep)
		}
		s.finishAbort()
	}()
}
