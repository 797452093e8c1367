package readers

import (
	"encoding/hex"
	"fmt"
	"strings"

	"bipd/internal/control"
	"bipd/uicc"
)

// Clock rate conversion integer Fi and baud rate adjustment integer Di by the halves of TA1 (ISO/IEC 7816-3 tables 7
// and 8); 0 = reserved for future use.
var (
	fi = [16]int{372, 372, 558, 744, 1116, 1488, 1860, 0, 0, 512, 768, 1024, 1536, 2048, 0, 0}
	di = [16]int{0, 1, 2, 4, 8, 16, 32, 64, 12, 20, 0, 0, 0, 0, 0, 0}
)

// DecodeATR tells what an answer to reset says. Where it breaks the standard, Fault says how, and the rest is what
// could be read before that.
func DecodeATR(b []byte) *control.ATR {
	a, err := uicc.ParseATR(b)
	if !uicc.ATRUsable(err) {
		return &control.ATR{Fault: err.Error()}
	}
	ta1 := a.FiDi()
	out := &control.ATR{
		Convention: "direct", TA1: fmt.Sprintf("%02X", ta1), Fi: fi[ta1>>4], Di: di[ta1&0x0F],
		Historical: strings.ToUpper(hex.EncodeToString(a.Historical)), Text: printable(a.Historical),
	}
	if a.TS == uicc.TSInverse {
		out.Convention = "inverse"
	}
	for _, p := range a.Protocols() {
		out.Protocols = append(out.Protocols, p.String())
	}
	if p, ok := a.SpecificMode(); ok {
		out.Specific = p.String()
	}
	if err != nil {
		out.Fault = err.Error()
	}
	return out
}

// minText is how many printable octets in a row are taken for a text.
const minText = 4

// printable is the longest run of printable ASCII, "" where that is short.
func printable(b []byte) string {
	var best, run string
	for _, c := range append(b[:len(b):len(b)], 0) {
		if c >= ' ' && c < 0x7F {
			run += string(rune(c))
			continue
		}
		if len(run) > len(best) {
			best = run
		}
		run = ""
	}
	if len(best) < minText {
		return ""
	}
	return best
}

// describeATR is the ATR in a few words.
func describeATR(a *control.ATR) []string {
	if len(a.Protocols) == 0 {
		return []string{a.Fault}
	}
	speed := "TA1=" + a.TA1
	if a.Fi > 0 && a.Di > 0 {
		speed += fmt.Sprintf(" (Fi %d, Di %d)", a.Fi, a.Di)
	}
	first := strings.Join(a.Protocols, " ") + ", " + speed + ", " + a.Convention + " convention"
	if a.Specific != "" {
		first += ", specific mode " + a.Specific
	}
	lines := []string{first}
	if a.Historical != "" {
		history := "historical bytes " + a.Historical
		if a.Text != "" {
			history += fmt.Sprintf(" %q", a.Text)
		}
		lines = append(lines, history)
	}
	if a.Fault != "" {
		lines = append(lines, "fault: "+a.Fault)
	}
	return lines
}
