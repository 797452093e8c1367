package ccidemu

import (
	"context"
	"errors"

	"bipd/softuicc"
	"bipd/uicc"
)

// slot is one slot of a reader, guarded by the reader's lock but where a worker has its contacts.
type slot struct {
	r      *Reader
	n      int
	reader *softuicc.Reader

	// Of the card.
	insertion int
	present   bool
	changed   bool // since the last NotifySlotChange
	atr       uicc.ATR
	atrError  error
	cfg       softuicc.ContactsConfig
	card      uicc.Card // the card of this insertion, raw
	contacts  *softuicc.Contacts
	active    bool
	voltage   byte // bPowerSelect of the last activation

	// Of the reader.
	told    byte // bmICCStatus of the last answer
	unready bool // until an IccPowerOff
	params  parameters
	clock   uint32 // kHz
	rate    uint32 // bit/s
	stopped bool   // the clock
	wtx     byte   // multiplier that the card has asked for: the next bBWI
	busy    *command
	stop    context.CancelFunc
	chain   chain

	// ABORT in its two halves; -1 = not seen.
	abortRequest int
	abortCommand *command
}

// reply is what an answer is made of.
type reply struct {
	data   []byte
	bError int  // errNone = none
	last   byte // the answer's own field, bChainParameter for one
	silent bool // no answer at all

	removed bool // the card left meanwhile
}

func newSlot(r *Reader, n int) *slot {
	s := &slot{r: r, n: n, reader: softuicc.NewReader("emulated slot")}
	s.reset()
	return s
}

// watch tells the reader of a card that leaves by itself.
func (s *slot) watch(ctx context.Context) {
	defer s.r.watching.Done()
	for range s.reader.Watch(ctx) {
		s.r.mu.Lock()
		s.look()
		s.r.mu.Unlock()
	}
}

// look notices that the card has left by itself. The caller holds mu.
func (s *slot) look() {
	if s.present && s.reader.State() != uicc.SlotPresent {
		s.left()
	}
}

// left notes that the card has left. The caller holds mu.
func (s *slot) left() {
	s.present, s.changed, s.active, s.contacts, s.card = false, true, false, nil, nil
	s.chain = chain{}
	s.r.notify()
}

// inserted notes a new card. The caller holds mu.
func (s *slot) inserted(atr []byte, cfg softuicc.ContactsConfig) {
	s.insertion++
	s.present, s.changed, s.cfg = true, true, cfg
	s.atr, s.atrError = uicc.ParseATR(atr)
	s.active, s.chain = false, chain{}
	if s.r.model.has(FeatureActivation) {
		s.powerOn(0, uicc.ColdReset)
	}
	s.r.notify()
}

// reset is what a USB reset does to a slot. The caller holds mu.
func (s *slot) reset() {
	s.powerOff()
	s.told, s.wtx, s.chain = iccInactive, 0, chain{}
	s.abortRequest, s.abortCommand = -1, nil
	s.unready = s.r.model.NeedsPowerOff
	s.changed = s.present
	s.defaults()
	if s.present && s.r.model.has(FeatureActivation) {
		s.powerOn(0, uicc.ColdReset)
	}
}

// icc is bmICCStatus.
func (s *slot) icc() byte {
	switch {
	case !s.present:
		return iccAbsent
	case s.active:
		return iccActive
	}
	return iccInactive
}

// answer answers a command. The caller holds mu.
func (s *slot) answer(c *command, rep reply) {
	s.told = s.icc()
	status, bError := s.told, byte(0)
	if rep.bError != errNone {
		status, bError, rep.data = status|statusFailed, byte(rep.bError), nil
	}
	s.r.deliver(c, answer(answerType(c.typ), c.slot, c.seq, status, bError, rep.last, rep.data))
}

func (s *slot) fail(c *command, bError int) { s.answer(c, reply{bError: bError}) }

// extend asks the host for more time for a command: bError is the multiplier of the waiting time (CCID clause 6.2.6).
// The caller holds mu.
func (s *slot) extend(c *command, multiplier byte) {
	if c.mute || s.r.gone || !s.present {
		return
	}
	s.r.transmit(answer(answerType(c.typ), c.slot, c.seq, s.icc()|statusTime, multiplier, 0, nil), true)
}

// obey does what a command says. The caller holds mu.
func (s *slot) obey(c *command) {
	if bad := s.judge(c); bad != errNone {
		s.fail(c, bad)
		return
	}
	switch c.typ {
	case msgIccPowerOn:
		s.answer(c, s.iccPowerOn(c))
	case msgIccPowerOff:
		s.unready = false
		s.powerOff()
		s.answer(c, reply{bError: errNone, last: s.clockStatus()})
	case msgGetSlotStatus:
		if s.unready {
			s.fail(c, errUnsupported)
			return
		}
		s.answer(c, reply{bError: errNone, last: s.clockStatus()})
	case msgGetParameters, msgResetParameters, msgSetParameters:
		s.answer(c, s.parametersCommand(c))
	case msgIccClock:
		s.answer(c, s.iccClock(c))
	case msgSetDataRate:
		s.answer(c, s.setDataRate(c))
	case msgXfrBlock:
		s.xfrBlock(c)
	case msgAbort:
		s.abort(c)
	case msgT0APDU:
		if s.r.model.level()&(FeatureShort|FeatureExtended) != 0 {
			s.answer(c, reply{bError: errNone, last: s.clockStatus()})
			return
		}
		s.fail(c, errUnsupported)
	default:
		s.fail(c, errUnsupported)
	}
}

// judge checks what the standard says of a command's length and fields.
func (s *slot) judge(c *command) int {
	lengths := map[byte]int{
		msgIccPowerOn: 0, msgIccPowerOff: 0, msgGetSlotStatus: 0, msgGetParameters: 0, msgResetParameters: 0,
		msgIccClock: 0, msgAbort: 0, msgSetDataRate: 8, msgMechanical: 0, msgT0APDU: 0,
	}
	if n, ok := lengths[c.typ]; ok && len(c.data) != n {
		s.r.violate("6.1", c.raw, "%s with %d octets of data", name(c.typ), len(c.data))
		return errLength
	}
	used := map[byte]int{ // octets of the three that have a meaning
		msgIccPowerOn: 1, msgSetParameters: 1, msgIccClock: 1, msgMechanical: 1, msgXfrBlock: 3, msgSecure: 3, msgT0APDU: 3,
	}
	for _, b := range c.specific[used[c.typ]:] {
		if b != 0 {
			s.r.violate("6.1", c.raw, "%s with RFU octets %X", name(c.typ), c.specific)
			break
		}
	}
	return errNone
}

// iccPowerOn answers IccPowerOn (CCID clause 6.1.1). The standard lets it be a warm reset of a card that is active.
func (s *slot) iccPowerOn(c *command) reply {
	m := &s.r.model
	sel := c.specific[0]
	switch {
	case sel > 3, sel == 0 && !m.has(FeatureVoltage), sel > 0 && m.Voltage&(1<<(sel-1)) == 0:
		s.r.violate("6.1.1", c.raw, "bPowerSelect %d: bVoltageSupport is %02X, dwFeatures %08X", sel, m.Voltage, m.Features)
		return reply{bError: errFirst}
	case !s.present:
		return reply{bError: errMute}
	}
	kind := uicc.ColdReset
	if s.active {
		kind = uicc.WarmReset
		if sel != 0 && s.voltage != 0 && sel != s.voltage {
			s.r.violate("6.1.1", c.raw, "bPowerSelect goes from %d to %d without IccPowerOff", s.voltage, sel)
			kind = uicc.ColdReset
		}
	}
	atr, bad := s.powerOn(sel, kind)
	return reply{data: atr, bError: bad}
}

// powerOn activates or resets the card and returns its answer to reset. The caller holds mu.
func (s *slot) powerOn(sel byte, kind uicc.ResetKind) ([]byte, int) {
	m := &s.r.model
	s.chain, s.wtx, s.stopped = chain{}, 0, false
	s.defaults()
	if !s.withinClass(sel) {
		s.powerOff()
		return nil, errMute
	}
	ctx := context.Background()
	if kind == uicc.ColdReset || s.contacts == nil {
		card, err := s.reader.Connect(ctx)
		if err != nil {
			s.active = false
			return nil, errMute
		}
		s.card, s.contacts = card, softuicc.NewContacts(card, s.cfg)
	}
	atr, err := s.contacts.Reset(ctx, kind)
	if err != nil {
		s.powerOff()
		return nil, errMute
	}
	if m.has(FeatureParameters|FeatureNegotiation) && !m.Verbatim && s.atrError != nil && !errors.Is(s.atrError, uicc.ErrAfterATR) {
		s.powerOff()
		if errors.Is(s.atrError, uicc.ErrTCK) {
			return nil, errBadTCK
		}
		return nil, errBadTS
	}
	s.active, s.voltage = true, sel
	s.configure()
	return atr, errNone
}

// withinClass tells whether the card works at a voltage, as far as its answer to reset says (ISO/IEC 7816-3 clause
// 8.3: TA of T=15, class A 5 V, B 3 V, C 1.8 V). A reader that chooses by itself tries them all.
func (s *slot) withinClass(sel byte) bool {
	ta := s.atr.Specific(uicc.TGlobal).TA
	if !ta.Present || ta.Value&7 == 0 {
		return true
	}
	if sel == 0 {
		return ta.Value&7&s.r.model.Voltage != 0
	}
	return ta.Value&(1<<(sel-1)) != 0
}

// powerOff deactivates the card. The caller holds mu.
func (s *slot) powerOff() {
	if s.contacts != nil {
		_ = s.contacts.Off() // a card that is gone has no power either
	}
	s.active, s.voltage, s.chain, s.wtx = false, 0, chain{}, 0
	s.defaults()
}

// clockStatus is bClockStatus.
func (s *slot) clockStatus() byte {
	if s.stopped {
		return 1
	}
	return 0
}

// iccClock answers IccClock (CCID clause 6.1.9).
func (s *slot) iccClock(c *command) reply {
	switch {
	case !s.r.model.has(FeatureClockStop):
		return reply{bError: errUnsupported}
	case c.specific[0] > 1:
		s.r.violate("6.1.9", c.raw, "bClockCommand %d", c.specific[0])
		return reply{bError: errFirst}
	case !s.active:
		return reply{bError: errMute}
	}
	s.stopped = c.specific[0] == 1
	return reply{bError: errNone, last: s.clockStatus()}
}
