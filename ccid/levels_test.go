package ccid

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// atr makes an answer to reset.
func atr(t testing.TB, a uicc.ATR) []byte {
	t.Helper()
	if a.TS == 0 {
		a.TS = uicc.TSDirect
	}
	b, err := a.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func is(v byte) uicc.InterfaceByte { return uicc.InterfaceByte{Value: v, Present: true} }

// t1ATR offers T=1 alone, with the rate, the information field size and CRC or LRC.
func t1ATR(ta1, ifsc byte, crc bool) uicc.ATR {
	g := uicc.InterfaceGroup{T: uicc.T1, TA: is(ifsc), TB: is(0x45)}
	if crc {
		g.TC = is(1)
	}
	return uicc.ATR{Groups: []uicc.InterfaceGroup{{TA: is(ta1)}, {T: uicc.T1}, g}}
}

// atrs are cards by what they offer.
func atrs() map[string]uicc.ATR {
	groups := func(g ...uicc.InterfaceGroup) uicc.ATR { return uicc.ATR{Groups: g} }
	inverse := groups(uicc.InterfaceGroup{TC: is(3)})
	inverse.TS = uicc.TSInverse
	return map[string]uicc.ATR{
		"plain":                   groups(uicc.InterfaceGroup{}),
		"inverse, guard time":     inverse,
		"fast":                    groups(uicc.InterfaceGroup{TA: is(0x94)}),
		"faster than any reader":  groups(uicc.InterfaceGroup{TA: is(0x97)}),
		"D of 12":                 groups(uicc.InterfaceGroup{TA: is(0x18)}),
		"reserved rate":           groups(uicc.InterfaceGroup{TA: is(0xF4)}),
		"WI of 20":                groups(uicc.InterfaceGroup{}, uicc.InterfaceGroup{TC: is(20)}),
		"specific mode":           groups(uicc.InterfaceGroup{TA: is(0x13)}, uicc.InterfaceGroup{TA: is(0x00)}),
		"specific, implicit rate": groups(uicc.InterfaceGroup{TA: is(0x13)}, uicc.InterfaceGroup{TA: is(0x10)}),
		"T=0 and T=1":             groups(uicc.InterfaceGroup{TA: is(0x13)}, uicc.InterfaceGroup{}, uicc.InterfaceGroup{T: uicc.T1, TB: is(0x45)}),
		"T=1, LRC":                t1ATR(0x11, 254, false),
		"T=1, CRC, fast":          t1ATR(0x95, 254, true),
		"T=1, short blocks":       t1ATR(0x13, 8, false),
		"class B and C":           groups(uicc.InterfaceGroup{}, uicc.InterfaceGroup{}, uicc.InterfaceGroup{T: uicc.TGlobal, TA: is(0x46)}),
	}
}

// models are the emulated readers that can be driven, and features that none of these shows: PPS by the parameters alone and
// negotiation at each level, no PPS at all at APDU level, a list of rates, no PPS beside automatic parameters.
func models() []ccidemu.Model {
	list := slices.DeleteFunc(ccidemu.Models(), func(m ccidemu.Model) bool { return m.Name == ccidemu.Characters().Name })
	add := func(name string, of ccidemu.Model, features uint32) *ccidemu.Model {
		of.Name, of.Features = name, features
		list = append(list, of)
		return &list[len(list)-1]
	}
	own, rate := ccidemu.MultiSlot(1), uint32(ccidemu.FeatureClock|ccidemu.FeatureBaud)
	for level, name := range map[uint32]string{
		ccidemu.FeatureTPDU: "TPDU", ccidemu.FeatureShort: "short APDU", ccidemu.FeatureExtended: "extended APDU",
	} {
		add(name+", PPS of the parameters", own, level|rate|ccidemu.FeaturePPS)
		add(name+", negotiation", own, level|rate|ccidemu.FeatureNegotiation)
		add(name+", negotiation and PPS", own, level|rate|ccidemu.FeatureNegotiation|ccidemu.FeaturePPS)
		add(name+", automatic parameters", own, level|rate|ccidemu.FeatureParameters)
		add(name+", all by the host", own, level|rate)
	}
	add("short APDU, chains", own, ccidemu.FeatureShort|rate|ccidemu.FeatureNegotiation).ResponsePart = 100
	add("list of rates", own, own.Features).RateList = []uint32{10753, 62500, 125000}
	list[len(list)-1].Rates = 3
	return list
}

// has tells whether a model has a protocol of the card, which is not so of all of them.
func has(m ccidemu.Model, a uicc.ATR) bool {
	for _, p := range a.Protocols() {
		if m.Protocols&(1<<p) != 0 {
			return true
		}
	}
	return false
}

// A session of a UICC runs over every model of reader with every kind of card, and neither the reader nor the card finds
// fault with the driver. The commands have all cases, and the longest data both ways.
func TestSession(t *testing.T) {
	for _, m := range models() {
		for name, a := range atrs() {
			if !has(m, a) {
				continue // TestNoCommonProtocol
			}
			if m.Voltage == 1 && name == "class B and C" {
				continue // TestVoltage
			}
			if m.Name == ccidemu.SIMHUB().Name && name == "specific mode" {
				continue // the card is faster than the reader, and cannot be told so
			}
			run(t, m.Name+"/"+name, func(t *testing.T) {
				testkit.NoLeaks(t)
				r, d := emulated(t, m, Config{})
				answer := bytes.Repeat([]byte{0xA5}, 250)
				insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, a), SMSPPAnswer: answer, Warning: warning}))
				c := connect(t, d.Slots()[0])
				defer c.Close()
				if !bytes.Equal(c.ATR(), atr(t, a)) {
					t.Errorf("ATR %X", c.ATR())
				}
				session(t, c, answer, longest(m))
				for _, kind := range []uicc.ResetKind{uicc.WarmReset, uicc.ColdReset} {
					if err := c.Reset(testContext(t), kind); err != nil {
						t.Fatal(err)
					}
					session(t, c, answer, longest(m))
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				obedient(t, r)
			})
		}
	}
}

// longest is the most data that an emulated reader takes with a command: SCM's firmware announces too little, and the
// emulation takes it at its word.
func longest(m ccidemu.Model) int {
	if m.Features&ccidemu.FeatureTPDU == 0 {
		return uicc.MaxData
	}
	return min(uicc.MaxData, int(m.MaxMessage)-headerLength-6)
}

// warning is given in place of 61xx to a long SMS-PP download and to SELECT of EF_PL.
func warning(capdu []byte) uint16 {
	switch {
	case capdu[1] == 0xC2 && capdu[4] == 0x0C:
		return 0x6310
	case capdu[1] == 0xA4 && bytes.Contains(capdu, []byte{0x2F, 0x05}):
		return 0x6283
	}
	return 0
}

// session exercises a card whose answer to an SMS-PP download is given.
func session(t *testing.T, c uicc.Card, answer []byte, most int) {
	t.Helper()
	if fcp := want(t, c, "00A40004023F00", "9000"); len(fcp) < 10 { // case 3, the data comes all the same
		t.Errorf("SELECT gives %X", fcp)
	}
	want(t, c, "00A4000C023F00", "9000")    // case 3 without data
	want(t, c, "00A40004022FE2 00", "9000") // case 4
	if id := want(t, c, "00B000000A", "9000"); len(id) != 12 {
		t.Errorf("READ BINARY gives %X", id)
	}
	if id := want(t, c, "00B0000000", "9000"); len(id) != 12 { // wrong Le
		t.Errorf("READ BINARY of all gives %X", id)
	}
	want(t, c, "80F2000C", "9000") // case 1
	long := fmt.Sprintf("00FE0000%02X", most) + strings.Repeat("5A", most)
	want(t, c, long, "6D00")
	want(t, c, long+"00", "6D00")
	want(t, c, "8010000014"+strings.Repeat("FF", 20), "9000")
	if got := want(t, c, "80C200000B D109 82028381 8B03010203", "9000"); !bytes.Equal(got[:len(got)-2], answer) {
		t.Errorf("ENVELOPE gives %X", got)
	}
	if got := want(t, c, "80C200000C D10A 82028381 8B0401020304", "6310"); !bytes.Equal(got[:len(got)-2], answer) {
		t.Errorf("ENVELOPE with a warning gives %X", got)
	}
	for _, le := range []string{"", "00"} {
		if fcp := want(t, c, "00A40004022F05"+le, "6283"); len(fcp) < 10 {
			t.Errorf("SELECT with a warning gives %X", fcp)
		}
	}
}

// A reader of character level is refused by name.
func TestCharacterLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ccidemu.Characters()
		r := ccidemu.New(m)
		defer r.Close()
		desc, err := ParseDescriptor(m.ClassDescriptor())
		if err != nil {
			t.Fatal(err)
		}
		tr := r.Transport()
		if _, err = NewDevice(tr, desc, IDs{Name: m.Name, Path: "1-1"}, Config{}); !errors.Is(err, ErrNotSupported) || !strings.Contains(err.Error(), "character level") {
			t.Errorf("error %v", err)
		}
		if err := tr.Send(context.Background(), unhex(t, "65000000000000000000")); err != nil {
			t.Errorf("the transport was not left alone: %v", err)
		}
	})
}

func TestNoCommonProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ccidemu.SCR3310()
		m.Protocols = 1
		r, d := emulated(t, m, Config{})
		insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, t1ATR(0x11, 32, false))}))
		if _, err := d.Slots()[0].Connect(testContext(t)); !errors.Is(err, ErrNotSupported) {
			t.Errorf("error %v", err)
		}
		if _, err := d.Slots()[0].Connect(testContext(t)); errors.Is(err, ErrInUse) {
			t.Error("the failed Connect has kept the card")
		}
	})
}

// Without automatic voltage the lowest is tried first, and the next where the card does not say that it suits.
func TestVoltage(t *testing.T) {
	for name, tc := range map[string]struct {
		model   ccidemu.Model
		classes byte // class indicator of the card
		mute    bool
		supply  supply
	}{
		"1.8 V":             {model: ccidemu.PCTwin(), classes: 0x06, supply: supply{power1V8, Volt1V8, 4}},
		"3 V":               {model: ccidemu.PCTwin(), classes: 0x02, supply: supply{power3V, Volt3, 2}},
		"5 V":               {model: ccidemu.PCTwin(), classes: 0x01, supply: supply{power5V, Volt5, 1}},
		"3 V at a 5 V slot": {model: ccidemu.ACR38U(), classes: 0x06, mute: true},
		"automatic":         {model: ccidemu.AU9540(), classes: 0x02},
	} {
		run(t, name, func(t *testing.T) {
			a := uicc.ATR{Groups: []uicc.InterfaceGroup{{}, {}, {T: uicc.TGlobal, TA: is(tc.classes)}}}
			r, d := emulated(t, tc.model, Config{})
			insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, a)}))
			s := d.Slots()[0]
			c, err := s.Connect(testContext(t))
			if tc.mute {
				if !errors.Is(err, uicc.ErrMute) {
					t.Errorf("error %v", err)
				}
				if info := s.info(); info.State != uicc.SlotPresent || !errors.Is(info.Err, uicc.ErrMute) || info.ATR != nil {
					t.Errorf("slot %+v", info)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if s.supply != tc.supply {
				t.Errorf("supply %+v, want %+v", s.supply, tc.supply)
			}
			want(t, c, "00A40004023F00", "9000")
			obedient(t, r)
		})
	}
}

// A TPDU longer than the reader announces to take is sent, for it cannot be cut, and a refusal does no harm.
func TestTPDUBeyondAnnouncement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ccidemu.ACR38U()
		m.MaxMessage = 200
		r, d := emulated(t, m, Config{})
		insert(t, r, newCard(t, softuicc.Config{}))
		c := connect(t, d.Slots()[0])
		defer c.Close()
		var e *Error
		if _, err := c.Transmit(testContext(t), unhex(t, "00FE0000FF"+strings.Repeat("00", 255))); !errors.As(err, &e) || e.Code != 1 {
			t.Errorf("error %v, want bError 01", err)
		}
		want(t, c, "00A40004023F00", "9000")
	})
}

// A card that keeps to the rate it began with is used at that rate.
func TestRefusedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, m := range []ccidemu.Model{ccidemu.PCTwin(), ccidemu.ACR38U(), ccidemu.Manual()} {
			r, d := emulated(t, m, Config{})
			card := newCard(t, softuicc.Config{ATR: atr(t, atrs()["fast"])})
			if err := r.Insert(0, card, softuicc.ContactsConfig{Line: softuicc.LineConfig{RefuseSpeed: true}}); err != nil {
				t.Fatal(err)
			}
			c := connect(t, d.Slots()[0])
			want(t, c, "00A40004023F00", "9000")
			c.Close()
			obedient(t, r)
		}
	})
}

// Where the reader does not take the faster parameters the card is reset and used at the rate it began with.
func TestRateFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const setParameters, setDataRate = 0x61, 0x73
		for _, typ := range []byte{setParameters, setDataRate} {
			r, d := emulated(t, ccidemu.Manual(), Config{})
			insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, atrs()["fast"])}))
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: typ, Nth: 1, N: 10})
			c := connect(t, d.Slots()[0])
			want(t, c, "00A40004023F00", "9000")
			c.Close()
		}
	})
}

// T=1 gets over every fault of the line, and goes on after those that cost a command.
func TestT1Faults(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  softuicc.T1Config
		lost bool // a command may fail; the next works
	}{
		"bad EDC":            {cfg: softuicc.T1Config{Fault: every(3, softuicc.T1BadEDC)}},
		"lost answers":       {cfg: softuicc.T1Config{Fault: every(4, softuicc.T1Lost)}},
		"deaf":               {cfg: softuicc.T1Config{Fault: every(3, softuicc.T1Deaf)}},
		"not heard":          {cfg: softuicc.T1Config{Fault: every(5, softuicc.T1NotHeard)}},
		"WTX":                {cfg: softuicc.T1Config{WTX: 3}},
		"asks for IFS":       {cfg: softuicc.T1Config{AskIFS: 200}},
		"asks on a bad line": {cfg: softuicc.T1Config{AskIFS: 100, Fault: every(4, softuicc.T1BadEDC)}},
		"forgets its place":  {cfg: softuicc.T1Config{Fault: at(9, softuicc.T1Forgetful)}, lost: true},
		"gives up the chain": {cfg: softuicc.T1Config{Fault: at(4, softuicc.T1AbortChain)}, lost: true},
	} {
		for _, crc := range []bool{false, true} {
			run(t, fmt.Sprintf("%s, CRC %v", name, crc), func(t *testing.T) {
				m := ccidemu.SCR3310()
				m.WaitingTime = 0
				r, d := emulated(t, m, Config{})
				card := newCard(t, softuicc.Config{ATR: atr(t, t1ATR(0x11, 30, crc)), SMSPPAnswer: bytes.Repeat([]byte{7}, 200)})
				if err := r.Insert(0, card, softuicc.ContactsConfig{T1: tc.cfg}); err != nil {
					t.Fatal(err)
				}
				c := connect(t, d.Slots()[0])
				defer c.Close()
				lost := 0
				for range 10 {
					for _, s := range []string{"00A40004023F00", "00FE000064" + strings.Repeat("11", 100), "8010000014" + strings.Repeat("FF", 20), "80C200000B D109 82028381 8B03010203"} {
						rapdu, err := c.Transmit(testContext(t), unhex(t, s))
						switch {
						case err != nil && !errors.Is(err, ErrProtocol):
							t.Fatalf("%s: %v", s, err)
						case err != nil:
							t.Log(err)
							lost++
						case !strings.HasPrefix(s, "00FE") && !strings.HasSuffix(hex.EncodeToString(rapdu), "9000"):
							t.Fatalf("%s: %X", s, rapdu)
						}
					}
				}
				if tc.lost != (lost > 0) || lost > 2 {
					t.Errorf("%d commands were lost", lost)
				}
				obedient(t, r)
			})
		}
	}
}

func every(n int, f softuicc.T1Fault) func(int, []byte) softuicc.T1Fault {
	return func(i int, _ []byte) softuicc.T1Fault {
		if i%n == 0 {
			return f
		}
		return softuicc.T1NoFault
	}
}

func at(n int, f softuicc.T1Fault) func(int, []byte) softuicc.T1Fault {
	return func(i int, _ []byte) softuicc.T1Fault {
		if i == n {
			return f
		}
		return softuicc.T1NoFault
	}
}
