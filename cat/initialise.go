package cat

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"bipd/trace"
	"bipd/uicc"
)

// ErrPIN says that the card wants a PIN that is not configured, is wrong, or may not be tried. Trying again would block the card.
var ErrPIN = errors.New("cat: PIN")

// usimAID begins the application identifier of every USIM (ETSI TS 101 220 annex E: 3GPP, application 1002).
var usimAID = []byte{0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02}

// initialise brings the card to where it may start proactive commands (3GPP TS 31.102 clause 5.1.1, 3GPP TS 31.111
// clause 4.2): select the USIM that EF_DIR names, verify the PIN if one is configured, TERMINAL PROFILE, STATUS "initialised".
func (s *Session) initialise(ctx context.Context) error {
	if err := s.selectApplication(ctx); err != nil {
		return err
	}
	if err := s.verifyPIN(ctx); err != nil {
		return err
	}
	if err := s.sendProfile(ctx); err != nil {
		return err
	}
	return s.tellInitialised(ctx)
}

// tellInitialised says that the application is initialised (ETSI TS 102 221 clause 11.1.2: P1 01).
func (s *Session) tellInitialised(ctx context.Context) error {
	sw, err := s.status(ctx, 0x01)
	if err == nil && !sw.OK() {
		s.log.Warn("card refused STATUS", "sw", sw)
	}
	return err
}

// sendProfile sends the TERMINAL PROFILE.
func (s *Session) sendProfile(ctx context.Context) error {
	profile := s.Profile()
	s.log.Info("card session starts", "atr", hexOf(s.card.ATR()), "gsm", s.gsm, "profile", hexOf(profile), "profile_offers", offers(profile))
	s.emit(trace.CP, trace.UICC, "TERMINAL PROFILE")
	_, sw, err := s.transmit(ctx, s.toolkitClass(), insTerminalProfile, 0, 0, profile, 0)
	if err == nil && !sw.OK() {
		s.log.Warn("card refused the TERMINAL PROFILE: it has no toolkit", "sw", sw)
	}
	return err
}

// selectApplication selects the first USIM of EF_DIR, or the GSM directory of a card that knows class A0 only. A card
// without either is served as it is: its toolkit may still run.
func (s *Session) selectApplication(ctx context.Context) error {
	_, sw, err := s.selectFile(ctx, classInterindustry, 0x00, []byte{0x3F, 0x00})
	if err != nil {
		return err
	}
	if sw == uicc.SWClassNotSupported {
		s.gsm = true
		if err := s.checkICCID(ctx, classGSM); err != nil {
			return err
		}
		s.directory, sw, err = s.selectFile(ctx, classGSM, 0x00, []byte{0x7F, 0x20})
		if err == nil && !sw.OK() {
			s.log.Warn("card has no GSM directory", "sw", sw)
		}
		return err
	}
	if err := s.checkICCID(ctx, classInterindustry); err != nil {
		return err
	}
	aid, err := s.findUSIM(ctx)
	if err != nil {
		return err
	}
	if aid == nil {
		s.log.Warn("card names no USIM in EF_DIR")
		return nil
	}
	_, sw, err = s.selectFile(ctx, classInterindustry, 0x04, aid)
	if err == nil && !sw.OK() {
		s.log.Warn("card refused to select the USIM", "aid", hexOf(aid), "sw", sw)
	}
	return err
}

// checkICCID notes whether the card is the one that the PIN is for, where it is for one alone: its EF_ICCID (ETSI TS
// 102 221 clause 13.2) can be read without a PIN. An eUICC tells the ICCID of the profile that is enabled. The current
// directory is the master file, and that of a class A0 card becomes it.
func (s *Session) checkICCID(ctx context.Context, cla byte) error {
	if s.notPINs = s.cfg.PIN != "" && s.cfg.PINICCID != ""; !s.notPINs {
		return nil
	}
	if cla == classGSM { // which has not selected it yet
		if _, _, err := s.selectFile(ctx, cla, 0x00, []byte{0x3F, 0x00}); err != nil {
			return err
		}
	}
	var data []byte
	_, sw, err := s.selectFile(ctx, cla, 0x00, []byte{0x2F, 0xE2})
	if err == nil && sw.OK() {
		data, sw, err = s.transmit(ctx, cla, insReadBinary, 0, 0, nil, iccidLength)
	}
	switch {
	case err != nil:
		return err
	case !sw.OK():
		s.log.Warn("PIN not tried: the card does not tell its ICCID", "sw", sw)
	case iccidDigits(data) != s.cfg.PINICCID:
		s.log.Warn("PIN not tried: it is for a card with another ICCID", "iccid", iccidDigits(data))
	default:
		s.notPINs = false
	}
	return nil
}

const iccidLength = 10 // octets of EF_ICCID

// iccidDigits reads the digits of EF_ICCID, two an octet, the lower half first; F fills the rest.
func iccidDigits(b []byte) string {
	var digits []byte
	for _, o := range b {
		for _, half := range [2]byte{o & 0x0F, o >> 4} {
			if half > 9 {
				return string(digits)
			}
			digits = append(digits, '0'+half)
		}
	}
	return string(digits)
}

func (s *Session) selectFile(ctx context.Context, cla, p1 byte, id []byte) ([]byte, uicc.StatusWord, error) {
	p2 := byte(0x04) // return the FCP template
	if cla == classGSM {
		p2 = 0x00
	}
	return s.transmit(ctx, cla, insSelect, p1, p2, id, 0)
}

// maxRecords bounds the walk through EF_DIR (a record number has one octet).
const maxRecords = 254

// findUSIM reads EF_DIR (ETSI TS 102 221 clause 13.1) and returns the AID of the first USIM, nil where there is none.
func (s *Session) findUSIM(ctx context.Context) ([]byte, error) {
	_, sw, err := s.selectFile(ctx, classInterindustry, 0x00, []byte{0x2F, 0x00})
	if err != nil || !sw.OK() {
		return nil, err
	}
	for record := byte(1); record <= maxRecords; record++ {
		data, sw, err := s.transmit(ctx, classInterindustry, insReadRecord, record, 0x04, nil, 256)
		if err != nil || !sw.OK() {
			return nil, err // 6A83: no more records
		}
		if aid := applicationID(data); bytes.HasPrefix(aid, usimAID) {
			return aid, nil
		}
	}
	return nil, nil
}

// applicationID takes the AID (tag 4F) out of an application template (tag 61), nil where the record holds none.
func applicationID(record []byte) []byte {
	if len(record) < 2 || record[0] != 0x61 {
		return nil
	}
	inner, _, err := splitLength(record[1:]) // FF pads the record
	for err == nil && len(inner) > 1 {
		tag := inner[0]
		var v []byte
		v, inner, err = splitLength(inner[1:])
		if err == nil && tag == 0x4F {
			return v
		}
	}
	return nil
}

// keyGlobalPIN is the key reference of the first application PIN (ETSI TS 102 221 clause 9.5.1); class A0 cards call it CHV1.
const keyGlobalPIN = 0x01

// verifyPIN presents the configured PIN, unless it is another card's or the card does not ask for one. It never uses the
// last try, nor one of a card that does not tell how many are left.
func (s *Session) verifyPIN(ctx context.Context) error {
	if s.cfg.PIN == "" || s.notPINs {
		return nil
	}
	if n := len(s.cfg.PIN); n < 4 || n > 8 {
		return fmt.Errorf("%w: it must have 4 to 8 digits", ErrPIN)
	}
	tries, wanted, err := s.pinTries(ctx)
	switch {
	case err != nil:
		return err
	case !wanted:
		return nil
	case tries < 2:
		return fmt.Errorf("%w: not tried, for %d of its tries remain", ErrPIN, tries)
	}
	cla := byte(classInterindustry)
	if s.gsm {
		cla = classGSM
	}
	data := bytes.Repeat([]byte{0xFF}, 8)
	copy(data, s.cfg.PIN)
	_, sw, err := s.transmit(ctx, cla, insVerify, 0, keyGlobalPIN, data, 0)
	if err == nil && !sw.OK() && sw != swReferenceInvalid {
		err = fmt.Errorf("%w: refused by the card: %v", ErrPIN, sw)
	}
	return err
}

// swReferenceInvalid answers VERIFY where the PIN is disabled (ETSI TS 102 221 clause 10.2.1.5).
const swReferenceInvalid uicc.StatusWord = 0x6984

// pinTries asks the card whether it wants the PIN and how many tries are left. A class A0 card has told with its
// directory (3GPP TS 51.011 clause 9.2.1: octet 14 bit 8, PIN disabled; octet 19 bits 1 to 4, tries); another says it in
// answer to VERIFY without a PIN (ETSI TS 102 221 clause 11.1.9).
func (s *Session) pinTries(ctx context.Context) (tries int, wanted bool, err error) {
	if s.gsm {
		if len(s.directory) < 19 {
			return 0, true, fmt.Errorf("%w: not tried, for the card does not tell how many tries remain", ErrPIN)
		}
		return int(s.directory[18] & 0x0F), s.directory[13]&0x80 == 0, nil
	}
	_, sw, err := s.transmit(ctx, classInterindustry, insVerify, 0, keyGlobalPIN, nil, 0)
	switch {
	case err != nil:
		return 0, true, err
	case sw.OK(), sw == swReferenceInvalid: // verified already, or disabled
		return 0, false, nil
	case sw&0xFFF0 == 0x63C0:
		return int(sw & 0x0F), true, nil
	}
	return 0, true, fmt.Errorf("%w: not tried, for the card does not tell how many tries remain: %v", ErrPIN, sw)
}
