package ccidemu

import (
	"encoding/binary"
	"slices"

	"bipd/uicc"
)

// parameters are the protocol data structure of Parameters (CCID clause 6.1.7): five octets under T=0, seven under T=1.
type parameters struct {
	protocol uicc.Protocol
	data     []byte
}

// Offsets in the protocol data structure.
const (
	paramFiDi       = 0 // bmFindexDindex
	paramConvention = 1 // bmTCCKST0, bmTCCKST1
	paramGuard      = 2 // bGuardTime
	paramWaiting    = 3 // bWaitingIntegerT0, bmWaitingIntegersT1
	paramClockStop  = 4 // bClockStop
	paramIFSC       = 5 // bIFSC
	paramNAD        = 6 // bNadValue
)

const defaultFiDi = 0x11

// defaults are the parameters of a card that nothing is known of.
func (s *slot) defaults() {
	s.params = parameters{uicc.T0, []byte{defaultFiDi, 0x00, 0x00, 0x0A, 0x00}}
	s.clock, s.rate = s.r.model.Clock, s.r.model.DataRate
}

// parametersOf are the parameters that an answer to reset asks for (ISO/IEC 7816-3 clauses 8.3, 10.2 and 11.4).
func parametersOf(a uicc.ATR, p uicc.Protocol, fidi byte) parameters {
	var convention, guard byte
	if a.TS == uicc.TSInverse {
		convention = 0x02
	}
	if len(a.Groups) > 0 {
		guard = a.Groups[0].TC.Value
	}
	if p != uicc.T1 {
		waiting := byte(10)
		if len(a.Groups) > 1 && a.Groups[1].TC.Present {
			waiting = a.Groups[1].TC.Value
		}
		return parameters{uicc.T0, []byte{fidi, convention, guard, waiting, 0}}
	}
	waiting, ifsc := byte(0x4D), byte(32)
	one := a.Specific(uicc.T1)
	if one.TB.Present {
		waiting = one.TB.Value
	}
	if one.TA.Present {
		ifsc = one.TA.Value
	}
	return parameters{uicc.T1, []byte{fidi, 0x10 | convention | one.TC.Value&1, guard, waiting, 0, ifsc, 0}}
}

// parametersCommand answers GetParameters, ResetParameters and SetParameters (CCID clauses 6.1.5 to 6.1.7).
func (s *slot) parametersCommand(c *command) reply {
	if c.typ == msgSetParameters {
		if bad := s.checkParameters(c); bad != errNone {
			return reply{bError: bad}
		}
	}
	if !s.present {
		return reply{bError: errMute}
	}
	switch c.typ {
	case msgSetParameters:
		if bad := s.setParameters(c); bad != errNone {
			return reply{bError: bad}
		}
	case msgResetParameters:
		s.defaults()
	}
	return reply{data: slices.Clone(s.params.data), bError: errNone, last: byte(s.params.protocol)}
}

// checkParameters checks SetParameters by itself.
func (s *slot) checkParameters(c *command) int {
	p, d := c.specific[0], c.data
	switch {
	case p > 1, s.r.model.Protocols&(1<<p) == 0:
		s.r.violate("6.1.7", c.raw, "bProtocolNum %d, dwProtocols is %X", p, s.r.model.Protocols)
		return errFirst
	case p == 0 && len(d) != 5, p == 1 && len(d) != 7:
		s.r.violate("6.1.7", c.raw, "%d octets of parameters for T=%d", len(d), p)
		return errLength
	case !validFiDi(d[paramFiDi]):
		s.r.violate("6.1.7", c.raw, "bmFindexDindex %02X", d[paramFiDi])
		return headerLength + paramFiDi
	case s.active && s.tooFast(d[paramFiDi]):
		s.r.violate("5.1", c.raw, "%d bit/s, dwMaxDataRate is %d", rateOf(s.clock, d[paramFiDi]), s.r.model.MaxDataRate)
		return headerLength + paramFiDi
	case p == 0 && d[paramConvention]&^0x02 != 0, p == 1 && d[paramConvention]&^0x03 != 0x10:
		s.r.violate("6.1.7", c.raw, "bmTCCKST%d %02X", p, d[paramConvention])
		return headerLength + paramConvention
	case d[paramClockStop] > 3:
		s.r.violate("6.1.7", c.raw, "bClockStop %02X", d[paramClockStop])
		return headerLength + paramClockStop
	case p == 1 && (d[paramIFSC] == 0 || d[paramIFSC] == 0xFF):
		s.r.violate("6.1.7", c.raw, "bIFSC %02X", d[paramIFSC])
		return headerLength + paramIFSC
	case p == 1 && d[paramNAD] != 0 && !s.r.model.has(FeatureNAD):
		s.r.violate("6.1.7", c.raw, "bNadValue %02X", d[paramNAD])
		return headerLength + paramNAD
	}
	return errNone
}

// tooFast tells whether the host proposes a rate beyond the reader's. That of a card in specific mode is not its proposal.
func (s *slot) tooFast(fidi byte) bool {
	_, specific := s.atr.SpecificMode()
	return !specific && rateOf(s.clock, fidi) > s.r.model.MaxDataRate+s.r.model.MaxDataRate/50
}

// setParameters makes the reader use parameters, after the PPS that the reader makes with them, and compares them with
// what the card asked for. The caller holds mu.
func (s *slot) setParameters(c *command) int {
	wanted := parameters{uicc.Protocol(c.specific[0]), slices.Clone(c.data)}
	m := &s.r.model
	if m.has(FeatureNegotiation) {
		s.r.violate("5.1", c.raw, "SetParameters, which dwFeatures %08X leaves to the reader", m.Features)
	}
	before := s.params
	s.params = wanted
	if !s.active || m.Verbatim {
		return errNone
	}
	if m.has(FeaturePPS) && !s.ppsOfParameters() {
		s.params = before
		return errFirst
	}
	right := parametersOf(s.atr, s.contacts.Protocol(), s.contacts.FiDi())
	right.data[paramClockStop] = wanted.data[paramClockStop]
	if m.has(FeaturePPS) && s.params.data[paramFiDi] != c.data[paramFiDi] {
		right.data[paramFiDi] = c.data[paramFiDi] // the card kept its rate in the PPS, for which the host can do nothing
	}
	if wanted.protocol != right.protocol {
		s.r.violate("6.1.7", c.raw, "parameters of %v, the card speaks %v", wanted.protocol, right.protocol)
	} else if !slices.Equal(c.data, right.data) {
		s.r.violate("6.1.7", c.raw, "parameters %X, the card's are %X", c.data, right.data)
	}
	return errNone
}

// configure sets the parameters after the answer to reset as far as the reader does so by itself: it negotiates, or takes
// what the answer to reset offers, which the card speaks only after a PPS. The caller holds mu.
func (s *slot) configure() {
	m := &s.r.model
	if m.Verbatim || !m.has(FeatureNegotiation|FeatureParameters) {
		return
	}
	protocol, fidi := s.contacts.Protocol(), s.contacts.FiDi()
	if _, specific := s.atr.SpecificMode(); !specific && m.has(FeatureNegotiation|FeaturePPS) {
		if validFiDi(s.atr.FiDi()) && rateOf(s.clock, s.atr.FiDi()) <= m.MaxDataRate {
			fidi = s.atr.FiDi()
		}
		if m.Protocols&(1<<protocol) == 0 && len(s.atr.Protocols()) > 1 {
			protocol = s.atr.Protocols()[1]
		}
	}
	s.params = parametersOf(s.atr, protocol, fidi)
	if m.has(FeatureNegotiation) {
		s.ppsOfParameters()
	}
}

// ppsOfParameters makes the PPS that the parameters ask for, and notes the rate that came of it. It reports whether the
// card speaks the protocol of the parameters now.
func (s *slot) ppsOfParameters() bool {
	_, specific := s.atr.SpecificMode()
	fresh := s.contacts.Fresh()
	ok := s.pps(s.params.protocol, s.params.data[paramFiDi])
	if ok && fresh && !specific {
		s.params.data[paramFiDi] = s.contacts.FiDi()
	}
	return ok
}

// Coding of Fi and Di (ISO/IEC 7816-3 tables 7 and 8); 0 is RFU.
var (
	fi = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	di = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
)

func validFiDi(b byte) bool { return fi[b>>4] != 0 && di[b&0x0F] != 0 }

// rateOf is the rate in bit/s at a clock in kHz.
func rateOf(clock uint32, fidi byte) uint32 {
	if !validFiDi(fidi) {
		fidi = defaultFiDi
	}
	return uint32(uint64(clock) * 1000 * uint64(di[fidi&0x0F]) / uint64(fi[fidi>>4]))
}

// pps makes a PPS exchange where the card awaits one and it would change something, and reports whether the card speaks p now.
// A speed beyond what the reader can is not asked for.
func (s *slot) pps(p uicc.Protocol, fidi byte) bool {
	if _, specific := s.atr.SpecificMode(); specific || !s.contacts.Fresh() {
		return s.contacts.Protocol() == p
	}
	if rateOf(s.clock, fidi) > s.r.model.MaxDataRate {
		fidi = defaultFiDi
	}
	if p == s.contacts.Protocol() && fidi == defaultFiDi {
		return true
	}
	if !slices.Contains(s.atr.Protocols(), p) {
		return false
	}
	request := []byte{0xFF, byte(p), 0}
	if fidi != defaultFiDi {
		request = []byte{0xFF, 0x10 | byte(p), fidi, 0}
	}
	for _, b := range request[:len(request)-1] {
		request[len(request)-1] ^= b
	}
	var got []byte
	err := s.contacts.Characters(s.r.work, request, func(b byte) { got = append(got, b) })
	return err == nil && len(got) >= 3 && s.contacts.Protocol() == p
}

// setDataRate answers SetDataRateAndClockFrequency (CCID clause 6.1.14).
func (s *slot) setDataRate(c *command) reply {
	m := &s.r.model
	clock, rate := binary.LittleEndian.Uint32(c.data), binary.LittleEndian.Uint32(c.data[4:])
	switch {
	case m.has(FeatureClock) && m.has(FeatureBaud):
		return reply{bError: errUnsupported}
	case clock == 0 || clock > m.MaxClock || rate == 0 || rate > m.MaxDataRate:
		s.r.violate("6.1.14", c.raw, "%d kHz and %d bit/s, the reader has at most %d and %d", clock, rate, m.MaxClock, m.MaxDataRate)
		return reply{bError: errLength + headerLength - 1}
	}
	s.clock, s.rate = clock, rate
	return reply{data: slices.Clone(c.data), bError: errNone}
}

// lineFault says why reader and card do not understand each other, or "". The caller holds mu.
func (s *slot) lineFault() string {
	m, p := &s.r.model, s.params
	fidi := s.contacts.FiDi()
	switch {
	case p.protocol != s.contacts.Protocol():
		return "the reader's parameters are of " + p.protocol.String() + ", the card speaks " + s.contacts.Protocol().String()
	case p.data[paramFiDi] != fidi:
		return "the reader's bmFindexDindex is not the card's"
	case p.data[paramConvention]&2 != 0 != (s.atr.TS == uicc.TSInverse):
		return "the reader's convention is not the card's"
	case rateOf(s.clock, fidi) > m.MaxDataRate+m.MaxDataRate/50:
		return "the card is faster than dwMaxDataRate"
	case !m.has(FeatureBaud) && !near(s.rate, rateOf(s.clock, fidi)):
		return "the reader's data rate is not the card's"
	}
	return ""
}

// near tells whether two rates differ by less than 2 %, which both ends of a line bear (ISO/IEC 7816-3 clause 7.2).
func near(a, b uint32) bool {
	diff := max(a, b) - min(a, b)
	return uint64(diff)*50 < uint64(max(a, b))
}
