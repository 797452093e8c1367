package uicc

import (
	"bytes"
	"strings"
	"testing"
)

func TestStatusWord(t *testing.T) {
	const none = -1
	tests := []struct {
		sw                            StatusWord
		ok, warning                   bool
		proactive, available, wrongLe int
		text                          string
	}{
		{0x9000, true, false, none, none, none, "9000 (OK)"},
		{0x9101, true, false, 1, none, none, "9101 (OK, proactive command of 1 bytes waits)"},
		{0x9100, true, false, 256, none, none, "9100 (OK, proactive command of 256 bytes waits)"},
		{0x9300, false, false, none, none, none, "9300 (application toolkit is busy)"},
		{0x9203, true, false, none, none, none, "9203 (OK after 3 internal retries)"},
		{0x9240, false, false, none, none, none, "9240 (memory problem)"},
		{0x611B, false, false, none, 27, none, "611B (OK, 27 bytes of response data wait)"},
		{0x6100, false, false, none, 256, none, "6100 (OK, 256 bytes of response data wait)"},
		{0x9F20, false, false, none, 32, none, "9F20 (OK, 32 bytes of response data wait)"},
		{0x9E05, false, false, none, 5, none, "9E05 (data download error, 5 bytes of response data wait)"},
		{0x6C45, false, false, none, none, 69, "6C45 (wrong length Le, 69 bytes are available)"},
		{0x6C00, false, false, none, none, 256, "6C00 (wrong length Le, 256 bytes are available)"},
		{0x6200, false, true, none, none, none, "6200 (warning: no information given)"},
		{0x62AB, false, true, none, none, none, "62AB (warning, memory unchanged)"},
		{0x63C2, false, true, none, none, none, "63C2 (warning: verification failed, 2 tries remain)"},
		{0x6A82, false, false, none, none, none, "6A82 (file not found)"},
		{0x6F42, false, false, none, none, none, "6F42 (technical problem)"},
		{0x1234, false, false, none, none, none, "1234 (unknown status)"},
	}
	for _, tt := range tests {
		t.Run(tt.text[:4], func(t *testing.T) {
			if tt.sw.OK() != tt.ok || tt.sw.Warning() != tt.warning || tt.sw.String() != tt.text {
				t.Errorf("OK %v, Warning %v, String %q", tt.sw.OK(), tt.sw.Warning(), tt.sw)
			}
			for what, f := range map[string]struct {
				get  func() (int, bool)
				want int
			}{
				"Proactive":         {tt.sw.Proactive, tt.proactive},
				"ResponseAvailable": {tt.sw.ResponseAvailable, tt.available},
				"WrongLe":           {tt.sw.WrongLe, tt.wrongLe},
			} {
				if n, ok := f.get(); ok != (f.want != none) || ok && n != f.want {
					t.Errorf("%s: %d, %v, want %d", what, n, ok, f.want)
				}
			}
			if b := tt.sw.Bytes(); StatusWord(b[0])<<8|StatusWord(b[1]) != tt.sw {
				t.Errorf("Bytes: %X", b)
			}
		})
	}
}

func TestSplitResponse(t *testing.T) {
	rapdu := []byte{1, 2, 3, 0x90, 0x00}
	data, sw, err := SplitResponse(rapdu)
	if err != nil || sw != SWOK || !bytes.Equal(data, rapdu[:3]) {
		t.Errorf("%X %v %v", data, sw, err)
	}
	_ = append(data, 0xFF)
	if rapdu[3] != 0x90 {
		t.Error("appending to the data wrote into the status word")
	}
	if data, sw, err := SplitResponse([]byte{0x91, 0x0F}); err != nil || sw != 0x910F || len(data) != 0 {
		t.Errorf("%X %v %v", data, sw, err)
	}
	for _, short := range [][]byte{nil, {0x90}} {
		if _, _, err := SplitResponse(short); err == nil || !strings.Contains(err.Error(), "no status word") {
			t.Errorf("%X: %v", short, err)
		}
	}
}
