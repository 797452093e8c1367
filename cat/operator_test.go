package cat

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// wish is what an operator's call came back with.
type wish struct {
	sw   uicc.StatusWord
	data []byte
	err  error
}

// envelope has the operator send an envelope, and lets the session come to rest.
func (b *bench) envelope(ctx context.Context, e Envelope) <-chan wish {
	b.t.Helper()
	c := make(chan wish, 1)
	b.do(func() {})
	go func() {
		sw, data, err := b.s.SendEnvelope(ctx, e)
		c <- wish{sw, data, err}
	}()
	synctest.Wait()
	return c
}

// taken is what has come back by now.
func taken(t *testing.T, c <-chan wish) wish {
	t.Helper()
	select {
	case w := <-c:
		return w
	default:
		t.Fatal("the operator still waits")
		return wish{}
	}
}

var testSMS = SMSPPDownloadEnvelope(Address{0x91, "44"}, []byte{0x04, 0x01})

// TestSendEnvelope brings response data back, and a card's refusal.
func TestSendEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		answer := []byte{0xAB, 0xCD, 0x90, 0x00}
		card.hook = func(_ int, c uicc.Command) ([]byte, error, bool) {
			return bytes.Clone(answer), nil, c.INS == insEnvelope
		}
		b := runSession(t, card, Config{})
		if w := taken(t, b.envelope(t.Context(), testSMS)); w.sw != uicc.SWOK || !bytes.Equal(w.data, answer[:2]) || w.err != nil {
			t.Errorf("%v %X %v", w.sw, w.data, w.err)
		}
		b.do(func() { answer = []byte{0x6F, 0x00} })
		if w := taken(t, b.envelope(t.Context(), testSMS)); w.sw != uicc.SWTechnicalProblem || w.err != nil {
			t.Errorf("%v %X %v", w.sw, w.data, w.err)
		}
		long := SMSPPDownloadEnvelope(Address{0x91, "44"}, make([]byte, 250))
		if w := taken(t, b.envelope(t.Context(), long)); !errors.Is(w.err, ErrTooLong) {
			t.Error(w.err)
		}
		if w := taken(t, b.envelope(t.Context(), EventEnvelope(EventLanguageSelection))); !errors.Is(w.err, ErrNotSubscribed) {
			t.Error(w.err)
		}
		if n := card.count("80C2"); n != 2 {
			t.Errorf("%d envelopes", n)
		}
		b.stop()
		if w := <-b.lateEnvelope(); !errors.Is(w.err, ErrEnded) {
			t.Error(w.err)
		}
	})
}

func (b *bench) lateEnvelope() <-chan wish {
	c := make(chan wish, 1)
	sw, data, err := b.s.SendEnvelope(context.Background(), testSMS)
	c <- wish{sw, data, err}
	return c
}

// TestSendEnvelopeBusy has a card that says 9300 three times, and one that says it for ever.
func TestSendEnvelopeBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		busy := 3
		card.hook = func(_ int, c uicc.Command) ([]byte, error, bool) {
			if c.INS != insEnvelope || busy == 0 {
				return nil, nil, false
			}
			busy--
			return sw(0x9300), nil, true
		}
		b := runSession(t, card, Config{})
		c := b.envelope(t.Context(), testSMS)
		b.sleep(time.Second)
		if w := taken(t, c); w.sw != uicc.SWOK || w.err != nil || len(card.envelopes) != 1 || card.count("80C2") != 4 {
			t.Errorf("%v %v, %d envelopes, tried %d times", w.sw, w.err, len(card.envelopes), card.count("80C2"))
		}
		b.do(func() { busy = 1000 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c = b.envelope(ctx, testSMS)
		b.sleep(61 * time.Second)
		if w := taken(t, c); !errors.Is(w.err, context.DeadlineExceeded) {
			t.Error(w.err)
		}
		n := card.count("80C2")
		b.sleep(time.Minute)
		if again := card.count("80C2"); again != n || n > 30 {
			t.Errorf("tried %d times, and %d more after the operator gave up", n-4, again-n)
		}
		b.stop()
	})
}

// TestSendEnvelopeWaits has a command outstanding, a reset, and a card that is gone while the operator waits.
func TestSendEnvelopeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{}, func(s *Session) {
			NewShortMessages(s, func(context.Context, ShortMessage) error { time.Sleep(time.Minute); return nil })
		})
		b.give(command(1, 0, &SendShortMessage{TPDU: []byte{1}}))
		c := b.envelope(t.Context(), testSMS)
		if len(c) != 0 || card.count("80C2") != 0 {
			t.Error("an envelope while a command is outstanding")
		}
		b.sleep(time.Minute)
		if w := taken(t, c); w.err != nil {
			t.Error(w.err)
		}
		b.give(command(1, 0, &SendShortMessage{TPDU: []byte{1}}))
		c = b.envelope(t.Context(), testSMS)
		b.cancel(uicc.ErrRemoved)
		if err := <-b.done; !errors.Is(err, uicc.ErrRemoved) {
			t.Error(err)
		}
		if w := <-c; !errors.Is(w.err, ErrEnded) {
			t.Error(w.err)
		}
		time.Sleep(time.Minute) // the sender, which does not look at its context
	})
}

// TestTransmit sends raw APDUs, where that is allowed.
func TestTransmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{AllowAPDU: true})
		b.do(func() { card.queue = append(card.queue, command(1, 0, &MoreTime{})) })
		rapdu, err := b.s.Transmit(t.Context(), unhex(t, "00A40004023F00"))
		if err != nil || !bytes.Equal(rapdu, unhex(t, "62009000")) {
			t.Errorf("%X %v", rapdu, err)
		}
		if rapdu, err = b.s.Transmit(t.Context(), unhex(t, "80F2000C00")); err != nil || rapdu[0] != 0x91 {
			t.Errorf("%X %v", rapdu, err)
		}
		synctest.Wait()
		if len(card.responses) != 1 {
			t.Errorf("the command that the card announced to the operator's APDU got %d responses", len(card.responses))
		}
		for _, own := range []string{"8012000010", "80140000020000", "801000000100"} {
			if _, err := b.s.Transmit(t.Context(), unhex(t, own)); !errors.Is(err, ErrOwnCommand) {
				t.Errorf("%s: %v", own, err)
			}
		}
		if _, err := b.s.Transmit(t.Context(), []byte{0, 1}); !errors.Is(err, uicc.ErrCommand) {
			t.Error(err)
		}
		b.stop()
		closed := newTestCard(t)
		b = runSession(t, closed, Config{})
		if _, err := b.s.Transmit(t.Context(), unhex(t, "00A40004023F00")); !errors.Is(err, ErrNotAllowed) {
			t.Error(err)
		}
		b.stop()
	})
}

// TestTransmitFails ends the session with what the card's transport reports.
func TestTransmitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{AllowAPDU: true})
		b.do(func() {
			card.hook = func(int, uicc.Command) ([]byte, error, bool) { return nil, uicc.ErrMute, true }
		})
		if _, err := b.s.Transmit(t.Context(), unhex(t, "00A40004023F00")); !errors.Is(err, uicc.ErrMute) {
			t.Error(err)
		}
		if err := b.end(); !errors.Is(err, uicc.ErrMute) {
			t.Error(err)
		}
	})
}
