package ccid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"bipd/uicc"
)

// Limits of T=1.
const (
	mostFrame   = 5    // octets of a block around its information field: NAD, PCB, LEN, CRC
	mostT1Tries = 3    // repetitions of one block (ISO/IEC 7816-3 clause 11.6.3.2, rule 7.4)
	mostS       = 1000 // S-blocks of the card during one command
)

// Errors after which card and reader must be brought together by S(RESYNCH).
var (
	errT1      = fmt.Errorf("%w: T=1: no valid block after %d repetitions; clean the contacts", ErrProtocol, mostT1Tries)
	errAborted = fmt.Errorf("%w: T=1: the card gave up a chain", ErrProtocol)
)

// t1 exchanges APDUs in blocks of T=1 with a reader of TPDU level (ISO/IEC 7816-3 clause 11).
type t1 struct {
	slot    *Slot
	crc     bool
	initial int // information field size of the card after a reset
	wait    time.Duration
	unit    time.Duration // block waiting time

	ifsc int  // information field that the card takes now
	ns   byte // N(S) of the next I-block to the card
	nr   byte // N(S) expected of the card's next I-block
	out  []byte
	apdu []byte // with Le

	silent bool // the reader had no block at all from the card
}

func newT1(s *Slot, pars parameters, wait time.Duration) *t1 {
	t := &t1{slot: s, crc: pars.crc, initial: int(pars.ifsc), wait: wait, unit: pars.waitingTime(s.dev.desc)}
	t.clear()
	return t
}

// clear sets what a reset or S(RESYNCH) sets.
func (t *t1) clear() { t.ns, t.nr, t.ifsc = 0, 0, t.initial }

// room is the information field that fits into a message to the reader, which may announce as little as it likes.
func (t *t1) room() int {
	return max(1, min(t.ifsc, t.slot.dev.desc.room()-mostFrame))
}

// start tells the card the information field that the reader takes, unless the reader does that (clause 11.6.2.3, rule 3). A card
// that does not care goes on with the 32 octets that it began with.
func (t *t1) start(ctx context.Context) error {
	d := t.slot.dev
	ifsd := int(min(d.desc.MaxIFSD, uint32(min(maxIFS, max(d.desc.room()-mostFrame, 0)))))
	if d.desc.Features.Has(AutoIFSD) || ifsd < 1 || ifsd == defaultIFS {
		return nil
	}
	err := t.supervise(ctx, block{pcbS | sIFS, []byte{byte(ifsd)}})
	if errors.Is(err, errT1) {
		d.cfg.Log.Warn("the card does not take the IFSD", "slot", t.slot.name, "ifsd", ifsd)
		return nil
	}
	return err
}

// supervise sends an S-block request until its response comes.
func (t *t1) supervise(ctx context.Context, request block) error {
	want := request.pcb | pcbResponse
	for range 1 + mostT1Tries {
		b, fault, err := t.exchange(ctx, request, 0)
		if err != nil {
			return err
		}
		if fault == rOK && b.pcb == want && bytes.Equal(b.inf, request.inf) {
			return nil
		}
	}
	return errT1
}

// exchange sends a block and gives the card's. fault is what an R-block says where there was no valid one. bwi is the
// multiplier of the block waiting time that was granted, 0 for none.
func (t *t1) exchange(ctx context.Context, b block, bwi byte) (answer block, fault byte, err error) {
	t.out = b.append(t.out[:0], t.crc)
	a, err := t.slot.xfr(ctx, bwi, 0, t.out, t.wait+t.unit*time.Duration(bwi))
	t.silent = false
	var e *Error
	switch {
	case err == nil:
		b, fault := parseBlock(a.data, t.crc)
		return b, fault, nil
	case !errors.As(err, &e):
		return block{}, 0, err
	}
	if st, _, _ := t.slot.look(); st != slotPowered {
		return block{}, 0, err // the reader gave the card up
	}
	switch e.Code {
	case codeParity:
		return block{}, rEDC, nil
	case codeMute:
		t.silent = true
		return block{}, rOther, nil
	case codeOverrun:
		return block{}, rOther, nil
	}
	return block{}, 0, err
}

// transmission is the state of one command and its response.
type transmission struct {
	rest     []byte // of the command, behind the block under way
	last     block  // I-block under way, to be repeated
	sent     bool   // the card has the whole command: it has begun to respond
	response []byte
	tries    int // since the last valid block
	s        int // S-blocks of the card
}

// transmit carries out one command. Where card and reader lose each other it brings them together by S(RESYNCH), so that the
// next command works, but does not repeat this one: the card may have done it.
func (t *t1) transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	full := uicc.AppendLe(t.apdu, capdu)
	if len(full) > len(capdu) {
		t.apdu = full
	}
	response, err := t.run(ctx, full)
	if errors.Is(err, errT1) || errors.Is(err, errAborted) {
		if again := t.supervise(ctx, block{pcb: pcbS | sResynch}); again != nil {
			return nil, fmt.Errorf("%w: %w", again, uicc.ErrMute)
		}
		t.clear()
		if err := t.start(ctx); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: whether the card has done the command is not known: %w", t.slot.name, err)
	}
	if err != nil {
		return nil, err
	}
	return t.slot.response(response)
}

func (t *t1) run(ctx context.Context, capdu []byte) ([]byte, error) {
	x := transmission{rest: capdu}
	send := t.nextI(&x)
	bwi := byte(0)
	began := time.Now()
	for {
		if time.Since(began) > t.slot.dev.cfg.timing.longest {
			return nil, fmt.Errorf("ccid: %s: T=1: the card asks for ever more time: %w", t.slot.name, uicc.ErrMute)
		}
		b, fault, err := t.exchange(ctx, send, bwi)
		bwi = 0
		switch {
		case err != nil:
			return nil, err
		case fault != rOK:
			send, err = t.complain(&x, fault)
		case b.isI() && !t.takeI(&x, b):
			send, err = t.complain(&x, rOther)
		case b.isI() && !b.more():
			return x.response, nil
		case b.isI():
			send = rBlock(t.nr, rOK) // asks for the next part (rule 2.2)
		case b.isR():
			send, err = t.afterR(&x, b)
		default:
			send, bwi, err = t.afterS(ctx, &x, b)
		}
		if err != nil {
			return nil, err
		}
	}
}

// nextI makes the I-block of the next part of the command.
func (t *t1) nextI(x *transmission) block {
	n := min(len(x.rest), t.room())
	inf := x.rest[:n]
	x.rest = x.rest[n:]
	x.last = iBlock(t.ns, len(x.rest) > 0, inf)
	return x.last
}

// complain gives the R-block that asks for the card's block again (rules 7.1 and 7.2).
func (t *t1) complain(x *transmission, fault byte) (block, error) {
	switch x.tries++; {
	case x.tries > mostT1Tries && t.silent:
		return block{}, fmt.Errorf("ccid: %s: T=1: no block in time after %d repetitions: %w", t.slot.name, mostT1Tries, uicc.ErrMute)
	case x.tries > mostT1Tries:
		return block{}, errT1
	}
	return rBlock(t.nr, fault), nil
}

// takeI takes in an I-block, if it is the next: it also says that the card has the whole command.
func (t *t1) takeI(x *transmission, b block) bool {
	switch {
	case b.ns() != t.nr, !x.sent && len(x.rest) > 0, b.more() && len(b.inf) == 0, len(x.response)+len(b.inf) > maxExtended:
		return false
	}
	if !x.sent {
		x.sent = true
		t.ns ^= 1
	}
	t.nr ^= 1
	x.tries = 0
	x.response = append(x.response, b.inf...)
	return true
}

// afterR gives what the card asks for by an R-block: the next part of the command (rule 2.2), or a block again.
func (t *t1) afterR(x *transmission, b block) (block, error) {
	if !x.sent && b.nr() != t.ns && len(x.rest) > 0 {
		t.ns ^= 1
		x.tries = 0
		return t.nextI(x), nil
	}
	if x.tries++; x.tries > mostT1Tries {
		return block{}, errT1
	}
	switch {
	case !x.sent && b.nr() == t.ns:
		return x.last, nil
	case x.sent && b.nr() == t.ns:
		return rBlock(t.nr, rOK), nil
	}
	return rBlock(t.nr, rOther), nil
}

// afterS gives the response to the card's request, and the multiplier of the waiting time that it grants.
func (t *t1) afterS(ctx context.Context, x *transmission, b block) (send block, bwi byte, err error) {
	if x.s++; x.s > mostS {
		return block{}, 0, errT1
	}
	response := block{b.pcb | pcbResponse, append([]byte(nil), b.inf...)}
	switch b.pcb {
	case pcbS | sIFS:
		t.ifsc = int(b.inf[0])
	case pcbS | sWTX:
		bwi = b.inf[0]
	case pcbS | sAbort:
		if _, _, err = t.exchange(ctx, response, 0); err == nil {
			err = errAborted
		}
		return block{}, 0, err
	default: // a response that nobody asked for, or RESYNCH, which a card may not ask for
		send, err = t.complain(x, rOther)
		return send, 0, err
	}
	x.tries = 0
	return response, bwi, nil
}
