package ccid

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bipd/uicc"
)

// Values of bPowerSelect (CCID clause 6.1.1).
const (
	powerAuto = 0
	power5V   = 1
	power3V   = 2
	power1V8  = 3
)

// supply is a voltage that is tried.
type supply struct {
	selection byte     // bPowerSelect
	voltage   Voltages // 0: the reader finds it
	class     byte     // its bit in the class indicator of the ATR (ISO/IEC 7816-3 clause 8.3, TA of T=15)
}

// supplies are the voltages to try in their order: by the reader, or the lowest first (TS 102 221 clause 6.2.3). A reader
// that names none has 5 V.
func (d Descriptor) supplies() []supply {
	if d.Features.Has(AutoVoltage) {
		return []supply{{selection: powerAuto}}
	}
	var list []supply
	for _, s := range []supply{{power1V8, Volt1V8, 4}, {power3V, Volt3, 2}, {power5V, Volt5, 1}} {
		if d.Voltages&s.voltage != 0 {
			list = append(list, s)
		}
	}
	if list == nil {
		list = []supply{{power5V, Volt5, 1}}
	}
	return list
}

// suits tells whether the card says that it works at the voltage. A card without class indicator has answered, that will do.
func (p supply) suits(atr uicc.ATR) bool {
	ta := atr.Specific(uicc.TGlobal).TA
	return p.voltage == 0 || !ta.Present || ta.Value&0x3F == 0 || ta.Value&p.class != 0
}

// mostBusy bounds the tries while the reader is busy.
const mostBusy = 50

// powerUp resets the card and returns its answer to reset. A cold reset tries the voltages; a warm one leaves the voltage as
// it is, and is what IccPowerOn does to a card with power.
func (s *Slot) powerUp(ctx context.Context, kind uicc.ResetKind) (raw []byte, atr uicc.ATR, err error) {
	if kind == uicc.WarmReset {
		if st, _, _ := s.look(); st == slotPowered {
			return s.powerOn(ctx, s.supply)
		}
	}
	supplies := s.dev.desc.supplies()
	for i, sup := range supplies {
		if err := s.powerDown(ctx); err != nil {
			return nil, uicc.ATR{}, err
		}
		raw, atr, err = s.powerOn(ctx, sup)
		last := i == len(supplies)-1
		switch {
		case ctx.Err() != nil, errors.Is(err, uicc.ErrRemoved):
			return nil, uicc.ATR{}, err
		case err == nil && (last || sup.suits(atr)):
			s.supply = sup
			return raw, atr, nil
		}
	}
	return nil, uicc.ATR{}, err
}

// powerOn sends IccPowerOn and reads the answer to reset.
func (s *Slot) powerOn(ctx context.Context, sup supply) ([]byte, uicc.ATR, error) {
	raw, err := s.iccPowerOn(ctx, sup.selection)
	if err != nil {
		if !errors.Is(err, uicc.ErrRemoved) && ctx.Err() == nil {
			s.mute(err)
		}
		return nil, uicc.ATR{}, err
	}
	atr, err := uicc.ParseATR(raw)
	if err != nil && uicc.ATRUsable(err) {
		s.dev.cfg.Log.Warn("the card's answer to reset breaks the standard; the card is used all the same", "slot", s.name, "error", err)
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("ccid: %s: IccPowerOn: %w", s.name, err)
		s.mute(err)
		return nil, uicc.ATR{}, err
	}
	s.powered(raw)
	return raw, atr, nil
}

// iccPowerOn sends IccPowerOn, again while the reader is busy activating the card by itself.
func (s *Slot) iccPowerOn(ctx context.Context, selection byte) ([]byte, error) {
	t := s.dev.cfg.timing
	for range mostBusy {
		atr, err := s.doCopy(ctx, &command{typ: typePowerOn, specific: [3]byte{selection}}, t.powerOn)
		if err == nil {
			return atr, nil
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != codeAutoSequence && e.Code != codeSlotBusy {
			return nil, err
		}
		if err := pause(ctx, t.busy); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s: IccPowerOn: the reader stays busy", ErrProtocol, s.name)
}

// powerDown takes the power from the card for long enough that it forgets everything. Nothing is done to a card that has
// none.
func (s *Slot) powerDown(ctx context.Context) error {
	icc, err := s.status(ctx)
	switch {
	case err != nil:
		return err
	case icc == iccAbsent:
		return s.errRemoved(typePowerOn)
	case icc == iccInactive:
		return nil
	}
	if err := s.powerOff(ctx); err != nil {
		return err
	}
	return pause(ctx, s.dev.cfg.timing.powerDown)
}

// powerOff sends IccPowerOff.
func (s *Slot) powerOff(ctx context.Context) error {
	_, err := s.do(ctx, &command{typ: typePowerOff}, s.dev.cfg.timing.reader)
	return err
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
