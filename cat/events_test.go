package cat

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

func located(status byte) Envelope { return LocationStatusEvent(status, nil) }

func dataAvailable(n int) Envelope {
	return DataAvailableEvent(ChannelStatus{Channel: 1, Link: LinkEstablished}, n)
}

// TestSubscription has events sent only while they are on the card's list, and everything else always.
func TestSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		expect := func(what string, n int, envelopes ...Envelope) {
			t.Helper()
			before, taken := len(card.envelopes), src.taken
			b.tell(src, envelopes...)
			if got := len(card.envelopes) - before; got != n || src.taken-taken != len(envelopes) {
				t.Errorf("%s: %d envelopes sent and %d taken, want %d and %d", what, got, src.taken-taken, n, len(envelopes))
			}
		}
		expect("nothing subscribed", 0, located(LocationLimited), dataAvailable(1))
		b.subscribe(EventLocationStatus, EventDataAvailable)
		expect("both subscribed", 3, located(LocationLimited), dataAvailable(1), dataAvailable(2))
		b.subscribe(EventDataAvailable, EventChannelStatus)
		expect("the list replaced", 1, located(LocationLimited), dataAvailable(1))
		b.subscribe()
		expect("the list cleared", 0, located(LocationLimited), dataAvailable(1))
		expect("an envelope that is no event", 1, Envelope{templateSMSPPDownload, []TLV{{TagSMSTPDU, true, ramp(20)}}})
		b.subscribe(EventDataAvailable)
		b.answer(command(1, 0, &SetUpEventList{Events: []EventCode{EventLocationStatus, 0x7F}}))
		expect("after a list that was refused", 1, dataAvailable(1))
		b.stop()
	})
}

// TestEventOrder has two sources and a command that an envelope starts: it is answered before the next envelope.
func TestEventOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, first, second := newTestCard(t), &testSource{}, &testSource{}
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			if cmd.INS == insEnvelope && len(card.envelopes) == 0 {
				card.queue = append(card.queue, command(9, 0, &MoreTime{}))
			}
			return nil, nil, false
		}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(first); s.AddSource(second) })
		b.subscribe(EventDataAvailable)
		n := len(card.exchanges)
		b.do(func() {
			second.due = []Envelope{dataAvailable(2)}
			first.due = []Envelope{dataAvailable(1)}
		})
		var got []string
		for _, a := range card.after(n) {
			got = append(got, a[2:4])
		}
		if want := []string{"C2", "12", "14", "C2"}; !slices.Equal(got, want) {
			t.Errorf("the card was sent %v, want %v", got, want)
		}
		if len(card.envelopes) != 2 || !bytes.Equal(card.envelopes[0].Append(nil), dataAvailable(1).Append(nil)) {
			t.Errorf("envelopes %v", card.envelopes)
		}
		if first.sent != 1 || second.sent != 1 || first.ended != 2 {
			t.Errorf("sent %d and %d, %d chains", first.sent, second.sent, first.ended)
		}
		b.stop()
	})
}

// TestBusy has a card that is busy (93 00): the envelope comes again after a growing wait, commands go on meanwhile.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src, busy := newTestCard(t), &testSource{}, true
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			return sw(0x9300), nil, cmd.INS == insEnvelope && busy
		}
		b := runSession(t, card, Config{PollInterval: time.Second}, func(s *Session) { s.AddSource(src) })
		b.subscribe(EventDataAvailable)
		start := time.Since(card.start)
		b.tell(src, dataAvailable(1))
		b.sleep(30 * time.Second)
		ms := []int{0, 50, 150, 350, 750, 1550, 3150, 6350, 11350, 16350, 21350, 26350} // the wait doubles from 50 ms up to 5 s
		var want []time.Duration
		for _, n := range ms {
			want = append(want, start+time.Duration(n)*time.Millisecond)
		}
		if got := card.times("80C2"); !slices.Equal(got, want) {
			t.Errorf("ENVELOPE at\n%v, want\n%v", got, want)
		}
		if src.taken != 0 {
			t.Error("an envelope was taken by a busy card")
		}
		if got := b.give(command(5, 0, &MoreTime{}), command(6, 0, &MoreTime{})); len(got) != 2 {
			t.Errorf("%d commands were answered while the card is busy for envelopes", len(got))
		}
		b.do(func() { busy = false })
		b.sleep(5 * time.Second)
		if src.taken != 1 || len(card.envelopes) != 1 {
			t.Errorf("taken %d, %d envelopes", src.taken, len(card.envelopes))
		}
		b.do(func() { busy = true })
		n := len(card.times("80C2"))
		start = time.Since(card.start)
		b.tell(src, dataAvailable(2))
		b.sleep(100 * time.Millisecond)
		if got := card.times("80C2")[n:]; !slices.Equal(got, []time.Duration{start, start + 50*time.Millisecond}) {
			t.Errorf("the wait did not begin anew: %v after %v", got, start)
		}
		b.stop()
	})
}

// TestEnvelopeAnswers has the card answer an envelope in each way but busy: it is not sent again.
func TestEnvelopeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []uint16{0x9000, 0x6200, 0x6300, 0x6F00, 0x6985, 0x6D00} {
			card, src := newTestCard(t), &testSource{}
			card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) { return sw(answer), nil, cmd.INS == insEnvelope }
			b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
			b.subscribe(EventDataAvailable)
			b.tell(src, dataAvailable(1))
			b.sleep(20 * time.Second)
			if n := card.count("80C2"); n != 1 || src.taken != 1 {
				t.Errorf("%04X: sent %d times, taken %d times", answer, n, src.taken)
			}
			b.stop()
		}
	})
}

// TestRemovedAtEnvelope takes the card away while it gets an envelope: nobody took it.
func TestRemovedAtEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			return nil, uicc.ErrRemoved, cmd.INS == insEnvelope
		}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		b.subscribe(EventDataAvailable)
		b.s.Post(func() { src.due = []Envelope{dataAvailable(1)} })
		if err := b.end(); err != uicc.ErrRemoved {
			t.Errorf("the session ended with %v", err)
		}
		if src.taken != 0 || src.resets != 1 {
			t.Errorf("taken %d, told %d times", src.taken, src.resets)
		}
	})
}

// TestClassA0 runs a command and an envelope with a GSM card: everything goes in its class.
func TestClassA0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		card.gsm = true
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		b.subscribe(EventDataAvailable)
		b.tell(src, dataAvailable(1))
		if len(card.envelopes) != 1 {
			t.Errorf("%d envelopes", len(card.envelopes))
		}
		for _, a := range card.after(1) { // the first is SELECT in class 00, which the card refused
			if a[:2] != "A0" {
				t.Errorf("the card was sent %s", a)
			}
		}
		b.stop()
	})
}
