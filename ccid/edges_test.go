package ccid

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// A card whose answer to reset has octets behind its end, or a wrong check byte, is used, with a warning.
func TestFlawedATR(t *testing.T) {
	for name, tc := range map[string]struct {
		model ccidemu.Model
		atr   string
	}{
		"status word behind it":    {ccidemu.PCTwin(), "3B009000"},
		"TCK of T=0":               {ccidemu.SCR3310(), "3B800080"},
		"octets behind TCK":        {ccidemu.SCR3310(), "3B808131FE559BFFFF"},
		"octets behind, fast":      {ccidemu.CardMan3121(), "3B109400"},
		"octets behind, 40 of all": {ccidemu.ACR38U(), "3B00" + strings.Repeat("00", 38)},
		"wrong TCK":                {ccidemu.PCTwin(), "3B80800100"},
	} {
		run(t, name, func(t *testing.T) {
			testkit.NoLeaks(t)
			var log bytes.Buffer
			r, d := emulated(t, tc.model, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
			insert(t, r, newCard(t, softuicc.Config{ATR: unhex(t, tc.atr)}))
			c := connect(t, d.Slots()[0])
			want(t, c, selectMF, "9000")
			if !bytes.Equal(c.ATR(), unhex(t, tc.atr)) {
				t.Errorf("ATR %X", c.ATR())
			}
			c.Close()
			obedient(t, r)
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "answer to reset") {
				t.Errorf("no warning: %s", log.String())
			}
		})
	}
}

// LEN FF is reserved (ISO/IEC 7816-3 clause 11.3.2.3), however right the rest of the block is.
func TestBlockOfLengthFF(t *testing.T) {
	for _, crc := range []bool{false, true} {
		b := block{inf: make([]byte, 255)}.append(nil, crc)
		if _, fault := parseBlock(b, crc); fault != rOther {
			t.Errorf("CRC %v: fault %02X", crc, fault)
		}
	}
}

// A reader that is busy with itself or with the slot is asked again.
func TestBusyReader(t *testing.T) {
	for _, code := range []int{0xE0, 0xF2} {
		synctest.Test(t, func(t *testing.T) {
			r, d := emulated(t, ccidemu.SCR3310(), Config{})
			insert(t, r, newCard(t, softuicc.Config{}))
			r.SetFaults(ccidemu.Fault{Kind: ccidemu.Fail, Message: 0x62, Nth: 1, N: code})
			c := connect(t, d.Slots()[0])
			want(t, c, selectMF, "9000")
			c.Close()
		})
	}
}

// heldTransport is a transport whose Close can be held up.
type heldTransport struct {
	Transport
	closing chan struct{}
	closed  *atomic.Int32
}

func (h heldTransport) Close() error {
	<-h.closing
	h.closed.Add(1)
	return h.Transport.Close()
}

// heldBus makes such transports.
type heldBus struct {
	*fakeBus
	closing chan struct{}
	closed  atomic.Int32
}

func (b *heldBus) Open(d usbfs.Device, iface uint8) (Transport, error) {
	t, err := b.fakeBus.Open(d, iface)
	if err != nil {
		return nil, err
	}
	return heldTransport{t, b.closing, &b.closed}, nil
}

// A reader that is opened and cannot be driven is given back.
func TestHubGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := &heldBus{fakeBus: newFakeBus(), closing: make(chan struct{})}
		close(b.closing)
		b.plug(t, "1-1", ccidemu.Characters())
		if _, err := ListReaders(testContext(t), Config{Bus: b}); err != nil {
			t.Fatal(err)
		}
		if n := b.closed.Load(); n != 1 {
			t.Errorf("%d transports were closed", n)
		}
	})
}

// A reader that was unplugged is gone for all at once, however long it takes to give it back.
func TestHubForgetsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := &heldBus{fakeBus: newFakeBus(), closing: make(chan struct{})}
		b.plug(t, "1-1", ccidemu.PCTwin())
		h := NewHub(Config{Bus: b})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()
		events := slotsOf(t, h)
		expectEvents(t, events, "1-1.0 true")
		b.unplug("1-1")
		expectEvents(t, events, "1-1.0 false")
		if n := b.closed.Load(); n != 0 {
			t.Errorf("%d transports were closed", n)
		}
		close(b.closing)
		stop()
		<-ended
	})
}

// An answer of a type that does not answer the command is dropped, unless it says that the command failed.
func TestWrongTypeOfAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newScripted(func(msg []byte) [][]byte {
			switch messageType(msg[0]) {
			case typePowerOn:
				return [][]byte{message(msg, typeDataBlock, 0, []byte{0x3B, 0})}
			case typeXfrBlock:
				return [][]byte{message(msg, typeSlotStatus, 0, []byte{0x6A, 0x82}), message(msg, typeDataBlock, 0, []byte{0x90, 0})}
			}
			return [][]byte{message(msg, messageType(msg[0]).answer(), 0, nil)}
		})
		d, err := NewDevice(tr, tpduDescriptor(), IDs{Path: "1-1"}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c := connect(t, d.Slots()[0])
		defer c.Close()
		want(t, c, "80F2000C00", "9000")
	})
}

// A reader that is reset for the sake of one slot has cut the power of the cards in the others, who are told.
func TestResetTellsOtherSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		m := ccidemu.MultiSlot(2)
		m.NoAbort = true
		r, d := emulated(t, m, Config{timing: quick()})
		var cards [2]uicc.Card
		for n := range cards {
			if err := r.Insert(n, newCard(t, softuicc.Config{}), softuicc.ContactsConfig{}); err != nil {
				t.Fatal(err)
			}
			cards[n] = connect(t, d.Slots()[n])
			defer cards[n].Close()
			want(t, cards[n], "00A40004022FE2", "9000")
		}
		states := d.Slots()[1].Watch(testContext(t))
		until(t, states, uicc.SlotPresent)
		synctest.Wait() // nobody asks for a status any more
		// Neither the command nor what is asked after it is answered: the reader is reset.
		r.SetFaults(ccidemu.Fault{Kind: ccidemu.Silent, Message: 0x6F, Nth: 1}, ccidemu.Fault{Kind: ccidemu.Silent, Message: 0x65, Nth: 1})
		if _, err := cards[0].Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrMute) {
			t.Errorf("error %v", err)
		}
		until(t, states, uicc.SlotPresent) // another card, for all that is known
		if _, err := cards[1].Transmit(testContext(t), unhex(t, "00B000000A")); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("the card in the other slot: %v", err)
		}
	})
}

// One fault after another in a long chain is got over, as long as a valid block comes between them.
func TestT1FaultsInOneChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		m := ccidemu.SCR3310()
		m.MaxIFSD = 16
		r, d := emulated(t, m, Config{})
		answer := bytes.Repeat([]byte{0xA5}, 250)
		card := newCard(t, softuicc.Config{ATR: atr(t, t1ATR(0x11, 30, false)), SMSPPAnswer: answer})
		if err := r.Insert(0, card, softuicc.ContactsConfig{T1: softuicc.T1Config{Fault: every(3, softuicc.T1BadEDC)}}); err != nil {
			t.Fatal(err)
		}
		c := connect(t, d.Slots()[0])
		defer c.Close()
		want(t, c, "8010000001FF", "9000")
		if got := want(t, c, "80C2000008 D106 82028381 8B00", "9000"); !bytes.Equal(got[:len(got)-2], answer) {
			t.Errorf("%X", got)
		}
	})
}

// A card that did not hear that its block arrived sends it again; its data counts once.
func TestT1BlockTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		tr := newScripted(func(msg []byte) [][]byte {
			switch messageType(msg[0]) {
			case typePowerOn:
				return [][]byte{message(msg, typeDataBlock, 0, unhex(t, "3B808131FE559B"))}
			case typeXfrBlock:
				b, fault := parseBlock(msg[headerLength:], false)
				if fault != rOK {
					t.Errorf("block % X", msg)
				}
				answer := rBlock(1, rOK)
				switch {
				case b.pcb&pcbKind == pcbS:
					answer = block{b.pcb | pcbResponse, b.inf}
				case b.isI():
					answer = iBlock(0, true, []byte{1, 2})
				case sent == 0:
					answer, sent = iBlock(0, true, []byte{1, 2}), 1 // again
				case b.nr() == 1:
					answer = iBlock(1, false, []byte{3, 0x90, 0})
				}
				return [][]byte{message(msg, typeDataBlock, 0, answer.append(nil, false))}
			}
			return [][]byte{message(msg, messageType(msg[0]).answer(), 0, nil)}
		})
		d, err := NewDevice(tr, tpduDescriptor(), IDs{Path: "1-1"}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		c := connect(t, d.Slots()[0])
		defer c.Close()
		if got := transmit(t, c, "80F2000000"); !bytes.Equal(got, []byte{1, 2, 3, 0x90, 0}) {
			t.Errorf("%X", got)
		}
	})
}

// A look at the readers leaves no card powered.
func TestListPowersOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		r := b.plug(t, "1-1", ccidemu.PCTwin())
		insert(t, r, newCard(t, softuicc.Config{}))
		list, err := ListReaders(testContext(t), Config{Bus: b})
		if err != nil || len(list) != 1 || list[0].Slots[0].ATR == nil {
			t.Fatalf("%+v, %v", list, err)
		}
		tr := r.Transport()
		defer tr.Close()
		if err := tr.Send(testContext(t), unhex(t, "65000000000000000000")); err != nil {
			t.Fatal(err)
		}
		var buf [64]byte
		if n, err := tr.Receive(testContext(t), buf[:]); err != nil || n != headerLength || iccStatus(buf[7]&3) != iccInactive {
			t.Errorf("% X, %v", buf[:n], err)
		}
	})
}

// A transport that was closed is a reader that is gone.
func TestTransportClosed(t *testing.T) {
	for _, err := range []error{usbfs.ErrClosed, usbfs.ErrGone, fs.ErrClosed} {
		if !isGone(err) {
			t.Errorf("%v is not taken for the end", err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		r := ccidemu.New(ccidemu.PCTwin())
		defer r.Close()
		insert(t, r, newCard(t, softuicc.Config{}))
		d := openDevice(t, r, Config{})
		c := connect(t, d.Slots()[0])
		d.t.Close()
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("error %v", err)
		}
		select {
		case <-d.Gone():
		case <-time.After(patient):
			t.Error("the reader is still there")
		}
	})
}
