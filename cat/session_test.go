package cat

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/uicc"
)

// command appends a command's octets.
func command(number, qualifier byte, body Body) []byte {
	return NewCommand(number, qualifier, body).Append(nil)
}

func TestPolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{})
		b.sleep(95 * time.Second)
		want := []time.Duration{30 * time.Second, 60 * time.Second, 90 * time.Second}
		if got := card.times("80F2000C"); !slices.Equal(got, want) {
			t.Errorf("STATUS at %v, want %v", got, want)
		}
		b.stop()
	})
}

// TestPollingWithData has a card that refuses the short form of STATUS: it is tried once.
func TestPollingWithData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.noShort = true
		b := runSession(t, card, Config{PollInterval: 7 * time.Second})
		b.sleep(15 * time.Second)
		if got := card.after(b.inited); !slices.Equal(got, []string{"80F2000000", "80F2000000"}) {
			t.Errorf("the card was sent %v", got)
		}
		b.stop()
	})
}

func TestPollInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{PollInterval: 20 * time.Second})
		tests := []struct {
			want, granted Duration
			result        GeneralResult
			every         time.Duration
		}{
			{Duration{1, 5}, Duration{1, 5}, ResultOK, 5 * time.Second},
			{Duration{0, 2}, Duration{0, 2}, ResultOK, 2 * time.Minute},
			{Duration{2, 15}, Duration{2, 15}, ResultOK, 1500 * time.Millisecond},
			{Duration{2, 9}, Duration{1, 1}, ResultModified, time.Second},
		}
		for _, tt := range tests {
			r := b.answer(command(1, 0, &PollInterval{Interval: tt.want}))
			if r.Result.General != tt.result || len(r.Objects) != 1 || !bytes.Equal(r.Objects[0].Value, []byte{tt.granted.Unit, tt.granted.Interval}) {
				t.Errorf("%v: %v %v", tt.want, r.Result, r.Objects)
			}
			b.checkEvery(tt.every)
		}
		if r := b.answer(command(2, 0, &PollingOff{})); r.Result.General != ResultOK || len(r.Objects) != 0 {
			t.Errorf("POLLING OFF: %v %v", r.Result, r.Objects)
		}
		b.checkEvery(20 * time.Second)
		b.stop()
	})
}

// checkEvery checks the time between STATUS commands, from one that was just answered on.
func (b *bench) checkEvery(d time.Duration) {
	b.t.Helper()
	start, n := time.Since(b.card.start), b.card.count("80F2")
	b.sleep(3 * d)
	want := []time.Duration{start + d, start + 2*d, start + 3*d}
	if got := b.card.times("80F2")[n:]; !slices.Equal(got, want) {
		b.t.Errorf("STATUS at %v, want %v", got, want)
	}
}

// TestChain has four commands that wait one behind the other, one of 256 octets.
func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		long := command(3, 0, &SetUpEventList{Events: make([]EventCode, 256-3-5-4-3)})
		if len(long) != 256 {
			t.Fatalf("%d octets", len(long))
		}
		got := b.give(command(1, 0, &MoreTime{}), command(2, 1, &LanguageNotification{Language: []byte("se")}), long, command(254, 2, &Refresh{}))
		want := []CommandDetails{{1, TypeMoreTime, 0}, {2, TypeLanguageNotification, 1}, {3, TypeSetUpEventList, 0}, {254, TypeRefresh, 2}}
		if len(got) != len(want) {
			t.Fatalf("%d responses, want %d", len(got), len(want))
		}
		for i, r := range got {
			if r.Details != want[i] || r.Result.General != ResultOK || len(r.Objects) != 0 {
				t.Errorf("response %d: %+v", i, r)
			}
		}
		if src.ended != 1 {
			t.Errorf("the source was told %d times of the chain's end", src.ended)
		}
		for _, a := range card.after(b.inited) {
			if strings.HasPrefix(a, "8012") && len(a) != 10 {
				t.Errorf("FETCH %s", a)
			}
		}
		if card.count("8012000000") != 1 {
			t.Error("the command of 256 octets was not fetched with Le 00")
		}
		b.stop()
	})
}

// TestAnnouncedAgain has a card that announces its command with every STATUS, but does not give it at first.
func TestAnnouncedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, refusal := range []uint16{0x6F00, 0x6985, 0x9109, 0x9000} {
			card := newTestCard(t)
			b := runSession(t, card, Config{})
			refuse := true
			card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
				return sw(refusal), nil, cmd.INS == insFetch && refuse
			}
			if got := b.give(command(1, 0, &MoreTime{})); len(got) != 0 {
				t.Errorf("%04X: responses %v", refusal, got)
			}
			if n := card.count("8012"); n != 1 {
				t.Errorf("%04X: %d FETCH after one STATUS", refusal, n)
			}
			b.do(func() { refuse = false })
			if got := b.give(); len(got) != 1 {
				t.Errorf("%04X: %d responses", refusal, len(got))
			}
			b.stop()
		}
	})
}

// TestResponseRefused has a card that refuses a TERMINAL RESPONSE: it is not repeated, and the next command is served.
func TestResponseRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		refuse := true
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
			if cmd.INS == insTerminalResponse && refuse {
				card.outstanding = nil
				return sw(0x6F00), nil, true
			}
			return nil, nil, false
		}
		b := runSession(t, card, Config{})
		b.give(command(1, 0, &MoreTime{}))
		if n := card.count("8014"); n != 1 {
			t.Errorf("%d TERMINAL RESPONSE", n)
		}
		b.do(func() { refuse = false })
		if r := b.answer(command(2, 0, &MoreTime{})); r.Details.Number != 2 {
			t.Errorf("%+v", r)
		}
		b.stop()
	})
}

// TestEndWithinResponse ends the session while the card takes a TERMINAL RESPONSE: a card that has taken it counts what it
// says as done, so that the handler has to learn of it. A card that does not come to an end is not waited for longer.
func TestEndWithinResponse(t *testing.T) {
	for _, tt := range []struct {
		slow, ended time.Duration
		sent        bool
	}{
		{time.Second, time.Second, true},
		{time.Hour, responseTime, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			card, sent := newTestCard(t), false
			h := answerFunc(func(c Command) Answer {
				return Answer{Response: Respond(c, OK), Sent: func() { sent = true }}
			})
			b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeLaunchBrowser) })
			var start time.Time
			b.do(func() {
				card.slow, card.began = tt.slow, func() { start = time.Now(); b.cancel(nil) }
				card.queue = append(card.queue, command(1, 0, &Unsupported{Command: TypeLaunchBrowser}))
			})
			if err := b.end(); err != context.Canceled {
				t.Errorf("the session ended with %v", err)
			}
			if took := time.Since(start); took != tt.ended || sent != tt.sent {
				t.Errorf("a response of %v: ended after %v, told of it: %t, want %v, %t", tt.slow, took, sent, tt.ended, tt.sent)
			}
		})
	}
}

// TestRefused has commands that the session refuses, and what it answers.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		b := runSession(t, card, Config{})
		none := CommandDetails{}
		tests := []struct {
			name, body string
			details    CommandDetails
			want       GeneralResult
		}{
			{"known, not offered", "81 03 01 20 00 82 02 81 03", CommandDetails{1, TypePlayTone, 0}, ResultBeyondCapabilities},
			{"known, no handler registered", "81 03 02 40 01 82 02 81 82", CommandDetails{2, TypeOpenChannel, 1}, ResultBeyondCapabilities},
			{"known, not offered, broken body", "81 03 01 20 00 82 02 81 03 85 20 04", CommandDetails{1, TypePlayTone, 0}, ResultBeyondCapabilities},
			{"unknown type", "81 03 03 7B 00 82 02 81 82", CommandDetails{3, 0x7B, 0}, ResultTypeNotUnderstood},
			{"unknown type from nobody", "81 03 03 7B 00 82 02 00 00", CommandDetails{3, 0x7B, 0}, ResultTypeNotUnderstood},
			{"not offered, from nobody", "81 03 03 20 00 82 02 00 00", CommandDetails{3, TypePlayTone, 0}, ResultBeyondCapabilities},
			{"end of the proactive session", "81 03 04 81 00 82 02 81 82", CommandDetails{4, 0x81, 0}, ResultTypeNotUnderstood},
			{"mandatory object missing", "81 03 05 03 00 82 02 81 82", CommandDetails{5, TypePollInterval, 0}, ResultValuesMissing},
			{"object of a wrong length", "81 03 06 03 00 82 02 81 82 84 01 01", CommandDetails{6, TypePollInterval, 0}, ResultDataNotUnderstood},
			{"object cut off", "81 03 07 05 00 82 02 81 82 99 05 09", CommandDetails{7, TypeSetUpEventList, 0}, ResultDataNotUnderstood},
			{"no device identities", "81 03 08 02 00", CommandDetails{8, TypeMoreTime, 0}, ResultValuesMissing},
			{"unknown object, comprehension required", "81 03 09 02 00 82 02 81 82 FA 01 00", CommandDetails{9, TypeMoreTime, 0}, ResultDataNotUnderstood},
			{"unknown object", "81 03 0A 02 00 82 02 81 82 7A 01 00", CommandDetails{10, TypeMoreTime, 0}, ResultOK},
			{"no command details", "82 02 81 82", none, ResultDataNotUnderstood},
			{"short command details", "81 01 05 82 02 81 82", none, ResultDataNotUnderstood},
			{"no objects", "FF FF", none, ResultDataNotUnderstood},
			{"event that is not assigned", "81 03 0B 05 00 82 02 81 82 99 02 09 7F", CommandDetails{11, TypeSetUpEventList, 0}, ResultBeyondCapabilities},
			{"REFRESH of a kind not offered", "81 03 0C 01 07 82 02 81 82", CommandDetails{12, TypeRefresh, 7}, ResultBeyondCapabilities},
		}
		for _, tt := range tests {
			r := b.answer(template(0xD0, octets(t, tt.body)))
			if r.Details != tt.details || r.Result.General != tt.want || len(r.Objects) != 0 {
				t.Errorf("%s: %+v %v %v, want %+v %02X", tt.name, r.Details, r.Result, r.Objects, tt.details, byte(tt.want))
			}
		}
		for _, s := range []string{"D1 09 81 03 01 02 00 82 02 81 82", "D0", "D0 81", "30 00"} {
			if r := b.answer(octets(t, s)); r.Details != none || r.Result.General != ResultDataNotUnderstood {
				t.Errorf("%s: %+v", s, r)
			}
		}
		b.stop()
	})
}

// TestRefusedSecret refuses an OPEN CHANNEL with a password and looks for it in the log.
func TestRefusedSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, logged := newTestCard(t), new(bytes.Buffer)
		b := runSession(t, card, Config{Log: logInto(logged)})
		secret := NewText("Sesame")
		b.answer(command(1, 0, &OpenChannel{Password: &secret}))
		b.stop()
		if s := strings.ToLower(logged.String()); !strings.Contains(s, "refused") || strings.Contains(s, "sesame") || strings.Contains(s, "536573616d65") {
			t.Errorf("log: %s", s)
		}
	})
}

// TestTooLong has a handler and a source whose messages fit no APDU.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src, sent := newTestCard(t), &testSource{}, false
		h := answerFunc(func(c Command) Answer {
			return Answer{Response: Respond(c, OK, ChannelDataObject(ramp(MaxReceive)), ChannelDataLengthObject(0), ChannelDataLengthObject(0)),
				Sent: func() { sent = true }}
		})
		b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeReceiveData); s.AddSource(src) })
		if r := b.answer(command(1, 0, &ReceiveData{Length: 255})); r.Result.General != ResultTerminalUnable || sent {
			t.Errorf("%v, sent %v", r.Result, sent)
		}
		b.tell(src, Envelope{templateSMSPPDownload, []TLV{{TagSMSTPDU, true, ramp(300)}}})
		if src.taken != 1 || len(card.envelopes) != 0 {
			t.Errorf("envelope: taken %d, sent %d", src.taken, len(card.envelopes))
		}
		b.stop()
	})
}
