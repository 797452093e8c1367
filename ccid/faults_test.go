package ccid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

const (
	xfr        = byte(typeXfrBlock)
	selectMF   = "00A40004023F00"
	smsPP      = "80C200000B D109 82028381 8B03010203"
	profileAll = "8010000003FFFFFF"
)

// brief is an answer to reset with a short work waiting time and a fast rate, for tests in which it must run out.
func brief(t testing.TB) []byte {
	return atr(t, uicc.ATR{Groups: []uicc.InterfaceGroup{{TA: is(0x95)}, {TC: is(1)}}})
}

// answering is a card that answers an SMS-PP download with n octets.
func answering(t testing.TB, n int) *softuicc.Card {
	return newCard(t, softuicc.Config{ATR: brief(t), SMSPPAnswer: bytes.Repeat([]byte{0x5C}, n)})
}

// download has the card answer with n octets, and checks them.
func download(t testing.TB, c uicc.Card, n int) {
	t.Helper()
	if got := want(t, c, smsPP, "9000"); !bytes.Equal(got[:len(got)-2], bytes.Repeat([]byte{0x5C}, n)) {
		t.Fatalf("%d octets %X, want %d", len(got)-2, got, n)
	}
}

// Faults of the reader that the driver gets over without anyone noticing.
func TestFaultsOvercome(t *testing.T) {
	for _, m := range []ccidemu.Model{ccidemu.PCTwin(), ccidemu.CardMan3121(), ccidemu.AU9540(), ccidemu.QEMU()} {
		for name, f := range map[string]ccidemu.Fault{
			"twice":           {Kind: ccidemu.Twice},
			"foreign bSeq":    {Kind: ccidemu.ForeignSeq},
			"foreign bSlot":   {Kind: ccidemu.ForeignSlot},
			"7 more":          {Kind: ccidemu.Trailing, N: 7},
			"40 more":         {Kind: ccidemu.Trailing, N: 40},
			"split in 20":     {Kind: ccidemu.Split, N: 20},
			"split in 63":     {Kind: ccidemu.Split, N: 63},
			"stray ZLP":       {Kind: ccidemu.StrayZLP},
			"more time":       {Kind: ccidemu.Extend, N: 5},
			"parameters lost": {Kind: ccidemu.EmptyParameters},
		} {
			run(t, m.Name+"/"+name, func(t *testing.T) {
				r, d := emulated(t, m, Config{})
				r.SetFaults(f)
				card := answering(t, 200)
				insert(t, r, card)
				c := connect(t, d.Slots()[0])
				defer c.Close()
				want(t, c, profileAll, "9000")
				for range 5 {
					want(t, c, selectMF, "9000")
					want(t, c, "80F2000C", "9000")
					download(t, c, 200)
				}
			})
		}
	}
}

// Answers around the packet size are all right, with and without stray transfers behind one full packet.
func TestPacketBoundaries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, m := range []ccidemu.Model{ccidemu.PCTwin(), ccidemu.QEMU(), ccidemu.CardMan3121()} {
			for _, n := range []int{63, 64, 65, 127, 128, 129, 192, 256} { // octets of the message
				r, d := emulated(t, m, Config{})
				insert(t, r, answering(t, n-headerLength-2))
				c := connect(t, d.Slots()[0])
				want(t, c, profileAll, "9000")
				for range 3 {
					download(t, c, n-headerLength-2)
				}
				c.Close()
			}
		}
	})
}

// A reader that ends no message of full packets costs the time for an answer once, and not again.
func TestNoZeroLengthPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := emulated(t, ccidemu.PCTwin(), Config{timing: quick()})
		insert(t, r, answering(t, 64-headerLength-2))
		c := connect(t, d.Slots()[0])
		defer c.Close()
		want(t, c, profileAll, "9000")
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.NoZLP})
		download(t, c, 64-headerLength-2)
		if !d.in.exact {
			t.Fatal("the driver has not noticed")
		}
		for range 3 {
			download(t, c, 64-headerLength-2)
			want(t, c, selectMF, "9000")
		}
	})
}

// Faults that cost the command: what the error is, and that after a reset of the card all is well. The commands after it get
// their own answers.
func TestFaultsThatCost(t *testing.T) {
	noAbort := ccidemu.PCTwin()
	noAbort.NoAbort, noAbort.Name = true, "without abort"
	two := ccidemu.MultiSlot(2)
	two.NoAbort, two.Name = true, "two slots without abort"
	for _, m := range []ccidemu.Model{ccidemu.PCTwin(), noAbort, two, ccidemu.CardMan3121(), ccidemu.QEMU()} {
		for name, tc := range map[string]struct {
			fault ccidemu.Fault
			is    error
		}{
			"silent":          {ccidemu.Fault{Kind: ccidemu.Silent}, uicc.ErrMute},
			"late":            {ccidemu.Fault{Kind: ccidemu.Late}, uicc.ErrMute},
			"stalls OUT":      {ccidemu.Fault{Kind: ccidemu.StallOut}, nil},
			"stalls IN":       {ccidemu.Fault{Kind: ccidemu.StallIn}, nil},
			"runt":            {ccidemu.Fault{Kind: ccidemu.Cut, N: 5}, uicc.ErrMute},
			"cut":             {ccidemu.Fault{Kind: ccidemu.Cut, N: 11}, uicc.ErrMute},
			"dwLength + 1":    {ccidemu.Fault{Kind: ccidemu.Longer, N: 1}, uicc.ErrMute},
			"dwLength + 1000": {ccidemu.Fault{Kind: ccidemu.Longer, N: 1 << 30}, ErrProtocol},
			"dwLength 0":      {ccidemu.Fault{Kind: ccidemu.Shorter, N: 1000}, ErrProtocol},
			"unknown command": {ccidemu.Fault{Kind: ccidemu.Unsupported}, ErrNotSupported},
		} {
			run(t, m.Name+"/"+name, func(t *testing.T) {
				testkit.NoLeaks(t)
				r, d := emulated(t, m, Config{timing: quick()})
				settled(t, d)
				insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
				c := connect(t, d.Slots()[0])
				defer c.Close()
				want(t, c, selectMF, "9000")
				f := tc.fault
				f.Message, f.Nth = xfr, 1
				r.SetFaults(f)
				_, err := c.Transmit(testContext(t), unhex(t, "00A4000C023F00"))
				if err == nil || tc.is != nil && !errors.Is(err, tc.is) {
					t.Fatalf("error %v, want %v", err, tc.is)
				}
				if errors.Is(err, uicc.ErrRemoved) {
					t.Fatalf("error %v says that the card was removed", err)
				}
				t.Log(err)
				if err := c.Reset(testContext(t), uicc.WarmReset); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					want(t, c, "00A40004022FE2 00", "9000")
					if id := want(t, c, "00B000000A", "9000"); len(id) != 12 {
						t.Fatalf("READ BINARY gives %X", id)
					}
				}
			})
		}
	}
}

// A message that ends too early takes nothing from the next one, which is another slot's.
func TestCutBetweenSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{timing: quick()}
		cfg.timing.card = patient
		r, d := emulated(t, ccidemu.MultiSlot(2), cfg)
		settled(t, d)
		insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
		c := connect(t, d.Slots()[0])
		defer c.Close()
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Cut, Message: xfr, Nth: 1, N: 11})
		failed := make(chan error, 1)
		go func() {
			_, err := c.Transmit(testContext(t), []byte{0, 0xA4, 0, 0x0C, 2, 0x3F, 0})
			failed <- err
		}()
		for {
			if icc, err := d.Slots()[1].status(testContext(t)); err != nil || icc != iccAbsent {
				t.Fatalf("status %d, %v", icc, err)
			}
			select {
			case err := <-failed:
				if !errors.Is(err, uicc.ErrMute) {
					t.Errorf("error %v", err)
				}
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
}

// Every error of the class has its text, and is what it means.
func TestErrorsOfTheClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := emulated(t, ccidemu.CardMan3121(), Config{})
		insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
		c := connect(t, d.Slots()[0])
		defer c.Close()
		for code := range 256 {
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: xfr, Nth: 1, N: code})
			_, err := c.Transmit(testContext(t), unhex(t, selectMF))
			var e *Error
			if !errors.As(err, &e) || int(e.Code) != code || e.Command != "XfrBlock" {
				t.Fatalf("bError %02X: %v", code, err)
			}
			if errors.Is(err, uicc.ErrMute) != (code == codeMute || code == codeParity || code == codeOverrun || code == 0xF7 || code == 0xF8) {
				t.Errorf("bError %02X: %v is or is not uicc.ErrMute", code, err)
			}
			if known := code <= 0x7F || code >= 0x81 && code <= 0xC0 || codes[byte(code)].text != ""; known == (e.text() == "unknown error") {
				t.Errorf("bError %02X: %v", code, err)
			}
		}
		want(t, c, selectMF, "9000") // and all of them leave the reader in step
	})
}

// Errors that have a meaning of their own during a reset.
func TestPowerOnErrors(t *testing.T) {
	const powerOn = byte(typePowerOn)
	run(t, "busy", func(t *testing.T) {
		for _, code := range []int{codeAutoSequence, codeSlotBusy} {
			r, d := emulated(t, ccidemu.SCR3310(), Config{timing: quick()})
			insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: powerOn, Nth: 1, N: code}, ccidemu.Fault{Kind: ccidemu.Fail, Message: powerOn, Nth: 2, N: code})
			c := connect(t, d.Slots()[0])
			want(t, c, selectMF, "9000")
			c.Close()
		}
	})
	run(t, "busy for ever", func(t *testing.T) {
		r, d := emulated(t, ccidemu.SCR3310(), Config{timing: quick()})
		insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: powerOn, N: codeSlotBusy})
		if _, err := d.Slots()[0].Connect(testContext(t)); !errors.Is(err, ErrProtocol) {
			t.Errorf("error %v", err)
		}
	})
	run(t, "no ATR", func(t *testing.T) {
		r, d := emulated(t, ccidemu.SCR3310(), Config{})
		insert(t, r, newCard(t, softuicc.Config{ATR: brief(t)}))
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Shorter, Message: powerOn, N: 1000})
		if _, err := d.Slots()[0].Connect(testContext(t)); !errors.Is(err, uicc.ErrATR) {
			t.Errorf("error %v", err)
		}
	})
	run(t, "no card", func(t *testing.T) {
		_, d := emulated(t, ccidemu.SCR3310(), Config{})
		if _, err := d.Slots()[0].Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("error %v", err)
		}
	})
}

// A card that does not answer is mute, whether the reader says so or says nothing; after a reset it may work again.
func TestMuteCard(t *testing.T) {
	silent := []string{ccidemu.PCTwin().Name, ccidemu.CardMan3121().Name, ccidemu.AU9522().Name, ccidemu.QEMU().Name}
	for _, m := range models() {
		for _, waits := range []time.Duration{0, 20 * time.Millisecond} {
			if waits == 0 && !slices.Contains(silent, m.Name) {
				continue // they do not differ in this
			}
			run(t, fmt.Sprint(m.Name, ", reader waits ", waits), func(t *testing.T) {
				testkit.NoLeaks(t)
				m.WaitingTime = waits
				r, d := emulated(t, m, Config{timing: quick()})
				card := newCard(t, softuicc.Config{ATR: brief(t)})
				insert(t, r, card)
				c := connect(t, d.Slots()[0])
				defer c.Close()
				card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Stuck }})
				if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrMute) && !(m.Name == ccidemu.QEMU().Name && err != nil) {
					t.Fatalf("error %v", err)
				}
				card.SetQuirks(softuicc.Quirks{})
				if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
					t.Fatal(err)
				}
				want(t, c, selectMF, "9000")
			})
		}
	}
}

// Under T=1 the driver asks again for what the reader did not get from the card, and then calls the card mute.
func TestMuteT1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := emulated(t, ccidemu.SCR3310(), Config{})
		insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, t1ATR(0x11, 254, false))}))
		c := connect(t, d.Slots()[0])
		defer c.Close()
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: xfr, N: codeMute})
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrMute) {
			t.Fatalf("error %v", err)
		}
		r.SetFaults()
		if err := c.Reset(testContext(t), uicc.WarmReset); err != nil {
			t.Fatal(err)
		}
		want(t, c, selectMF, "9000")
	})
}

// Errors between reader and card under T=1 cost a repetition; those of the reader itself cost the command.
func TestT1ReaderErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, costs := range map[int]bool{codeParity: false, codeOverrun: false, codeMute: false, 0xFB: true} {
			r, d := emulated(t, ccidemu.SCR3310(), Config{})
			insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, t1ATR(0x11, 254, false))}))
			c := connect(t, d.Slots()[0])
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: xfr, Nth: 1, N: code})
			_, err := c.Transmit(testContext(t), unhex(t, selectMF))
			var e *Error
			if costs != (err != nil) || costs && (!errors.As(err, &e) || int(e.Code) != code) {
				t.Errorf("bError %02X: %v", code, err)
			}
			c.Close()
		}
	})
}

// A slow card is waited for as long as the reader asks for more time.
func TestSlowCard(t *testing.T) {
	for _, m := range []ccidemu.Model{ccidemu.PCTwin(), ccidemu.CardMan3121(), ccidemu.AU9540(), ccidemu.MultiSlot(2)} {
		run(t, m.Name, func(t *testing.T) {
			m.ExtendEvery = 50 * time.Millisecond
			r, d := emulated(t, m, Config{timing: quick()})
			card := newCard(t, softuicc.Config{ATR: brief(t)})
			insert(t, r, card)
			c := connect(t, d.Slots()[0])
			defer c.Close()
			card.SetQuirks(softuicc.Quirks{Delay: 3 * quick().card})
			want(t, c, selectMF, "9000")
		})
	}
}

// Time extensions do not go on for ever.
func TestEndlessTimeExtensions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := ccidemu.PCTwin()
		m.ExtendEvery = time.Millisecond
		cfg := Config{timing: quick()}
		cfg.timing.longest = time.Second
		r, d := emulated(t, m, cfg)
		card := newCard(t, softuicc.Config{ATR: brief(t)})
		insert(t, r, card)
		c := connect(t, d.Slots()[0])
		defer c.Close()
		card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault { return softuicc.Stuck }})
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrMute) {
			t.Errorf("error %v", err)
		}
	})
}

// The end of a context ends the command; the reader is brought into step before its next use, and the answer of the command
// that was given up is nobody's.
func TestContextEnds(t *testing.T) {
	noAbort := ccidemu.PCTwin()
	noAbort.NoAbort, noAbort.Name = true, "without abort"
	for _, m := range []ccidemu.Model{ccidemu.PCTwin(), noAbort, ccidemu.MultiSlot(2), ccidemu.CardMan3121(), ccidemu.AU9540(), ccidemu.QEMU()} {
		run(t, m.Name, func(t *testing.T) {
			testkit.NoLeaks(t)
			r, d := emulated(t, m, Config{})
			card := newCard(t, softuicc.Config{ATR: brief(t)})
			insert(t, r, card)
			c := connect(t, d.Slots()[0])
			defer c.Close()
			for range 5 {
				ctx, cancel := context.WithCancelCause(context.Background())
				card.SetQuirks(softuicc.Quirks{Fault: func([]byte) softuicc.Fault {
					cancel(nil)
					return softuicc.Stuck
				}})
				if _, err := c.Transmit(ctx, unhex(t, selectMF)); !errors.Is(err, context.Canceled) {
					t.Fatalf("error %v", err)
				}
				card.SetQuirks(softuicc.Quirks{})
				if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, errUnanswered) {
					t.Fatalf("error %v, want that the card needs a reset", err)
				}
				if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
					t.Fatal(err)
				}
				want(t, c, "00A40004022FE2 00", "9000")
				if id := want(t, c, "00B000000A", "9000"); len(id) != 12 {
					t.Fatalf("READ BINARY gives %X", id)
				}
			}
		})
	}
}
