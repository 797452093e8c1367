package cat

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// later is the result that says: not now.
func later(r Response) bool {
	return r.Result.General == ResultTerminalUnable && bytes.Equal(r.Result.Info, []byte{InfoNoSpecificCause})
}

// TestTooManyResets refuses the modes of REFRESH that begin anew once they are too many, and no other.
func TestTooManyResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		left := 3
		b := runSession(t, card, Config{MayReset: func() bool { left--; return left >= 0 }}, func(s *Session) { s.AddSource(src) })
		b.give(command(1, RefreshUICCReset, &Refresh{}))
		b.give(command(1, RefreshEUICCProfile, &Refresh{}))
		if r := b.answer(command(1, RefreshSession, &Refresh{})); r.Result.General != ResultOK {
			t.Error(r.Result)
		}
		n, resets := len(card.exchanges), src.resets
		for _, mode := range []byte{RefreshUICCReset, RefreshEUICCProfile, RefreshSession, RefreshApplication} {
			if r := b.answer(command(1, mode, &Refresh{})); !later(r) {
				t.Errorf("mode %d: %v", mode, r.Result)
			}
		}
		if got := card.after(n); card.resets != 1 || src.resets != resets || len(got) != 4*3 { // STATUS, FETCH, TERMINAL RESPONSE
			t.Errorf("%d resets; the card was sent %v", card.resets, got)
		}
		if r := b.answer(command(1, RefreshInit, &Refresh{})); r.Result.General != ResultOK {
			t.Error(r.Result)
		}
		b.stop()
	})
}

// TestTooManyMessages tells "not now" from "no service".
func TestTooManyMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send := func(context.Context, ShortMessage) error { return fmt.Errorf("spool: %w", ErrTooMany) }
		b := runSession(t, newTestCard(t), Config{}, func(s *Session) { NewShortMessages(s, send) })
		b.give(command(1, 0, &SendShortMessage{TPDU: []byte{1}}))
		b.sleep(time.Second)
		if r := b.card.responses[len(b.card.responses)-1]; !later(r) {
			t.Error(r.Result)
		}
		b.stop()
	})
}
