package ccidemu

import (
	"strings"
	"testing"

	"bipd/softuicc"
)

// Raw messages against each model: the answers are the standard's.

const (
	active   = "000000"
	getMF    = "00A40004023F00"
	status00 = "80F2000C00"
)

// TestModelsAnswer asks each model what every reader answers alike.
func TestModelsAnswer(t *testing.T) {
	for _, m := range Models() {
		t.Run(m.Name, func(t *testing.T) {
			h := newHost(t, m)
			sel := "000000"
			if !m.has(FeatureVoltage) {
				sel = "010000"
			}
			if m.Verbatim {
				return // below
			}
			last := byte(m.Slots - 1)
			if m.NeedsPowerOff {
				h.expect(msgGetSlotStatus, last, "000000", "", "420000")
				h.expect(msgIccPowerOff, last, "000000", "", "020000")
			}
			h.expect(msgGetSlotStatus, last, "000000", "", "020000")
			h.expect(msgIccPowerOn, last, sel, "", "42FE00")
			h.expect(msgIccPowerOff, last, "000000", "", "020000")
			h.expect(msgGetParameters, last, "000000", "", "42FE00")
			h.expect(msgEscape, last, "000000", "0102", "420000")
			h.expect(msgSecure, last, "000000", "", "420000")
			h.expect(msgMechanical, last, "010000", "", "420000")
			h.expect(0x7F, last, "000000", "", "420000")
			h.clean()
			h.expect(msgGetSlotStatus, last+1, "000000", "", "420500")
			h.insert(int(last), "", softuicc.ContactsConfig{})
			if m.has(FeatureActivation) {
				h.expect(msgGetSlotStatus, last, "000000", "", "000000")
			} else {
				h.expect(msgGetSlotStatus, last, "000000", "", "010000")
			}
			h.expect(msgIccPowerOn, last, sel, "", "000000 "+softATR)
			h.expect(msgGetParameters, last, "000000", "", "000000 1100000A00")
			h.expect(msgIccPowerOn, last, sel, "", "000000 "+softATR) // a warm reset
			h.expect(msgIccPowerOff, last, "000000", "", "010000")
			h.expect(msgIccPowerOff, last, "000001", "", "010000")
			h.breaches("bSlot", "RFU")
		})
	}
}

func TestQEMU(t *testing.T) {
	h := newHost(t, QEMU())
	h.insert(0, "", softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+softATR)
	h.expect(msgXfrBlock, 0, "000000", getMF, active+" 611F")
	h.expect(msgXfrBlock, 0, "000000", "80F2000C", active+" 9000") // no TPDU: it does not look
	h.expect(msgGetSlotStatus, 7, "000000", "", "000000")          // bSlot 7 is echoed and means 0
	for typ, data := range map[byte]string{msgEscape: "00", msgSecure: "", msgSetDataRate: "0000000000000000"} {
		c := h.command(typ, 0, "000000", unhex(t, data))
		h.send(c)
		if a := h.receive(); tohex(a) != "8100000000"+"00"+tohex(c[6:7])+"400000" {
			t.Errorf("%s: answer %X", name(typ), a)
		}
	}
	c := h.command(msgGetParameters, 0, "000000", nil)
	h.send(c)
	if a := h.receive(); tohex(a) != "8200000000"+"00"+tohex(c[6:7])+"000000"+"1100000A000000" {
		t.Errorf("parameters %X", a)
	}
	if _, err := h.tr.Control(h.ctx, typeClassOut, requestAbort, 0, nil); err == nil {
		t.Error("ABORT is taken")
	}
	h.expect(msgAbort, 0, "000000", "", "400000")
	h.clean()
	h.expect(msgIccPowerOff, 0, "000000", "", "010000")
	h.expect(msgXfrBlock, 0, "000000", status00, "010000") // no error bit
	h.r.Remove(0)
	h.expect(msgXfrBlock, 0, "000000", status00, "020000")
	h.breaches("bmICCStatus was 1", "bmICCStatus was 1")
}

// TestNegotiation has a reader that negotiates by itself: the host sets nothing, and breaks the standard where it does.
func TestNegotiation(t *testing.T) {
	for _, features := range []uint32{FeatureNegotiation, FeatureNegotiation | FeaturePPS, FeatureNegotiation | FeatureParameters} {
		m := MultiSlot(1)
		m.Features |= features
		h := newHost(t, m)
		h.insert(0, atrSpeed, softuicc.ContactsConfig{})
		h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
		h.expect(msgGetParameters, 0, "000000", "", active+" 9500000A00")
		h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
		h.clean()
		h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
		h.expect(msgSetParameters, 0, "000000", "9500000A00", active+" 9500000A00")
		h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
		h.expect(msgXfrBlock, 0, "000000", "FF10957A", "400100") // the card has had its PPS
		h.breaches("leaves to the reader", "no TPDU")
		h.r.Unplug()
	}
}

// TestPPSOfParameters has readers that make the PPS that the parameters ask for: those of the host or, with automatic
// parameters, those of the answer to reset. Without either the card keeps to the rate it began with, and T=1 of a card
// that is spoken to as one of T=0 fails.
func TestPPSOfParameters(t *testing.T) {
	m := MultiSlot(1)
	m.Features |= FeaturePPS
	h := newHost(t, m)
	h.insert(0, atrSpeed, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
	h.expect(msgSetParameters, 0, "000000", "9500000A00", active+" 9500000A00")
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.expect(msgGetParameters, 0, "000000", "", active+" 1100000A00")
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
	h.clean()
	h.expect(msgSetParameters, 0, "000000", "9700000A00", "400A00") // 500 kbit/s
	h.breaches("dwMaxDataRate is 344086")
	h.r.Remove(0)
	h.insert(0, atrOne, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrOne)
	h.expect(msgXfrBlock, 0, "000000", "000004"+"80F2000C"+"7A", "40FD00")
	h.r.Unplug()

	m.Features |= FeatureParameters
	h = newHost(t, m)
	h.insert(0, atrSpeed, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.expect(msgGetParameters, 0, "000000", "", active+" 9500000A00")
	h.clean()
}

// TestHostPPS does by hand what the driver has to do for readers without any automatism.
func TestHostPPS(t *testing.T) {
	h := newHost(t, PCTwin())
	h.insert(0, atrSpeed, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", "FF10957A", active+" FF10957A")
	h.expect(msgSetParameters, 0, "000000", "9500000A00", active+" 9500000A00")
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.clean()

	// Without SetParameters reader and card do not understand each other.
	h.expect(msgIccPowerOff, 0, "000000", "", "010000")
	h.expect(msgIccPowerOn, 0, "020000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", "FF10957A", active+" FF10957A")
	h.expect(msgXfrBlock, 0, "000000", status00, "40FD00")
	// The parameters are not the card's.
	h.expect(msgSetParameters, 0, "000000", "9500050A00", active+" 9500050A00")
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.breaches("bmFindexDindex", "parameters 9500050A00")
}

func TestManualRate(t *testing.T) {
	h := newHost(t, Manual())
	h.insert(0, atrSpeed, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000") // the default rate needs nothing
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", "FF10957A", active+" FF10957A")
	h.expect(msgSetParameters, 0, "000000", "9500000A00", active+" 9500000A00")
	rate := "A00F0000" + "48E80100" // 4000 kHz, 125000 bit/s
	h.expect(msgSetDataRate, 0, "000000", rate, active+" "+rate)
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000")
	h.clean()
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+atrSpeed)
	h.expect(msgXfrBlock, 0, "000000", "FF10957A", active+" FF10957A")
	h.expect(msgSetParameters, 0, "000000", "9500000A00", active+" 9500000A00")
	h.expect(msgXfrBlock, 0, "000000", status00, "40FD00")
	h.expect(msgSetDataRate, 0, "000000", "A00F0000"+"FFFFFF00", "400A00")
	h.breaches("data rate is not the card's", "bit/s, the reader has at most")
}

func TestTPDUBreaches(t *testing.T) {
	h := newHost(t, SCR3310())
	h.insert(0, "", softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "020000", "", "410700") // 3 V
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+softATR)
	h.expect(msgXfrBlock, 0, "000000", "80F2000C", "400100")                            // case 1 without P3
	h.expect(msgXfrBlock, 0, "000000", "00A40004023F0000", "400100")                    // case 4 with Le
	h.expect(msgXfrBlock, 0, "000100", status00, "400800")                              // wLevelParameter
	h.expect(msgXfrBlock, 0, "010000", status00, active+" 9000")                        // bBWI
	h.expect(msgXfrBlock, 0, "000000", "80F200001F"+strings.Repeat("AA", 31), "40F400") // data for an outgoing command
	h.expect(msgXfrBlock, 0, "000000", "00A4000402", "40FE00")                          // none for an incoming one
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+softATR)
	h.expect(msgXfrBlock, 0, "000000", "FF00FF", active+" FF00FF")
	h.expect(msgGetSlotStatus, 0, "000000", "00", "400100")
	h.expect(msgSetParameters, 0, "000000", "1100000A", "400100")
	h.expect(msgSetParameters, 0, "020000", "1100000A00", "400700")
	h.expect(msgSetParameters, 0, "000000", "1A00000A00", "400A00")
	h.expect(msgSetParameters, 0, "010000", "11100000002000", "400700") // T=1: the card does not offer it
	h.seq += 3
	h.expect(msgGetSlotStatus, 0, "000000", "", active)
	h.send(append(h.command(msgGetSlotStatus, 0, "000000", nil), 1, 2))
	h.receive()
	if err := h.tr.Send(h.ctx, []byte{1, 2, 3}); err == nil {
		t.Error("a message of three octets is taken")
	}
	long := h.command(msgXfrBlock, 0, "000000", nil)
	copy(long[1:], []byte{0xFF, 0xFF, 0xFF, 0xFF})
	h.send(long)
	h.receive()
	h.breaches("bPowerSelect 2", "no TPDU", "no TPDU", "wLevelParameter", "bBWI", "leaves to the reader", "1 octets of data",
		"4 octets of parameters", "bProtocolNum 2", "bmFindexDindex 1A", "bSeq", "dwLength is 0", "3 octets", "4294967305 octets")
}

func TestSelectsProtocolByParameters(t *testing.T) {
	h := newHost(t, SCR3310())
	h.insert(0, atrBoth, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+atrBoth)
	h.expect(msgSetParameters, 0, "010000", "18100021002000", "000001 18100021002000") // the reader makes the PPS
	h.expect(msgXfrBlock, 0, "000000", "000004"+"80F2000C"+"7A", active+" 000002"+"9000"+"92")
	h.breaches("parameters 18100021002000") // BWI and CWI are not the card's
}

func TestTPDUT1(t *testing.T) {
	h := newHost(t, ACR39U())
	h.insert(0, atrOne, softuicc.ContactsConfig{T1: softuicc.T1Config{WTX: 4}})
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+atrOne)
	h.expect(msgGetParameters, 0, "000000", "", "000001 1110005500FE00")
	h.expect(msgXfrBlock, 0, "000000", "00C101F737", active+" 00E101F717")
	h.expect(msgXfrBlock, 0, "000000", "000004"+"80F2000C"+"7A", active+" 00C30104C6")
	h.expect(msgXfrBlock, 0, "040000", "00E30104E6", active+" 0000029000"+"92")
	h.clean()
	h.expect(msgXfrBlock, 0, "000000", "004004"+"80F2000C"+"3A", active+" 00C30104C6")
	h.expect(msgXfrBlock, 0, "000000", "00E30104E6", active+" 0040029000"+"D2")
	h.expect(msgXfrBlock, 0, "000000", "00C101FE3E", active+" 00E101FE1E")
	h.expect(msgXfrBlock, 0, "000000", "0080", "400100")
	h.breaches("bBWI 00, the card asked for 04", "IFS of 254, dwMaxIFSD is 247", "no block of T=1")
}

const fcpMF = "621D8202782183023F00A5038001718A01058B032F0601C606900100830101"

const fcpPL = "62178202412183022F058A01058B032F060180020002880128"

func TestShort(t *testing.T) {
	for atr, withoutLe := range map[string]string{softATR: "611F", atrOne: "9000"} {
		h := newHost(t, CardMan3121())
		card := SessionConfig()
		card.ATR = unhex(t, atr)
		if err := h.r.Insert(0, newCard(t, card), softuicc.ContactsConfig{}); err != nil {
			t.Fatal(err)
		}
		h.expect(msgIccPowerOn, 0, "010000", "", active+" "+atr)
		h.expect(msgXfrBlock, 0, "000000", "80F2000C", active+" 9000")
		h.expect(msgXfrBlock, 0, "000000", getMF+"00", active+" "+fcpMF+"9000")
		h.expect(msgXfrBlock, 0, "000000", getMF, active+" "+withoutLe)
		h.expect(msgXfrBlock, 0, "000000", "80F2000000", active+" "+fcpMF+"9000")
		h.expect(msgXfrBlock, 0, "000000", "00A40004022F0500", active+" "+fcpPL+"6283")
		h.clean()
		h.expect(msgXfrBlock, 0, "000100", status00, "400800")
		h.expect(msgXfrBlock, 0, "000000", "80F2", "400100")
		h.breaches("wLevelParameter 0001")
		h.r.Unplug()
	}
}

func TestExtendedChains(t *testing.T) {
	m := Chainer()
	m.ResponsePart = 16
	h := newHost(t, m)
	h.insert(0, "", softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+softATR)
	h.expect(msgXfrBlock, 0, "000000", getMF+"00", "000001 "+fcpMF[:32])
	h.expect(msgXfrBlock, 0, "001000", "", "000003 "+fcpMF[32:][:30]+"90")
	h.expect(msgXfrBlock, 0, "001000", "", "000002 00")
	h.expect(msgXfrBlock, 0, "000100", "00A4", "000010")
	h.expect(msgXfrBlock, 0, "000300", "000C02", "000010")
	h.expect(msgXfrBlock, 0, "000200", "3F00", active+" 9000")
	h.expect(msgXfrBlock, 0, "000000", "00A40004000002"+"3F00"+"0000", active+" 6700") // the extended form: the card knows it not
	h.clean()
	h.expect(msgXfrBlock, 0, "000200", "3F00", "400800")
	h.expect(msgXfrBlock, 0, "000300", "3F00", "400800")
	h.expect(msgXfrBlock, 0, "001000", "", "400800")
	h.expect(msgXfrBlock, 0, "000500", "", "400800")
	h.expect(msgXfrBlock, 0, "000100", "00A4", "000010")
	h.expect(msgXfrBlock, 0, "000000", "80F2000C", active+" 9000")
	h.expect(msgXfrBlock, 0, "000000", getMF+"00", "000001 "+fcpMF[:32])
	h.expect(msgXfrBlock, 0, "000000", "80F2000C", active+" 9000")
	h.breaches("0002 with 2", "0003 with 2", "0010 with 0", "0005 with 0", "while the command goes on", "octets of the response wait")
}

func TestCharacters(t *testing.T) {
	h := newHost(t, Characters())
	h.insert(0, "", softuicc.ContactsConfig{T0: softuicc.T0Config{AckOne: 1}})
	h.expect(msgIccPowerOn, 0, "010000", "", active+" "+softATR)
	h.expect(msgXfrBlock, 0, "000100", "00A4000402", active+" 5B")
	h.expect(msgXfrBlock, 0, "000100", "3F", active+" A4")
	h.expect(msgXfrBlock, 0, "000200", "00", active+" 611F")
	h.expect(msgXfrBlock, 0, "000100", "00C000001F", active+" 3F")
	h.expect(msgXfrBlock, 0, "000200", "", active+" 62C0")
	h.expect(msgXfrBlock, 0, "002000", "", active+" "+fcpMF[2:]+"9000")
	h.clean()
	h.expect(msgXfrBlock, 0, "000100", "", "40FE00")
}

// TestClasses has a card that works at 3 V and 1.8 V in a reader where the host chooses.
func TestClasses(t *testing.T) {
	h := newHost(t, PCTwin())
	h.insert(0, atrClass, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "010000", "", "41FE00")
	h.expect(msgIccPowerOn, 0, "030000", "", active+" "+atrClass)
	h.clean()
	h.expect(msgIccPowerOn, 0, "020000", "", active+" "+atrClass)
	h.expect(msgIccPowerOn, 0, "000000", "", "400700")
	h.breaches("without IccPowerOff", "bPowerSelect 0")
}

// TestBadATR has cards whose answer to reset a reader that reads it cannot take.
func TestBadATR(t *testing.T) {
	for atr, want := range map[string]string{"3B80810000": "41F700", "3C00": "41F800"} {
		h := newHost(t, SCR3310())
		h.insert(0, atr, softuicc.ContactsConfig{})
		h.expect(msgIccPowerOn, 0, "000000", "", want)
		h.clean()
		h.r.Unplug()
	}
}

func TestSlots(t *testing.T) {
	h := newHost(t, MultiSlot(3))
	h.insert(0, "", softuicc.ContactsConfig{})
	card := h.insert(2, "", softuicc.ContactsConfig{})
	for _, n := range []byte{0, 2} {
		h.expect(msgIccPowerOn, n, "010000", "", active+" "+softATR)
	}
	h.expect(msgIccPowerOn, 1, "010000", "", "42FE00")
	card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Stuck }})
	stuck := h.command(msgXfrBlock, 2, "000000", unhex(t, status00))
	h.send(stuck)
	h.expect(msgXfrBlock, 0, "000000", status00, active+" 9000") // the other slot goes on
	h.clean()
	h.expect(msgGetSlotStatus, 2, "000000", "", "40E000")
	h.r.Remove(2)
	if got := h.answer(stuck); got != "42FE00" {
		t.Errorf("the answer of the card that was pulled: %s", got)
	}
	h.breaches("GetSlotStatus while XfrBlock is outstanding")
}

func TestBusySlots(t *testing.T) {
	h := newHost(t, AU9522())
	card := h.insert(0, "", softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+softATR)
	card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Stuck }})
	stuck := h.command(msgXfrBlock, 0, "000000", unhex(t, status00))
	h.send(stuck)
	h.expect(msgGetSlotStatus, 1, "000000", "", "42E000")
	h.r.Remove(0)
	h.answer(stuck)
	h.breaches("more slots busy than the 1")
}
