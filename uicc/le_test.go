package uicc

import (
	"bytes"
	"testing"
)

// Commands with data get an Le where their data is expected and GET RESPONSE is not the way to it.
func TestAppendLe(t *testing.T) {
	for capdu, want := range map[string]string{
		"00A40004023F00":   "00A40004023F0000", // SELECT
		"00A4000C023F00":   "",                 // without data
		"00A40004023F0000": "",                 // it has one
		"80C2000002D100":   "80C2000002D10000", // ENVELOPE
		"8014000002D100":   "",                 // TERMINAL RESPONSE
		"00880081021122":   "0088008102112200", // AUTHENTICATE
		"80CB008001DF":     "80CB008001DF00",   // RETRIEVE DATA, first block
		"80CB000000":       "",                 // next block
		"80F28000024F00":   "80F28000024F0000",
		"80E2910001BF":     "80E2910001BF00", // STORE DATA with a response
		"80E2900001BF":     "",               // without
		"00E2910001BF":     "",               // APPEND RECORD
		"8050000001AA":     "8050000001AA00", // INITIALIZE UPDATE
		"80F2000C":         "",
		"80F2000000":       "",
	} {
		if want == "" {
			want = capdu
		}
		if got := AppendLe(nil, hx(capdu)); !bytes.Equal(got, hx(want)) {
			t.Errorf("%s: %X, want %s", capdu, got, want)
		}
	}
}
