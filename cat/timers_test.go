package cat

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// timer gives a TIMER MANAGEMENT command; a value below 0 means none.
func timer(action, id byte, value time.Duration) []byte {
	m := &TimerManagement{Timer: id}
	if value >= 0 {
		m.Value = ptr(TimerValue(value))
	}
	return command(1, action, m)
}

// checkTimer compares the answer to a TIMER MANAGEMENT command; a value below 0 means none.
func checkTimer(t *testing.T, what string, r Response, want GeneralResult, id byte, value time.Duration) {
	t.Helper()
	objects := []TLV{{TagTimerIdentifier, true, []byte{id}}}
	if value >= 0 {
		objects = append(objects, TimerValue(value).tlv())
	}
	if got, want := AppendTLVs(nil, r.Objects), AppendTLVs(nil, objects); !bytes.Equal(got, want) {
		t.Errorf("%s: objects %X, want %X", what, got, want)
	}
	if r.Result.General != want {
		t.Errorf("%s: %v, want %02X", what, r.Result, byte(want))
	}
}

const none = -1

// remaining is what is left of a timer at this moment.
func remaining(s *Session, id byte) string {
	left, running := s.timers.remaining(id, time.Now())
	if !running {
		return "stopped"
	}
	return time.Duration(left).String()
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{PollInterval: time.Second}) // so give takes a second
		checkTimer(t, "read before the start", b.answer(timer(TimerGetValue, 3, none)), ResultTimerContradiction, 3, none)
		checkTimer(t, "stop before the start", b.answer(timer(TimerDeactivate, 3, none)), ResultTimerContradiction, 3, none)
		checkTimer(t, "start", b.answer(timer(TimerStart, 3, 90*time.Second)), ResultOK, 3, none)
		b.sleep(10 * time.Second)
		checkTimer(t, "read", b.answer(timer(TimerGetValue, 3, none)), ResultOK, 3, 79*time.Second)
		checkTimer(t, "another is not started", b.answer(timer(TimerGetValue, 4, none)), ResultTimerContradiction, 4, none)
		checkTimer(t, "start again", b.answer(timer(TimerStart, 3, 23*time.Hour+59*time.Minute+59*time.Second)), ResultOK, 3, none)
		checkTimer(t, "stop", b.answer(timer(TimerDeactivate, 3, none)), ResultOK, 3, 23*time.Hour+59*time.Minute+58*time.Second)
		checkTimer(t, "stop twice", b.answer(timer(TimerDeactivate, 3, none)), ResultTimerContradiction, 3, none)
		if r := b.answer(timer(0x03, 3, none)); r.Result.General != ResultDataNotUnderstood {
			t.Errorf("action 3: %v", r.Result)
		}
		var values []string
		b.answer(timer(TimerStart, 1, 10*time.Second))
		for _, wait := range []time.Duration{0, 1, 499, 500, 999, 1000} { // milliseconds; what is left is rounded up
			b.sleep(wait * time.Millisecond)
			b.do(func() { values = append(values, remaining(b.s, 1)) })
			b.sleep((1000 - wait) * time.Millisecond)
		}
		if want := []string{"10s", "9s", "8s", "7s", "6s", "4s"}; !slices.Equal(values, want) {
			t.Errorf("left over %v, want %v", values, want)
		}
		b.answer(timer(TimerDeactivate, 1, none))
		b.sleep(24 * time.Hour)
		if len(card.envelopes) != 0 {
			t.Errorf("envelopes of a stopped timer: %v", card.envelopes)
		}
		b.stop()
	})
}

// TestTimerExpiration has all eight timers run out, at different times and together, without any subscription.
func TestTimerExpiration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{PollInterval: time.Minute})
		values := []time.Duration{80, 20, 70, 20, 100, 40, 50, 30} // seconds, of timers 1 to 8
		var commands [][]byte
		for i, v := range values {
			commands = append(commands, timer(TimerStart, byte(i+1), v*time.Second))
		}
		if got := b.give(commands...); len(got) != 8 {
			t.Fatalf("%d responses", len(got))
		}
		start := time.Since(card.start)
		b.sleep(99 * time.Second)
		checkExpirations(t, card, []byte{2, 4, 8, 6, 7, 3, 1}, values)
		var want []time.Duration
		for _, s := range []time.Duration{20, 20, 30, 40, 50, 70, 80} {
			want = append(want, start+s*time.Second)
		}
		if got := card.times("80C2"); !slices.Equal(got, want) {
			t.Errorf("envelopes at %v, want %v", got, want)
		}
		b.sleep(time.Hour)
		checkExpirations(t, card, []byte{2, 4, 8, 6, 7, 3, 1, 5}, values)
		b.stop()
	})
}

// checkExpirations compares the envelopes with the timers that ran out, each with the value it was started with.
func checkExpirations(t *testing.T, card *testCard, ids []byte, seconds []time.Duration) {
	t.Helper()
	if len(card.envelopes) != len(ids) {
		t.Fatalf("%d envelopes, want %d", len(card.envelopes), len(ids))
	}
	for i, id := range ids {
		want := TimerExpirationEnvelope(id, TimerValue(seconds[id-1]*time.Second)).Append(nil)
		if got := card.envelopes[i].Append(nil); !bytes.Equal(got, want) {
			t.Errorf("envelope %d: %X, want %X", i, got, want)
		}
	}
}

// TestTimerRestarted has the card start its timer again in answer to the expiration, as real cards do.
func TestTimerRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			if cmd.INS == insEnvelope {
				card.queue = append(card.queue, timer(TimerStart, 1, time.Minute))
			}
			return nil, nil, false
		}
		b := runSession(t, card, Config{PollInterval: time.Hour})
		b.give(timer(TimerStart, 1, time.Minute))
		start := time.Since(card.start)
		b.sleep(5*time.Minute + time.Second)
		var want []time.Duration
		for i := range 5 {
			want = append(want, start+time.Duration(i+1)*time.Minute)
		}
		if got := card.times("80C2"); !slices.Equal(got, want) || len(card.responses) != 6 {
			t.Errorf("envelopes at %v, want %v; %d responses", got, want, len(card.responses))
		}
		b.stop()
	})
}

// TestTimerBusy has a timer run out while the card is busy and while a command is outstanding: its envelope waits.
func TestTimerBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, busy := newTestCard(t), 3
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			if cmd.INS != insEnvelope || busy == 0 {
				return nil, nil, false
			}
			busy--
			return sw(0x9300), nil, true
		}
		b := runSession(t, card, Config{PollInterval: time.Minute})
		b.give(timer(TimerStart, 1, 10*time.Second))
		start := time.Since(card.start)
		b.sleep(10 * time.Second)
		checkTimer(t, "ran out and told", b.answer(timer(TimerGetValue, 1, none)), ResultTimerContradiction, 1, none)
		ms := func(n time.Duration) time.Duration { return start + 10*time.Second + n*time.Millisecond }
		if got, want := card.times("80C2"), []time.Duration{ms(0), ms(50), ms(150), ms(350)}; !slices.Equal(got, want) {
			t.Errorf("envelopes at %v, want %v", got, want)
		}
		if len(card.envelopes) != 1 {
			t.Errorf("%d envelopes", len(card.envelopes))
		}
		b.stop()
	})
}

// TestTimerValues has values as a timer counts them.
func TestTimerValues(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want []byte
	}{
		{0, []byte{0, 0, 0}},
		{time.Second, []byte{0, 0, 0x10}},
		{23*time.Hour + 45*time.Minute + 59*time.Second, []byte{0x32, 0x54, 0x95}},
	}
	for _, tt := range tests {
		if got := TimerValue(tt.d).tlv(); !bytes.Equal(got.Value, tt.want) {
			t.Errorf("%v: %X, want %X", tt.d, got.Value, tt.want)
		}
		if got, err := parseTimerValue(tt.want); err != nil || got != TimerValue(tt.d) {
			t.Errorf("%X: %v %v", tt.want, time.Duration(got), err)
		}
	}
	for _, d := range []time.Duration{-time.Second, 25 * time.Hour} {
		if _, err := parseTimerValue(TimerValue(d).tlv().Value); err != nil {
			t.Errorf("%v is coded as %X", d, TimerValue(d).tlv().Value)
		}
	}
}
