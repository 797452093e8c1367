package cat

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// TestRefreshReset has the card ask for a reset: it gets no TERMINAL RESPONSE, but STATUS, the reset and a new TERMINAL PROFILE;
// what it had set is gone.
func TestRefreshReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		b := runSession(t, card, Config{PollInterval: 20 * time.Second}, func(s *Session) { s.AddSource(src) })
		b.subscribe(EventLocationStatus)
		b.answer(timer(TimerStart, 1, 70*time.Second))
		b.answer(command(1, 0, &PollInterval{Interval: Duration{1, 5}}))
		n := len(card.exchanges)
		refresh := command(2, RefreshUICCReset, &Refresh{})
		if got := b.give(refresh); len(got) != 0 {
			t.Errorf("REFRESH of a reset was answered: %v", got)
		}
		want := []string{"80F2000C", "801200000B", "80F2020C", "RESET", selectMF, selectDIR, profileAPDU(0x80), "80F2010C"}
		if got := card.after(n); !slices.Equal(got, want) {
			t.Errorf("the card was sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if card.resets != 1 || src.resets != 1 {
			t.Errorf("%d resets, source told %d times", card.resets, src.resets)
		}
		b.tell(src, located(LocationLimited))
		b.checkEvery(20 * time.Second)
		if len(card.envelopes) != 0 {
			t.Errorf("the card forgot its list and its timer, but got %v", card.envelopes)
		}
		if b.subscribe(EventLocationStatus); card.resets != 1 {
			t.Error("reset again")
		}
		b.stop()
		if src.resets != 2 {
			t.Errorf("source told %d times", src.resets)
		}
	})
}

// TestRefreshWithData has a card that takes STATUS only with response data.
func TestRefreshWithData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.noShort = true
		b := runSession(t, card, Config{})
		b.give(command(2, RefreshUICCReset, &Refresh{}))
		if n := card.count("80F2020000"); n != 1 || card.resets != 1 {
			t.Errorf("%d times STATUS before %d resets", n, card.resets)
		}
		b.stop()
	})
}

// TestRefreshClassA0 has no STATUS before the reset, and tries anew which class the card has.
func TestRefreshClassA0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.gsm = true
		b := runSession(t, card, Config{})
		n := len(card.exchanges)
		b.give(command(2, RefreshUICCReset, &Refresh{}))
		want := []string{"A0F2000016", "A01200000B", "RESET", selectMF, "A0A40000027F20", profileAPDU(0xA0), "A0F2000016"}
		if got := card.after(n); !slices.Equal(got, want) {
			t.Errorf("the card was sent %v, want %v", got, want)
		}
		b.stop()
	})
}

// TestRefreshFails has a card that does not come back from its reset, and one that is gone before.
func TestRefreshFails(t *testing.T) {
	tests := []struct {
		name string
		fail func(*testCard)
		want error
	}{
		{"reset fails", func(c *testCard) { c.resetErr = uicc.ErrMute }, uicc.ErrMute},
		{"removed at the reset", func(c *testCard) { c.resetErr = uicc.ErrRemoved }, uicc.ErrRemoved},
		{"removed before it", func(c *testCard) {
			c.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
				return nil, uicc.ErrRemoved, cmd.INS == insStatus && cmd.P1 == 0x02
			}
		}, uicc.ErrRemoved},
		{"removed after it", func(c *testCard) {
			c.hook = func(int, uicc.Command) ([]byte, error, bool) { return nil, uicc.ErrRemoved, c.resets > 0 }
		}, uicc.ErrRemoved},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card, src := newTestCard(t), &testSource{}
				tt.fail(card)
				card.queue = [][]byte{command(2, RefreshUICCReset, &Refresh{})}
				b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
				if err := b.end(); !errors.Is(err, tt.want) {
					t.Errorf("the session ended with %v, want %v", err, tt.want)
				}
				if src.resets == 0 || b.s.Post(func() {}) {
					t.Errorf("source told %d times, or Post after the end", src.resets)
				}
				if len(card.responses) != 0 {
					t.Errorf("responses %v", card.responses)
				}
			})
		})
	}
}

// TestRefreshFiles answers the modes that name changed files.
func TestRefreshFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{})
		for q := byte(0); q <= RefreshInit; q++ {
			r := b.answer(command(q, q, &Refresh{Files: []byte{1, 0x3F, 0, 0x2F, 0xE2}, AID: usimAID}))
			if r.Result.General != ResultOK || len(r.Objects) != 0 {
				t.Errorf("mode %d: %v", q, r)
			}
		}
		if card.resets != 0 {
			t.Errorf("%d resets", card.resets)
		}
		b.stop()
	})
}
