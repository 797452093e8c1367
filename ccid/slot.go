package ccid

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bipd/uicc"
)

// slotState is the state of a slot. Slot.enter alone changes it.
//
//	from                  to        when
//	any                   absent    an answer's status: no card
//	unknown, absent       inserted  an answer's status: a card
//	inserted, mute        powered   IccPowerOn brought an answer to reset
//	inserted, powered     mute      IccPowerOn brought none
//	powered, mute         inserted  IccPowerOff; the reader was reset for this slot's sake
//	powered               inserted  another card: the status says that there is no power though we gave it, the reader told of
//	                                a change and there is a card, or it was reset for another slot's sake
//	any                   gone      the reader was unplugged or closed; this is the last state
type slotState int

const (
	slotUnknown  slotState = iota // no answer yet that tells
	slotAbsent                    // no card
	slotInserted                  // a card without power, or with power that the reader gave by itself
	slotPowered                   // a card that has answered our IccPowerOn
	slotMute                      // a card that has not
	slotGone                      // no reader
)

// String gives the state's name.
func (st slotState) String() string {
	names := [...]string{"unknown", "absent", "inserted", "powered", "mute", "gone"}
	if st < 0 || int(st) >= len(names) {
		return fmt.Sprintf("state %d", int(st))
	}
	return names[st]
}

// occupied tells whether there is a card.
func (st slotState) occupied() bool { return st >= slotInserted && st <= slotMute }

// Slot is one slot of a reader. It implements uicc.Reader.
type Slot struct {
	dev    *Device
	number int
	name   string

	turn     chan struct{} // the token of who sends commands: the slot has one outstanding
	stuck    bool          // a command was given up, and the slot has kept its token of dev.busy; with turn
	out      []byte        // message to the reader, with turn
	patience patience      // with turn
	supply   supply        // of the last cold reset, of who has the card

	unit    time.Duration // the card's waiting time, of which a time extension asks for multiples; with dev.mu
	pending pending       // guarded by dev.mu
	reply   answer        // to the last pending command
	buf     []byte        // holds reply
	arrived chan struct{} // reply has come

	hints chan hint // for follow; sent to with mu

	mu        sync.Mutex
	state     slotState
	insertion uint64        // counts the cards that the slot has seen
	inserted  time.Time     // when it saw the last one first
	powerUps  uint64        // counts the answers to IccPowerOn
	changed   chan struct{} // closed at the next change that watchers are told
	card      *card         // that was connected and not closed
	atr       []byte        // of the card that is powered
	fault     error         // why the card is mute
}

var _ uicc.Reader = (*Slot)(nil)

func newSlot(d *Device, n int) *Slot {
	return &Slot{
		dev: d, number: n, name: d.ids.SlotName(n), turn: tokens(1),
		arrived: make(chan struct{}, 1), hints: make(chan hint, 1), changed: make(chan struct{}),
		unit: time.Second,
	}
}

// Name is the slot's name for people, "USB Reader [1-1.2] slot 0".
func (s *Slot) Name() string { return s.name }

// Number is the slot's number in its reader, from 0.
func (s *Slot) Number() int { return s.number }

// enter changes the state. another says that the card is not the one that was there, nor that which may have been
// connected. The caller holds mu.
func (s *Slot) enter(st slotState, another bool) {
	if s.state == slotGone || st == s.state && !another {
		return
	}
	told := another || st.occupied() != s.state.occupied() || s.state == slotUnknown || st == slotGone
	if st.occupied() && (another || !s.state.occupied()) {
		s.insertion++
		s.inserted = time.Now()
	}
	if st != slotPowered {
		s.atr = nil
	}
	s.fault = nil
	s.state = st
	if told {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// saw takes in what an answer tells of the card. typ is the command that was answered.
func (s *Slot) saw(typ messageType, icc iccStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case icc == iccAbsent:
		s.enter(slotAbsent, false)
	case icc > iccAbsent: // reserved
	case !s.state.occupied():
		s.enter(slotInserted, false)
	case icc == iccInactive && s.state == slotPowered:
		s.enter(slotInserted, typ != typePowerOff && typ != typePowerOn)
	}
}

// powered notes that the card has answered to IccPowerOn.
func (s *Slot) powered(atr []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.powerUps++
	s.enter(slotPowered, false)
	if s.state == slotPowered {
		s.atr = atr
	}
}

// unpowered notes that the card has lost its power.
func (s *Slot) unpowered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.occupied() {
		s.enter(slotInserted, false)
	}
}

// mute notes that the card did not answer to IccPowerOn as a card does.
func (s *Slot) mute(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.occupied() {
		s.enter(slotMute, false)
		s.fault = why
	}
}

// cut notes that the reader was reset. For the slot whose command failed that is no surprise; for others it is like another
// card.
func (s *Slot) cut(another bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == slotPowered {
		s.enter(slotInserted, another)
	}
}

// lost notes that the reader is gone.
func (s *Slot) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(slotGone, false)
}

// look gives the state, the number of the card and a channel that is closed at the next change of these.
func (s *Slot) look() (st slotState, insertion uint64, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.insertion, s.changed
}

// errRemoved says that the card is not there.
func (s *Slot) errRemoved(typ messageType) error {
	return fmt.Errorf("ccid: %s: %v: no card: %w", s.name, typ, uicc.ErrRemoved)
}

// judge gives the error that an answer to the command typ is, and takes in what it tells of the card. The status of the
// card counts also where the command did not fail: readers answer an APDU without a card so. The caller has the turn.
func (s *Slot) judge(typ messageType, a answer) error {
	var failure error
	if a.command == commandFailed {
		failure = &Error{Slot: s.name, Command: typ.String(), Code: a.err}
	}
	if a.icc == iccInactive && typ != typeGetSlotStatus && a.command == commandFailed {
		s.unpowered() // by the reader, for that failure
	}
	s.saw(typ, a.icc)
	switch {
	case typ == typeGetSlotStatus && a.command == commandOK:
		return nil
	case a.icc == iccAbsent:
		return s.errRemoved(typ)
	case failure != nil:
		return failure
	case a.command != commandOK || a.icc > iccAbsent:
		return fmt.Errorf("%w: %s: %v: reserved status", ErrProtocol, s.name, typ)
	case a.icc == iccInactive && (typ == typeXfrBlock || typ == typeSetParameters || typ == typeGetParameters):
		return fmt.Errorf("ccid: %s: %v: the card has lost its power; it was exchanged: %w", s.name, typ, uicc.ErrRemoved)
	case a.icc == iccInactive && typ == typePowerOn:
		return fmt.Errorf("ccid: %s: %v: the card has no power after it: %w", s.name, typ, uicc.ErrMute)
	}
	if typ == typePowerOff {
		s.unpowered()
	}
	return nil
}

// status asks for the slot's status. A reader that refuses to tell it may be one that wants an IccPowerOff before anything
// else (SIMHUB pcsc reader, 1677:0341: https://github.com/LudovicRousseau/CCID/issues/158); it gets one, unless it gives
// power to a card of ours.
func (s *Slot) status(ctx context.Context) (iccStatus, error) {
	if err := s.takeTurn(ctx); err != nil {
		return 0, err
	}
	defer s.giveTurn()
	wait := s.dev.cfg.timing.reader
	a, err := s.doInTurn(ctx, &command{typ: typeGetSlotStatus}, wait)
	if st, _, _ := s.look(); !a.refused() || st == slotPowered {
		return a.icc, err
	}
	if _, off := s.doInTurn(ctx, &command{typ: typePowerOff}, wait); off != nil && !errors.Is(off, uicc.ErrRemoved) {
		return a.icc, err
	}
	a, err = s.doInTurn(ctx, &command{typ: typeGetSlotStatus}, wait)
	return a.icc, err
}
