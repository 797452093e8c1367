package ccid

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"bipd/uicc"
)

// defaultFiDi stands for Fi = 372 and Di = 1, with which every card begins (ISO/IEC 7816-3 clause 8.1).
const defaultFiDi = 0x11

// Clock rate conversion factors Fi by the high half of TA1 and baud rate adjustment factors Di by the low one (ISO/IEC
// 7816-3 tables 7 and 8); 0 = reserved.
var (
	clockFactors = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	baudFactors  = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
)

// factors gives Fi and Di of a TA1; ok is false for a reserved one.
func factors(fidi byte) (f, d int, ok bool) {
	f, d = clockFactors[fidi>>4], baudFactors[fidi&0x0F]
	return f, d, f != 0 && d != 0
}

// parameters are what card and reader agree on for the transmission (CCID clause 6.1.7).
type parameters struct {
	protocol  uicc.Protocol
	fidi      byte
	inverse   bool
	guard     byte // TC1
	waiting   byte // T=0: WI; T=1: BWI<<4 | CWI
	clockStop byte // 0 none, 1 at low, 2 at high, 3 at either
	crc       bool // T=1: the redundancy code is a CRC
	ifsc      byte // T=1
}

// parametersOf reads the parameters for a protocol from the answer to reset, with the rate fidi.
func parametersOf(atr uicc.ATR, p uicc.Protocol, fidi byte) parameters {
	pars := parameters{
		protocol: p, fidi: fidi, inverse: atr.TS == uicc.TSInverse,
		guard: atr.Groups[0].TC.Value, clockStop: atr.Specific(uicc.TGlobal).TA.Value >> 6,
	}
	if p == uicc.T1 {
		g := atr.Specific(uicc.T1)
		pars.waiting, pars.crc, pars.ifsc = 0x4D, g.TC.Value&1 != 0, defaultIFS
		if g.TB.Present {
			pars.waiting = g.TB.Value
		}
		if g.TA.Present && g.TA.Value >= 1 && g.TA.Value <= maxIFS {
			pars.ifsc = g.TA.Value
		}
		return pars
	}
	pars.waiting = 10
	if len(atr.Groups) > 1 && atr.Groups[1].TC.Present && atr.Groups[1].TC.Value != 0 {
		pars.waiting = atr.Groups[1].TC.Value // TC2
	}
	return pars
}

// appendBinary appends abProtocolDataStructure: 5 octets for T=0, 7 for T=1.
func (p parameters) appendBinary(b []byte) []byte {
	var tcckst byte
	if p.inverse {
		tcckst |= 0x02
	}
	if p.protocol == uicc.T0 {
		return append(b, p.fidi, tcckst, p.guard, p.waiting, p.clockStop)
	}
	tcckst |= 0x10
	if p.crc {
		tcckst |= 0x01
	}
	return append(b, p.fidi, tcckst, p.guard, p.waiting, p.clockStop, p.ifsc, 0)
}

// clock is the frequency in kHz that the reader gives the card. Where the descriptor's is out of the question it is the
// lowest that a card must take, so that times are rather too long.
func (d Descriptor) clock() int {
	if d.DefaultClock < 1000 || d.DefaultClock > 20000 {
		return 1000
	}
	return int(d.DefaultClock)
}

// baud is the rate in bit/s of a TA1 at the reader's clock; 0 for a reserved one.
func (d Descriptor) baud(fidi byte) int {
	f, di, ok := factors(fidi)
	if !ok {
		return 0
	}
	return d.clock() * 1000 * di / f
}

// waitingTime is the longest silence of the card: the work waiting time for T=0 (ISO/IEC 7816-3 clause 10.2), the block
// waiting time for T=1 (clause 11.4.3).
func (p parameters) waitingTime(d Descriptor) time.Duration {
	f, di, ok := factors(p.fidi)
	if !ok {
		f, di = 372, 1
	}
	clock := d.clock()
	if p.protocol == uicc.T0 {
		return cycles(960*int(p.waiting)*f, clock)
	}
	bwi := min(p.waiting>>4, 9)
	return cycles(11*f/di+(960*372)<<bwi, clock)
}

// transferTime is how long n characters take on the line.
func (p parameters) transferTime(d Descriptor, n int) time.Duration {
	f, di, ok := factors(p.fidi)
	if !ok {
		f, di = 372, 1
	}
	etu := 12
	if p.guard != 0xFF {
		etu += int(p.guard)
	}
	return cycles(n*etu*f/di, d.clock())
}

// cycles is how long n periods of a clock of so many kHz take.
func cycles(n, kHz int) time.Duration {
	return time.Duration(n) * time.Millisecond / time.Duration(kHz)
}

// protocolFor picks the protocol: the one that the card insists on, or else the first it offers of those that the reader has.
func (d Descriptor) protocolFor(atr uicc.ATR) (uicc.Protocol, error) {
	has := func(p uicc.Protocol) bool {
		return p <= uicc.T1 && (d.Protocols&(1<<p) != 0 || p == uicc.T0 && d.Protocols == 0)
	}
	offered := atr.Protocols()
	if p, ok := atr.SpecificMode(); ok {
		offered = []uicc.Protocol{p}
	}
	for _, p := range offered {
		if has(p) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%w: the card offers %v, the reader has protocols %02X (1: T=0, 2: T=1)", ErrNotSupported, offered, d.Protocols)
}

// implicitRate is the bit of TA2 that says that the rate is not TA1 but what both sides know (ISO/IEC 7816-3 clause 8.3).
const implicitRate = 0x10

// rateFor picks the rate: TA1, or a slower one that the reader has. rates is the reader's list, nil where it has none.
func (d Descriptor) rateFor(atr uicc.ATR, rates []uint32) byte {
	ta1 := atr.FiDi()
	if _, specific := atr.SpecificMode(); specific {
		if atr.Groups[1].TA.Value&implicitRate != 0 {
			return defaultFiDi
		}
		return ta1
	}
	f, di, ok := factors(ta1)
	if !ok {
		return defaultFiDi
	}
	best, bestDi := byte(defaultFiDi), 0
	for i, slower := range baudFactors {
		fidi := ta1&0xF0 | byte(i)
		if slower > bestDi && slower <= di && d.hasRate(fidi, rates) {
			best, bestDi = fidi, slower
		}
	}
	if bestDi == 0 || f == 372 && bestDi == 1 {
		return defaultFiDi
	}
	return best
}

// hasRate tells whether the reader has the rate of a TA1. Rates of a list are rounded; 1 % is what a card bears.
func (d Descriptor) hasRate(fidi byte, rates []uint32) bool {
	baud := d.baud(fidi)
	if d.MaxDataRate != 0 && baud > int(d.MaxDataRate) {
		return false
	}
	return rates == nil || slices.ContainsFunc(rates, func(r uint32) bool {
		diff := baud - int(r)
		return max(diff, -diff)*100 <= baud
	})
}

// rateList asks the reader for its rates, where it says that it has a list. Readers that refuse have none.
func (s *Slot) rateList(ctx context.Context) []uint32 {
	d := s.dev
	if d.desc.DataRates == 0 {
		return nil
	}
	timed, cancel := context.WithTimeout(ctx, d.cfg.timing.reader)
	defer cancel()
	buf := make([]byte, 4*int(d.desc.DataRates))
	n, err := d.t.Control(timed, requestIn, requestRateList, 0, buf)
	if err != nil || n < 4 {
		return nil
	}
	var rates []uint32
	for b := buf[:min(n, len(buf))]; len(b) >= 4; b = b[4:] {
		rates = append(rates, binary.LittleEndian.Uint32(b))
	}
	return rates
}

// configure makes card and reader agree on protocol and rate after a reset, as far as the reader does not do it by itself,
// and gives what they agree on. Where that fails the card is reset, and goes on with what it began with: a reader that
// reads the answer to reset is left to itself then.
func (s *Slot) configure(ctx context.Context, atr uicc.ATR) (parameters, error) {
	d := s.dev.desc
	protocol, err := d.protocolFor(atr)
	if err != nil {
		return parameters{}, fmt.Errorf("%s: %w", s.name, err)
	}
	pars := parametersOf(atr, protocol, s.chooseRate(ctx, atr))
	pars.fidi, err = s.agree(ctx, atr, pars)
	_, specific := atr.SpecificMode()
	automatic := d.Features.Has(AutoPPS|AutoParameters) && protocol == atr.Protocols()[0]
	switch {
	case err == nil, errors.Is(err, uicc.ErrRemoved), ctx.Err() != nil, specific:
		return pars, err
	case pars.fidi == defaultFiDi && !automatic:
		return pars, err
	}
	s.dev.cfg.Log.Warn("card and reader do not agree on the parameters, going on with those they began with", "slot", s.name, "error", err)
	if _, atr, err = s.powerUp(ctx, uicc.ColdReset); err != nil {
		return parameters{}, err
	}
	if automatic {
		return pars, nil
	}
	pars = parametersOf(atr, protocol, defaultFiDi)
	pars.fidi, err = s.agree(ctx, atr, pars)
	return pars, err
}

// chooseRate chooses the rate for what follows the answer to reset. Of a reader that negotiates by itself it is a guess,
// which serves for the waiting times alone. At APDU level the host cannot make a PPS, so that a card that offers a rate
// keeps to the one it began with; in specific mode it has begun with that of TA1.
func (s *Slot) chooseRate(ctx context.Context, atr uicc.ATR) byte {
	d := s.dev.desc
	_, specific := atr.SpecificMode()
	switch {
	case atr.FiDi() == defaultFiDi:
		return defaultFiDi
	case specific, d.Features.Has(AutoNegotiation):
		return d.rateFor(atr, nil)
	case d.Features.Has(AutoPPS), d.Level() == LevelTPDU:
		return d.rateFor(atr, s.rateList(ctx))
	}
	return defaultFiDi
}

// agree makes the PPS and sets the parameters, as the reader needs it (CCID table 5.1-1), and gives the rate agreed on. A
// rate that was not agreed on comes with the error.
//
//	AutoNegotiation, whatever else   nothing: the reader does it all
//	AutoPPS                          SetParameters, with which the reader makes the PPS
//	neither                          PPS, at TPDU level and not in specific mode; SetParameters; the rate, where it does not follow
func (s *Slot) agree(ctx context.Context, atr uicc.ATR, pars parameters) (fidi byte, err error) {
	d := s.dev.desc
	_, specific := atr.SpecificMode()
	byHost := !d.Features.Has(AutoPPS)
	switch {
	case d.Features.Has(AutoNegotiation):
		return pars.fidi, nil
	case byHost && d.Level() == LevelTPDU && !specific && (pars.fidi != defaultFiDi || pars.protocol != atr.Protocols()[0]):
		if fidi, err = s.pps(ctx, pars.protocol, pars.fidi); err != nil {
			return pars.fidi, err
		}
		pars.fidi = fidi
	}
	if err := s.setParameters(ctx, pars); notChangeable(err) && (pars.fidi == defaultFiDi || specific) {
		s.dev.cfg.Log.Warn("the reader keeps its own parameters", "slot", s.name, "error", err)
	} else if err != nil {
		return pars.fidi, err
	}
	if byHost && pars.fidi != defaultFiDi && !d.Features.Has(AutoClock|AutoBaudRate) {
		err = s.setDataRate(ctx, d.clock(), d.baud(pars.fidi))
	}
	return pars.fidi, err
}

// notChangeable tells whether a reader has refused SetParameters for one of the parameters: it keeps its own (CCID table
// 6.2-2: bError is the offset of the octet). libccid goes on as well.
func notChangeable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code >= headerLength && e.Code <= 0x7F
}

// ppss is the initial character of a PPS (ISO/IEC 7816-3 clause 9).
const ppss = 0xFF

// pps proposes a protocol and a rate to the card, and gives the rate that it takes: the proposed one, or that which it began
// with.
func (s *Slot) pps(ctx context.Context, p uicc.Protocol, fidi byte) (byte, error) {
	request := []byte{ppss, 0x10 | byte(p), fidi, ppss ^ (0x10 | byte(p)) ^ fidi}
	response, err := s.doCopy(ctx, &command{typ: typeXfrBlock, data: request}, s.dev.cfg.timing.card)
	if err != nil {
		return fidi, err
	}
	kept := []byte{ppss, byte(p), ppss ^ byte(p)} // PPS1 is left out: the card does not take the rate
	switch {
	case slices.Equal(response, request):
		return fidi, nil
	case slices.Equal(response, kept):
		return defaultFiDi, nil
	}
	return fidi, fmt.Errorf("%w: %s: the card answers the PPS % X by % X", ErrProtocol, s.name, request, response)
}

// setParameters sends SetParameters. What the answer holds is not looked at: there are readers that announce none of it.
func (s *Slot) setParameters(ctx context.Context, pars parameters) error {
	c := command{typ: typeSetParameters, specific: [3]byte{byte(pars.protocol)}, data: pars.appendBinary(nil)}
	_, err := s.do(ctx, &c, s.dev.cfg.timing.reader)
	return err
}

// setDataRate sends SetDataRateAndClockFrequency, in kHz and bit/s.
func (s *Slot) setDataRate(ctx context.Context, clock, baud int) error {
	data := binary.LittleEndian.AppendUint32(nil, uint32(clock))
	data = binary.LittleEndian.AppendUint32(data, uint32(baud))
	_, err := s.do(ctx, &command{typ: typeSetDataRate, data: data}, s.dev.cfg.timing.reader)
	return err
}
