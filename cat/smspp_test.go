package cat_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"bipd/cat"
	"bipd/softuicc"
	"bipd/uicc"
)

// TestSMSPPDownload has a UICC (61xx) and a GSM SIM (9Fxx) answer with response data, the first time after 9300, and a UICC
// that gives its response packet behind a warning.
func TestSMSPPDownload(t *testing.T) {
	for _, tc := range []struct {
		gsm  bool
		want uicc.StatusWord
	}{{false, uicc.SWOK}, {true, uicc.SWOK}, {false, 0x6310}, {false, 0x6200}} {
		packet := cat.ResponsePacket{TAR: [3]byte{1, 2, 3}, Data: []byte{0x90, 0x00}}.Append(nil)
		cfg := softuicc.Config{GSM: tc.gsm, SMSPPAnswer: packet}
		if tc.want.Warning() {
			cfg.Warning = func([]byte) uint16 { return uint16(tc.want) }
		}
		card, err := softuicc.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		card.SetQuirks(softuicc.Quirks{Busy: 1})
		s := cat.NewSession(uicc.Settle(card), cat.Config{Name: "test"})
		cat.NewShortMessages(s, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for range 2 {
			sw, data, err := s.SendEnvelope(ctx, cat.SMSPPDownloadEnvelope(cat.Address{TONNPI: 0x91, Number: "44"}, []byte{4, 1}))
			if err != nil || sw != tc.want || !bytes.Equal(data, packet) {
				t.Errorf("GSM %v: %v %X %v, want %v", tc.gsm, sw, data, err, tc.want)
			}
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("the session does not end")
		}
		card.Close()
		for _, v := range card.Violations() {
			t.Error(v)
		}
	}
}
