//go:build guest

package ccid

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/uicc"
)

// goesOn wants the card to work again after a reset.
func goesOn(t *testing.T, card uicc.Card) {
	t.Helper()
	if err := card.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatalf("reset: %v", err)
	}
	wantAnswers(t, card, 1, 2, 3, 100, 51, 52, 53, 200)
}

// An answer that is longer than the reader's buffer is lost although the reader announces to take it.
func TestInsideQuirk01LongAnswerLost(t *testing.T) {
	card := oddly(t, bus{})
	if got, err := card.Transmit(testContext(t), []byte{0x80, insLong, 400 >> 8, 400 & 0xFF, 0}); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("%X, %v, want that there is no answer", got, err)
	}
	goesOn(t, card)
	if got, err := card.Transmit(testContext(t), []byte{0x80, insLong, 1, 0, 0}); err != nil || !bytes.Equal(got, append(pattern(0, 256), 0x90, 0)) {
		t.Errorf("the longest answer of T=0: %X, %v", got, err)
	}
}

// With xHCI an empty transfer follows each message of exactly 64 octets, a header of 10 and two of status among them.
func TestInsideQuirk02EmptyTransferAfter64(t *testing.T) {
	card := oddly(t, bus{})
	wantAnswers(t, card, 51, 51, 51, 52, 52, 52, 53, 53, 53, 52, 51, 52, 116, 116, 116, 52)
	wantAnswers(t, card, 63, 63, 63, 64, 64, 64, 65, 65, 65)
	var all []byte
	for n := range 256 {
		all = append(all, byte(n))
	}
	wantAnswers(t, card, all...)
}

// Features of a reader (dwFeatures, CCID table 5.1-1) that QEMU's does not have in these tests, so that the driver sets
// parameters and rates.
const (
	autoParameters = 0x02
	autoClock      = 0x10
	autoRate       = 0x20
	parameterPPS   = 0x40
	automaticPPS   = 0x80
)

// The answer to SetParameters has 17 octets and announces none.
func TestInsideQuirk03ParametersWithoutLength(t *testing.T) {
	seen := new(watched)
	card := oddly(t, bus{clear: autoParameters | parameterPPS | automaticPPS, wrap: seen.wrap})
	wantAnswers(t, card, 1, 52, 2)
	goesOn(t, card)
	if !seen.saw(0x61) {
		t.Error("the driver sent no SetParameters, so this tests nothing")
	}
}

// SetDataRateAndClockFrequency is answered by a SlotStatus, not by its own answer, which says that it is not supported.
func TestInsideQuirk04WrongAnswerType(t *testing.T) {
	seen := new(watched)
	guest.Ask(t, "odd", fastATR)
	reader := anyReader(t, drive(t, bus{clear: autoParameters | autoClock | autoRate | parameterPPS | automaticPPS, wrap: seen.wrap}))
	eventually(t, "the reader's word on the command", func() error {
		card, err := reader.Connect(testContext(t))
		switch {
		case err == nil:
			card.Close()
			return errors.New("a reader that cannot set the rate is used")
		case !errors.Is(err, ccid.ErrNotSupported):
			return err
		case !seen.saw(0x73):
			return errors.New("the command was not sent, so this tests nothing")
		}
		return nil
	})
}

// All class requests stall, and the driver goes on without them, also where it has to bring the reader into step.
func TestInsideQuirk05ClassRequestsStall(t *testing.T) {
	const out, in = 0x21, 0xA1
	card := oddly(t, bus{opened: func(h *usbfs.Handle) {
		for _, r := range []struct {
			requestType, request uint8
			data                 []byte
		}{{out, 1, nil}, {in, 2, make([]byte, 64)}, {in, 3, make([]byte, 64)}} {
			if _, err := h.Control(testContext(t), r.requestType, r.request, 0, r.data); !errors.Is(err, usbfs.ErrStall) {
				t.Errorf("request %d: %v, want a stall", r.request, err)
			}
		}
	}})
	for range 2 {
		if got, err := card.Transmit(testContext(t), []byte{0x80, insSilent, 0, 0, 0}); !errors.Is(err, uicc.ErrMute) {
			t.Errorf("%X, %v, want that there is no answer", got, err)
		}
		goesOn(t, card)
	}
}

// A message that is shorter than a header stalls the endpoint once.
func TestInsideQuirk06ShortMessageStalls(t *testing.T) {
	card := oddly(t, bus{opened: func(h *usbfs.Handle) {
		if err := h.Send(testContext(t), []byte{0x65, 0, 0, 0, 0}); !errors.Is(err, usbfs.ErrStall) {
			t.Errorf("five octets: %v, want a stall", err)
		}
	}})
	wantAnswers(t, card, 1, 52, 2)
}

// The reader never asks for more time. A card may be slow; one that is too slow is given up, and its answer, which comes
// with the number of a command long past, is no other command's.
func TestInsideQuirk07LateAnswer(t *testing.T) {
	card := oddly(t, bus{})
	if got, err := card.Transmit(testContext(t), []byte{0x80, insDelay, 10, 0}); err != nil || !bytes.Equal(got, []byte{0x90, 0}) {
		t.Errorf("after 1 s: %X, %v", got, err)
	}
	guest.Ask(t, "late", "")
	wantAnswers(t, card, 1, 2, 3)
	if got, err := card.Transmit(testContext(t), []byte{0x80, insHeld, 0, 0}); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("%X, %v, want that there is no answer", got, err)
	}
	guest.Ask(t, "late", "")
	goesOn(t, card)

	// The caller may be the one who gives up.
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	ended := make(chan result, 1)
	go func() {
		rapdu, err := card.Transmit(ctx, []byte{0x80, insHeld, 0, 0})
		ended <- result{rapdu, err}
	}()
	guest.Ask(t, "held", "")
	stop()
	if r := await(t, ended); !errors.Is(r.err, context.Canceled) {
		t.Errorf("a context that ends: %X, %v", r.rapdu, r.err)
	}
	guest.Ask(t, "late", "")
	goesOn(t, card)
}

// A card without power, a card that is gone and a card that failed look almost alike.
func TestInsideQuirk08ThreeErrors(t *testing.T) {
	t.Run("failed", func(t *testing.T) {
		card := oddly(t, bus{})
		var failed *ccid.Error
		_, err := card.Transmit(testContext(t), []byte{0x80, insError, 0, 0})
		if !errors.As(err, &failed) || errors.Is(err, uicc.ErrRemoved) || errors.Is(err, uicc.ErrMute) {
			t.Errorf("a command that failed: %v", err)
		}
		goesOn(t, card)
	})
	t.Run("no power", func(t *testing.T) {
		cut := new(powerCut)
		card := oddly(t, bus{wrap: cut.wrap})
		cut.next = true
		if _, err := card.Transmit(testContext(t), []byte{0x80, insPattern, 0, 1, 0}); err == nil || !strings.Contains(err.Error(), "power") {
			t.Errorf("a card without power: %v", err)
		}
	})
	t.Run("gone", func(t *testing.T) {
		card := oddly(t, bus{})
		pending := begin(t, card, 0x80, insSilent, 0, 0)
		guest.Ask(t, "remove", "")
		if r := await(t, pending); !errors.Is(r.err, uicc.ErrRemoved) {
			t.Errorf("a card that is removed: %X, %v", r.rapdu, r.err)
		}
		if _, err := card.Transmit(testContext(t), []byte{0x80, insPattern, 0, 1, 0}); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("a card that was removed: %v", err)
		}
	})
}

// A new card takes APDUs without being powered on. It gets its reset all the same, and its own answer to it.
func TestInsideQuirk09ActiveAfterInsertion(t *testing.T) {
	guest.Ask(t, "soft", firstATR)
	reader := anyReader(t, drive(t, bus{}))
	swap(t, reader, func() { guest.Ask(t, "swap", secondATR) })
}

// While nobody reads the interrupts, removal and insertion leave one that says that there is a card and a change.
func TestInsideQuirk10OneInterruptForTwoChanges(t *testing.T) {
	guest.Ask(t, "soft", firstATR)
	held := &heldNotify{gate: make(chan struct{})}
	close(held.gate)
	reader := anyReader(t, drive(t, bus{wrap: held.wrap}))
	swap(t, reader, func() {
		open := held.shut()
		guest.Ask(t, "swap", secondATR)
		open()
	})
}

// latch is for how long the driver, having opened a reader, may take a change for one from before.
const latch = 500 * time.Millisecond

// swap exchanges the card: the old one is gone, and the next is another.
func swap(t *testing.T, reader uicc.Reader, do func()) {
	t.Helper()
	old := connect(t, reader)
	send(t, old, "00A40004023F00", "62*9000")
	time.Sleep(latch)
	do()
	eventually(t, "the end of the old card", func() error {
		got, err := old.Transmit(testContext(t), hx("00A40004023F00"))
		if !errors.Is(err, uicc.ErrRemoved) {
			return fmt.Errorf("it still answers: %X, %v", got, err)
		}
		return nil
	})
	card := connect(t, reader)
	if got := fmt.Sprintf("%X", card.ATR()); got != secondATR {
		t.Errorf("ATR %s, want %s", got, secondATR)
	}
	send(t, card, "00A40004023F00", "62*9000")
}

// The reader is unplugged while a card works.
func TestInsideQuirk11UnplugInAPDU(t *testing.T) {
	guest.Ask(t, "odd", "")
	reader := anyReader(t, drive(t, bus{}))
	card := connect(t, reader)
	pending := begin(t, card, 0x80, insSilent, 0, 0)
	states := reader.Watch(testContext(t))
	guest.Ask(t, "unplug", "")
	if r := await(t, pending); !errors.Is(r.err, uicc.ErrRemoved) {
		t.Errorf("%X, %v, want that the card is gone", r.rapdu, r.err)
	}
	last := uicc.SlotState(-1)
	for s := range states {
		last = s
	}
	if last != uicc.SlotGone {
		t.Errorf("the last state is %d, want that the slot is gone", last)
	}
	guest.Ask(t, "plug", "")
	guest.Ask(t, "odd", "")
	wantAnswers(t, connect(t, reader), 1, 52, 2)
}

// A card that answers twice.
func TestInsideQuirk12TwoAnswers(t *testing.T) {
	card := oddly(t, bus{})
	for range 5 {
		if got, err := card.Transmit(testContext(t), []byte{0x80, insTwice, 0, 0}); err != nil || !bytes.Equal(got, []byte{0x90, 0}) {
			t.Errorf("%X, %v", got, err)
		}
		wantAnswers(t, card, 1, 52, 2)
	}
}

// watched notes which messages were sent.
type watched struct {
	*usbfs.Handle
	sent sync.Map
}

func (w *watched) wrap(h *usbfs.Handle) ccid.Transport {
	w.Handle = h
	return w
}

func (w *watched) Send(ctx context.Context, msg []byte) error {
	if len(msg) > 0 {
		w.sent.Store(msg[0], true)
	}
	return w.Handle.Send(ctx, msg)
}

// saw tells whether a message of this type was sent.
func (w *watched) saw(kind byte) bool {
	_, ok := w.sent.Load(kind)
	return ok
}

// powerCut takes the card's power before the next APDU, behind the driver's back.
type powerCut struct {
	*usbfs.Handle
	next bool
}

func (p *powerCut) wrap(h *usbfs.Handle) ccid.Transport {
	p.Handle = h
	return p
}

func (p *powerCut) Send(ctx context.Context, msg []byte) error {
	if p.next && len(msg) > 0 && msg[0] == 0x6F {
		p.next = false
		if err := p.off(ctx, msg[6]-1); err != nil {
			return err
		}
	}
	return p.Handle.Send(ctx, msg)
}

func (p *powerCut) off(ctx context.Context, number byte) error {
	if err := p.Handle.Send(ctx, []byte{0x63, 0, 0, 0, 0, 0, number, 0, 0, 0}); err != nil {
		return err
	}
	buf := make([]byte, 64)
	for {
		n, err := p.Handle.Receive(ctx, buf)
		if err != nil || n > 0 {
			if err == nil && (n != 10 || buf[0] != 0x81 || binary.LittleEndian.Uint32(buf[1:]) != 0) {
				err = fmt.Errorf("the answer to IccPowerOff is %X", buf[:n])
			}
			return err
		}
	}
}
