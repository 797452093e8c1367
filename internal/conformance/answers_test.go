package conformance

import (
	"fmt"
	"slices"
	"testing"

	"bipd/cat"
	"bipd/softuicc"
)

// testAnswers has a card send every proactive command of the vectors: each gets one well-formed answer, and a command that
// the TERMINAL PROFILE does not offer is beyond the terminal's capabilities.
func testAnswers(t *testing.T) {
	byType := map[string][]vector{}
	var names []string
	for _, v := range loadVectors(t) {
		if v.Kind == "proactive" && len(v.Hex)/2 <= maxCommand {
			if byType[v.Command] == nil {
				names = append(names, v.Command)
			}
			byType[v.Command] = append(byType[v.Command], v)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, bare := range []bool{false, true} {
			what := map[bool]string{false: "all offered", true: "little offered"}[bare]
			check(t, "6.4", fmt.Sprintf("answers to %d commands %s, %s", len(byType[name]), name, what), func(k *testCase) {
				play(k, options{bare: bare, tolerate: wrongVector(byType[name])}, func(a *app) {
					for _, v := range byType[name] {
						a.answers(v)
					}
				})
			})
		}
	}
}

// maxCommand is the longest command that the software UICC can bring.
const maxCommand = 255

// wrongVector tells the judge's opinion of vectors that are wrong, or that use what has no clause here.
func wrongVector(list []vector) func(softuicc.Violation) bool {
	wrong := slices.ContainsFunc(list, func(v vector) bool { _, odd := refused[v.ID]; return odd })
	return func(v softuicc.Violation) bool { return wrong && v.Clause == "6.10" }
}

// answers sends the vector and looks at the response.
func (a *app) answers(v vector) {
	b, err := a.tk.DoRaw(a.ctx, unhex(v.Hex))
	a.must(err)
	list, err := walk(b)
	switch {
	case err != nil:
		a.fail("%s: response %X: %w", v.ID, b, err)
	case len(list) < 3 || list[0].tag != 0x01 || list[1].tag != 0x02 || list[2].tag != 0x03 || len(list[2].value) == 0:
		a.fail("%s: response %X", v.ID, b)
	case upper(list[0].value) != fmt.Sprintf("%02X", *v.Decoded.Number)+v.Decoded.Type+v.Decoded.Qualifier:
		a.fail("%s: response %X to other command details", v.ID, b)
	case upper(list[1].value) != "8281":
		a.fail("%s: response %X with device identities %X", v.ID, b, list[1].value)
	}
	result := list[2].value[0]
	typ := cat.CommandType(unhex(v.Decoded.Type)[0])
	switch {
	case cat.GeneralResult(result).NeedsInfo() && len(list[2].value) < 2:
		a.fail("%s: result %02X without its additional information", v.ID, result)
	case result == 0x31:
		a.fail("%s: result 31, type not understood, for a command of the specification", v.ID)
	case !a.tk.Profile().Supports(typ) && !slices.Contains(unlisted, typ) && result != 0x30 && !wrong(v, result):
		a.fail("%s: result %02X for a command that TERMINAL PROFILE does not offer, want 30", v.ID, result)
	case refused[v.ID] != 0 && result < 0x20:
		a.fail("%s: result %02X for a command that is wrong", v.ID, result)
	}
}

func wrong(v vector, result byte) bool { return byte(refused[v.ID]) == result && result != 0 }

// unlisted are commands for which the judge looks at no bit of the TERMINAL PROFILE.
var unlisted = []cat.CommandType{cat.TypeLanguageNotification, cat.TypePlayTone, cat.TypeSetUpIdleModeText}
