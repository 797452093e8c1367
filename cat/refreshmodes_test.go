package cat

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestRefreshModes does what each mode asks for before it answers.
func TestRefreshModes(t *testing.T) {
	reselect := []string{"80F2020C", selectMF, selectDIR, "80F2010C"}
	tests := []struct {
		qualifier byte
		want      []string // between FETCH and TERMINAL RESPONSE
		result    GeneralResult
	}{
		{RefreshInitAndFullFCN, []string{"80F2010C"}, ResultOK},
		{RefreshFCN, nil, ResultOK},
		{RefreshInitAndFCN, []string{"80F2010C"}, ResultOK},
		{RefreshInit, []string{"80F2010C"}, ResultOK},
		{RefreshApplication, reselect, ResultOK},
		{RefreshSession, reselect, ResultOK},
		{RefreshSteering, nil, ResultBeyondCapabilities},
		{RefreshSteeringWLAN, nil, ResultBeyondCapabilities},
		{0x0A, nil, ResultBeyondCapabilities},
	}
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		for _, tt := range tests {
			n := len(card.exchanges)
			r := b.answer(command(1, tt.qualifier, &Refresh{}))
			got := card.after(n)[2:] // STATUS, FETCH
			if r.Result.General != tt.result || !slices.Equal(got[:len(got)-1], tt.want) || !strings.HasPrefix(got[len(got)-1], "8014") {
				t.Errorf("mode %d: %v, the card was sent %v", tt.qualifier, r.Result, got)
			}
		}
		if card.resets != 0 || src.resets != 0 || card.count("8010") != 1 {
			t.Errorf("%d resets, source told %d times, %d TERMINAL PROFILE", card.resets, src.resets, card.count("8010"))
		}
		b.stop()
	})
}

// TestRefreshProfile answers the change of an eUICC's profile, and then begins anew without a reset.
func TestRefreshProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card, src := newTestCard(t), &testSource{}
		b := runSession(t, card, Config{}, func(s *Session) { s.AddSource(src) })
		b.subscribe(EventLocationStatus)
		n := len(card.exchanges)
		r := b.answer(command(7, RefreshEUICCProfile, &Refresh{}))
		got := card.after(n)
		want := []string{selectMF, selectDIR, profileAPDU(0x80), "80F2010C"}
		if r.Result.General != ResultOK || !slices.Equal(got[3:], want) {
			t.Errorf("%v; the card was sent %v", r.Result, got)
		}
		if card.resets != 0 || src.resets != 1 || b.s.Subscribed(EventLocationStatus) {
			t.Errorf("%d resets, source told %d times", card.resets, src.resets)
		}
		b.answer(command(8, 0, &MoreTime{}))
		b.stop()
	})
}

// TestLocationService tells once after each reset, and only who asks.
func TestLocationService(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status byte
		info   string
		want   Envelope
	}{
		{"normal service", LocationNormal, "62F220123400015678", LocationStatusEvent(LocationNormal, []byte{0x62, 0xF2, 0x20, 0x12, 0x34, 0, 1, 0x56, 0x78})},
		{"limited service", LocationLimited, "00F11000010001", LocationStatusEvent(LocationLimited, nil)},
		{"no service", LocationNoService, "", LocationStatusEvent(LocationNoService, nil)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card := newTestCard(t)
				b := runSession(t, card, Config{}, func(s *Session) {
					NewLocationService(s, Location{tt.status, unhex(t, tt.info)}.Fixed())
				})
				b.subscribe(EventDataAvailable)
				if len(card.envelopes) != 0 {
					t.Errorf("told without being asked: %v", card.envelopes)
				}
				b.subscribe(EventLocationStatus)
				b.subscribe(EventLocationStatus, EventDataAvailable)
				if len(card.envelopes) != 1 || !bytes.Equal(card.envelopes[0].Append(nil), tt.want.Append(nil)) {
					t.Errorf("envelopes %v", card.envelopes)
				}
				b.give(command(2, RefreshUICCReset, &Refresh{}))
				b.subscribe(EventLocationStatus)
				if len(card.envelopes) != 2 {
					t.Errorf("%d envelopes after a reset", len(card.envelopes))
				}
				if p := b.s.Profile(); p[4]&0x10 == 0 {
					t.Errorf("profile %X", p)
				}
				b.stop()
			})
		})
	}
}
