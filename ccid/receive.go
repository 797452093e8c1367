package ccid

import (
	"context"
	"fmt"
	"time"
)

// Nobody reads the bulk IN pipe while no command is pending. Of those who wait for an answer one leads: it has the token
// of the pipe, receives messages and hands each to the slot it is for, until its own has come; then another leads. So a
// reader with one slot at work needs no goroutine between its pipe and the caller.

const (
	// usual is the size of the first transfer asked for: every answer with a short APDU fits. It is a multiple of every
	// packet size that bulk endpoints have, so that no packet can overflow the buffer.
	usual = 1024
	// mostEmpty bounds the transfers without any octet in a row.
	mostEmpty = 1000
)

// inbox puts messages together from transfers.
type inbox struct {
	buf    []byte
	n      int  // octets received
	empty  int  // transfers without any octet since the last with some
	packet int  // wMaxPacketSize
	exact  bool // ask for no more than must come: the reader ends no message by an empty packet
}

// next is the part of the buffer for the next transfer.
func (in *inbox) next() []byte {
	want := usual
	switch {
	case in.n >= headerLength:
		want = int(messageLength(in.buf[:in.n])) - in.n
		if !in.exact || want%in.packet != 0 {
			want = (want + usual - 1) / usual * usual
		}
	case in.exact:
		want = in.packet
	}
	if need := in.n + want; len(in.buf) < need {
		grown := make([]byte, need)
		copy(grown, in.buf[:in.n])
		in.buf = grown
	}
	return in.buf[in.n : in.n+want]
}

// complete tells whether a whole message has come.
func (in *inbox) complete() bool {
	return in.n >= headerLength && uint64(in.n) >= messageLength(in.buf[:in.n])
}

// take gives the message that has come, in the inbox's buffer, for which it gets another one. What follows the message is
// dropped (see parseAnswer), unless the message filled its last packet: the transfer may then have gone on with the next.
func (in *inbox) take(other []byte) (a answer, buf []byte) {
	buf = in.buf
	total := int(messageLength(buf))
	rest := buf[total:in.n]
	if len(rest) < headerLength || total%in.packet != 0 {
		rest = nil
	}
	if len(other) < len(rest) {
		other = make([]byte, len(buf))
	}
	in.buf, in.n = other, copy(other, rest)
	return parseAnswer(buf), buf
}

// drop forgets what has come of a message.
func (in *inbox) drop() { in.n = 0 }

// expect makes p the slot's pending command.
func (d *Device) expect(s *Slot, p pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.pending = p
}

// collect ends the wait for an answer. It gives the answer, if it came, and what became of the wait.
func (d *Device) collect(s *Slot) (answer, pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := s.pending
	s.pending = pending{}
	select {
	case <-s.arrived:
	default:
	}
	return s.reply, p
}

// await returns when the answer of the slot's pending command has come (nil, as a rule), or cannot come any more.
func (d *Device) await(ctx context.Context, s *Slot) error {
	for {
		select {
		case <-s.arrived:
			return nil
		default:
		}
		select {
		case <-s.arrived:
			return nil
		case <-d.leading:
			err := d.receive(ctx, s)
			d.leading <- struct{}{}
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-d.gone:
			return d.Err()
		}
	}
}

// receive makes one bulk IN transfer on behalf of slot s and hands over the messages that it completes.
func (d *Device) receive(ctx context.Context, s *Slot) error {
	in := &d.in
	if err := ctx.Err(); err != nil {
		d.giveUpMessage(s)
		return err
	}
	n, err := d.t.Receive(ctx, in.next())
	switch {
	case isGone(err):
		d.fail(err)
		return err
	case ctx.Err() != nil && err != nil:
		d.giveUpMessage(s)
		return ctx.Err()
	case err != nil:
		in.drop()
		return err
	}
	d.separate(n)
	in.n += n
	if in.empty++; n > 0 {
		in.empty = 0
	}
	if in.empty > mostEmpty {
		in.empty = 0
		return fmt.Errorf("%w: nothing but empty transfers", ErrProtocol)
	}
	if ctx.Err() != nil && in.complete() && in.n%in.packet == 0 {
		in.exact = true // the end of the wait brought it: the transfer had not ended with the message
	}
	return d.handOver(s)
}

// separate looks at a transfer of n octets that came behind a part of a message. If it is by itself an answer that another
// slot waits for, that part was all that comes of its message, and is dropped.
func (d *Device) separate(n int) {
	in := &d.in
	if in.n < headerLength || n < headerLength {
		return
	}
	transfer := in.buf[in.n : in.n+n]
	if t := messageType(transfer[0]); t < typeDataBlock || t > typeDataRate || messageLength(transfer) != uint64(n) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if to := d.addressee(transfer[5], transfer[6]); to != nil && to != d.addressee(in.buf[5], in.buf[6]) {
		copy(in.buf, transfer)
		in.n = 0
	}
}

// giveUpMessage drops a message that came in part, if it is for slot s, which waits no longer.
func (d *Device) giveUpMessage(s *Slot) {
	if d.in.n >= headerLength && int(d.in.buf[5]) == s.number {
		d.in.drop()
	}
}

// handOver gives the messages that have come to their slots. s is the slot that receives.
func (d *Device) handOver(s *Slot) error {
	in := &d.in
	for in.n > 0 {
		switch {
		case in.n < headerLength:
			d.cfg.Log.Debug("transfer of less than a header dropped", "reader", d.ids.String(), "octets", in.n)
			in.drop()
		case messageLength(in.buf) > uint64(d.longest()):
			if err := d.refuse(s); err != nil {
				return err
			}
		case !in.complete():
			d.awaitRest()
			return nil
		default:
			d.dispatch()
		}
	}
	return nil
}

// refuse drops the message that announces too much. It is an error where slot s waits for it.
func (d *Device) refuse(s *Slot) error {
	in := &d.in
	defer in.drop()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addressee(in.buf[5], in.buf[6]) != s {
		return nil
	}
	return fmt.Errorf("%w: a message of %d octets, the reader told of %d at most", ErrProtocol, messageLength(in.buf), d.desc.MaxMessage)
}

// longest is the length of the longest message taken from the reader. Readers announce what they can take; what they
// send may be a little longer.
func (d *Device) longest() uint32 {
	return min(max(d.desc.MaxMessage, usual), headerLength+maxExtended+usual)
}

// awaitRest gives the rest of a message less time than its beginning had.
func (d *Device) awaitRest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if to := d.addressee(d.in.buf[5], d.in.buf[6]); to != nil {
		to.patience.extend(d.cfg.timing.rest)
	}
}

// addressee is the slot that waits for an answer under these numbers, nil where there is none. The caller holds mu.
func (d *Device) addressee(slot, seq byte) *Slot {
	if int(slot) >= len(d.slots) {
		return nil
	}
	if s := d.slots[slot]; s.pending.active && s.pending.seq == seq {
		return s
	}
	return nil
}

// dispatch hands the complete message of the inbox to the slot that waits for it. Late and foreign answers are dropped:
// those of another slot or number, or of a type that does not answer the command. A failure may come as any type, since
// readers answer what they do not know by a SlotStatus.
func (d *Device) dispatch() {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := &d.in
	s := d.addressee(in.buf[5], in.buf[6])
	if s == nil {
		a, buf := in.take(d.spare)
		d.spare = buf
		d.cfg.Log.Debug("answer dropped that nobody waits for", "reader", d.ids.String(), "type", a.typ.String(), "slot", a.slot, "seq", a.seq)
		return
	}
	a, buf := in.take(s.buf)
	s.buf = buf
	p := &s.pending
	switch {
	case a.typ != p.typ.answer() && a.command != commandFailed:
		d.cfg.Log.Debug("answer dropped of the wrong type", "reader", d.ids.String(), "type", a.typ.String(), "slot", a.slot, "seq", a.seq)
	case a.command == commandExtended:
		s.extend(a.err)
	default:
		s.reply = a
		p.active, p.answered = false, true
		s.arrived <- struct{}{}
	}
}

// extend gives the pending command multiplier times the card's waiting time in addition, from now on, but not for ever. The
// caller holds mu.
func (s *Slot) extend(multiplier byte) {
	t := s.dev.cfg.timing
	p := &s.pending
	now := time.Now()
	if p.end.IsZero() {
		p.end = now.Add(t.longest)
	}
	d := p.wait + s.unit*time.Duration(multiplier)
	if left := p.end.Sub(now); d > left {
		d = max(left, 0)
	}
	s.patience.extend(d)
}
