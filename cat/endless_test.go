package cat

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// endless makes the card go on with commands for ever, a tenth of a second each, and counts its TERMINAL RESPONSEs. It returns once the
// card has begun.
func endless(b *bench) *atomic.Int64 {
	b.t.Helper()
	responses := new(atomic.Int64)
	next := endlessCommand
	b.do(func() {
		before := b.card.hook
		b.card.queue = [][]byte{next}
		b.card.hook = func(nth int, c uicc.Command) ([]byte, error, bool) {
			switch c.INS {
			case insFetch:
				time.Sleep(100 * time.Millisecond)
			case insTerminalResponse:
				responses.Add(1)
				b.card.queue = append(b.card.queue, next)
			}
			if before != nil {
				return before(nth, c)
			}
			return nil, nil, false
		}
	})
	for responses.Load() == 0 {
		b.sleep(100 * time.Millisecond)
	}
	return responses
}

// endlessCommand is what the endless card wants again and again.
var endlessCommand = command(1, 0, &MoreTime{})

// TestEndlessChain has the operator's wishes done though the card's chain of commands never ends: between two commands, after no
// more than three.
func TestEndlessChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{AllowAPDU: true, PollInterval: time.Second})
		responses := endless(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first := responses.Load()
		for range 5 {
			before := responses.Load()
			sw, _, err := b.s.SendEnvelope(ctx, testSMS)
			if n := responses.Load() - before; err != nil || sw != 0x9100+uicc.StatusWord(len(endlessCommand)) || n > maxPassed+1 {
				t.Fatalf("%v, %v, after %d commands", sw, err, n)
			}
			rapdu, err := b.s.Transmit(ctx, []byte{0x00, 0xA4, 0x00, 0x04, 0x02, 0x3F, 0x00})
			if err != nil || !bytes.Equal(rapdu, []byte{0x62, 0x00, 0x90, 0x00}) {
				t.Fatalf("%X, %v", rapdu, err)
			}
		}
		if n := responses.Load() - first; n > 10*(maxPassed+1)+1 {
			t.Errorf("%d commands went before ten wishes", n)
		}
		b.stop()
	})
}

// TestEndlessChainBusy has a card that says 9300 to envelopes while it goes on with its commands: the chain is not held up, and
// the operator's time limit ends the wish.
func TestEndlessChainBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.hook = func(_ int, c uicc.Command) ([]byte, error, bool) {
			return sw(0x9300), nil, c.INS == insEnvelope
		}
		b := runSession(t, card, Config{PollInterval: time.Second})
		responses := endless(b)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		before := responses.Load()
		if _, _, err := b.s.SendEnvelope(ctx, testSMS); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := responses.Load() - before; n < 590 {
			t.Errorf("%d commands in a minute", n)
		}
		b.stop()
		if n := card.count("80C2"); n < 5 || n > 30 {
			t.Errorf("tried %d times", n)
		}
	})
}

// TestEndlessChainEnds has the session end while the card goes on.
func TestEndlessChainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{PollInterval: time.Second})
		endless(b)
		b.sleep(time.Second)
		b.cancel(uicc.ErrRemoved)
		if err := <-b.done; !errors.Is(err, uicc.ErrRemoved) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
