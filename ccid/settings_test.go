package ccid

import (
	"slices"
	"testing"
	"time"

	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// What is sent to a reader after the answer to reset, by dwFeatures and level: what libccid sends as well, but at APDU level
// without any automatism, where it makes a PPS that a reader of APDU level would take for an APDU.
func TestSettings(t *testing.T) {
	const (
		parameters  = ccidemu.FeatureParameters
		negotiation = ccidemu.FeatureNegotiation
		pps         = ccidemu.FeaturePPS
		tpdu        = ccidemu.FeatureTPDU
		short       = ccidemu.FeatureShort
		extended    = ccidemu.FeatureExtended
	)
	groups := func(g ...uicc.InterfaceGroup) uicc.ATR { return uicc.ATR{Groups: g} }
	cards := map[string]uicc.ATR{
		"slow":          groups(uicc.InterfaceGroup{}),
		"fast":          groups(uicc.InterfaceGroup{TA: is(0x94)}),
		"T=1":           t1ATR(0x95, 254, true),
		"specific":      groups(uicc.InterfaceGroup{TA: is(0x13)}, uicc.InterfaceGroup{TA: is(0x00)}),
		"specific, T=1": groups(uicc.InterfaceGroup{TA: is(0x94)}, uicc.InterfaceGroup{T: uicc.T1, TA: is(0x01)}, uicc.InterfaceGroup{T: uicc.T1}),
	}
	nothing := map[string][]string{}
	set := map[string][]string{
		"slow":          {"SetParameters T=0 1100000A00"},
		"fast":          {"SetParameters T=0 9400000A00"},
		"T=1":           {"SetParameters T=1 9511004500FE00"},
		"specific":      {"SetParameters T=0 1300000A00"},
		"specific, T=1": {"SetParameters T=1 9410004D002000"},
	}
	ppsAndSet := map[string][]string{
		"slow":          set["slow"],
		"fast":          {"PPS FF10947B", "SetParameters T=0 9400000A00"},
		"T=1":           {"PPS FF11957B", "SetParameters T=1 9511004500FE00"},
		"specific":      set["specific"],
		"specific, T=1": set["specific, T=1"],
	}
	setSlow := map[string][]string{
		"slow":          set["slow"],
		"fast":          set["slow"],
		"T=1":           {"SetParameters T=1 1111004500FE00"},
		"specific":      set["specific"],
		"specific, T=1": set["specific, T=1"],
	}
	for _, tc := range []struct {
		name     string
		features []uint32
		levels   []uint32
		want     map[string][]string
	}{
		{"negotiation", []uint32{negotiation, negotiation | parameters, negotiation | pps, negotiation | pps | parameters},
			[]uint32{tpdu, short, extended}, nothing},
		{"PPS of the parameters", []uint32{pps, pps | parameters}, []uint32{tpdu, short, extended}, set},
		{"neither, TPDU", []uint32{0, parameters}, []uint32{tpdu}, ppsAndSet},
		{"neither, APDU", []uint32{0, parameters}, []uint32{short, extended}, setSlow},
	} {
		for card, a := range cards {
			run(t, tc.name+"/"+card, func(t *testing.T) {
				for _, features := range tc.features {
					for _, level := range tc.levels {
						m := ccidemu.MultiSlot(1)
						m.Features = features | level | ccidemu.FeatureClock | ccidemu.FeatureBaud
						r, d := emulated(t, m, Config{})
						insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, a)}))
						c := connect(t, d.Slots()[0])
						want(t, c, "00A40004023F00", "9000")
						if got := r.Settings(); !slices.Equal(got, tc.want[card]) {
							t.Errorf("features %08X: %q, want %q", m.Features, got, tc.want[card])
						}
						c.Close()
						obedient(t, r)
					}
				}
			})
		}
	}
}

// A reader without automatic rate is told one where it differs from that at the start, and else is left alone: there are
// some that do not know the command.
func TestDataRate(t *testing.T) {
	for card, want := range map[string][]string{
		"plain": {"SetParameters T=0 1100000A00"},
		"fast":  {"PPS FF10947B", "SetParameters T=0 9400000A00", "SetDataRateAndClockFrequency A00F000024F40000"},
	} {
		run(t, card, func(t *testing.T) {
			r, d := emulated(t, ccidemu.Manual(), Config{})
			insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, atrs()[card])}))
			defer connect(t, d.Slots()[0]).Close()
			if got := r.Settings(); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			obedient(t, r)
		})
	}
}

// A reader that configures itself from the answer to reset, and refuses to be told, is left to itself.
func TestParametersRefused(t *testing.T) {
	const setParameters = 0x61
	for _, m := range []ccidemu.Model{ccidemu.AU9540(), ccidemu.SCR3310(), ccidemu.CardMan3121()} {
		for _, card := range []string{"plain", "fast", "T=1, LRC"} {
			run(t, m.Name+"/"+card, func(t *testing.T) {
				testkit.NoLeaks(t)
				r, d := emulated(t, m, Config{})
				insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, atrs()[card])}))
				r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: setParameters})
				c := connect(t, d.Slots()[0])
				defer c.Close()
				want(t, c, "00A40004023F00", "9000")
				obedient(t, r)
			})
		}
	}
	told := ccidemu.OctSIM() // it has nothing but what it is told
	run(t, told.Name, func(t *testing.T) {
		r, d := emulated(t, told, Config{})
		insert(t, r, newCard(t, softuicc.Config{}))
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: setParameters})
		if _, err := d.Slots()[0].Connect(testContext(t)); err == nil {
			t.Error("the refusal is passed over")
		}
	})
}

// A reader that refuses one of the values keeps its own, and is used with the rate that cards begin with.
func TestParameterNotChangeable(t *testing.T) {
	const setParameters, guardTime = 0x61, 12
	for _, card := range []string{"plain", "fast", "specific mode"} {
		run(t, card, func(t *testing.T) {
			m := ccidemu.OctSIM()
			r, d := emulated(t, m, Config{})
			insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, atrs()[card])}))
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: setParameters, N: guardTime})
			c, err := d.Slots()[0].Connect(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
	}
}

// Characters with the guard time FF follow each other at once, 12 etu apart, and not 267 (ISO/IEC 7816-3 clause 8.3).
func TestGuardTime(t *testing.T) {
	d := Descriptor{DefaultClock: 3720}
	for guard, etu := range map[byte]int{0: 12, 5: 17, 254: 266, 255: 12} {
		p := parameters{fidi: defaultFiDi, guard: guard}
		if got, want := p.transferTime(d, 100), time.Duration(100*etu)*100*time.Microsecond; got != want {
			t.Errorf("guard time %d: %v, want %v", guard, got, want)
		}
	}
}
