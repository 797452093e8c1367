package readers

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"bipd/internal/control"
)

func TestDecodeATR(t *testing.T) {
	for name, tc := range map[string]struct {
		atr  string
		want control.ATR
	}{
		"least":         {"3B00", control.ATR{Convention: "direct", Protocols: []string{"T=0"}, TA1: "11", Fi: 372, Di: 1}},
		"inverse":       {"3F00", control.ATR{Convention: "inverse", Protocols: []string{"T=0"}, TA1: "11", Fi: 372, Di: 1}},
		"fast UICC":     {"3B9F96801F878031E073FE211B674A4C7530340448AB", control.ATR{Convention: "direct", Protocols: []string{"T=0"}, TA1: "96", Fi: 512, Di: 32, Historical: "8031E073FE211B674A4C7530340448", Text: "gJLu04"}},
		"both":          {"3B80800101", control.ATR{Convention: "direct", Protocols: []string{"T=0", "T=1"}, TA1: "11", Fi: 372, Di: 1}},
		"torn":          {"3B10", control.ATR{Fault: "uicc: bad answer to reset: it ends before TA1"}},
		"no ATR":        {"", control.ATR{Fault: "uicc: bad answer to reset: 0 bytes, it has 2 to 33"}},
		"specific":      {"3B801080", control.ATR{Convention: "direct", Protocols: []string{"T=0"}, Specific: "T=0", TA1: "11", Fi: 372, Di: 1}},
		"octets behind": {"3B009000", control.ATR{Convention: "direct", Protocols: []string{"T=0"}, TA1: "11", Fi: 372, Di: 1, Fault: "uicc: bytes follow the end of the answer to reset: 2 of them"}},
		"RFU speed":     {"3B107F", control.ATR{Convention: "direct", Protocols: []string{"T=0"}, TA1: "7F"}},
	} {
		b, err := hex.DecodeString(tc.atr)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := DecodeATR(b); !reflect.DeepEqual(*got, tc.want) {
			t.Errorf("%s: %s:\ngot  %+v\nwant %+v", name, tc.atr, *got, tc.want)
		}
	}
}

func TestDescribeATR(t *testing.T) {
	for atr, want := range map[string]string{
		"3B9F96801F878031E073FE211B674A4C7530340448AB": "T=0, TA1=96 (Fi 512, Di 32), direct convention\nhistorical bytes 8031E073FE211B674A4C7530340448 \"gJLu04\"",
		"3B107F":     "T=0, TA1=7F, direct convention",
		"3B":         "uicc: bad answer to reset: 1 bytes, it has 2 to 33",
		"3B80800100": "T=0 T=1, TA1=11 (Fi 372, Di 1), direct convention\nfault: uicc: wrong check byte TCK in the answer to reset: 00 instead of 01",
	} {
		b, err := hex.DecodeString(atr)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(describeATR(DecodeATR(b)), "\n"); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", atr, got, want)
		}
	}
}

func FuzzDecodeATR(f *testing.F) {
	for _, atr := range []string{"3B00", "3B9F96801F878031E073FE211B674A4C7530340448AB", "3F", "3B80800100"} {
		b, _ := hex.DecodeString(atr)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := DecodeATR(b)
		if (len(a.Protocols) == 0) && a.Fault == "" {
			t.Errorf("% X: neither protocol nor fault", b)
		}
		for _, line := range describeATR(a) {
			if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("% X: line %q", b, line)
			}
		}
	})
}
