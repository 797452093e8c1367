package trace

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

// No form of a trace with holes looks whole: the hole is shown where it is, also within a cycle that is folded, and the
// whole number at the end or the top.
func TestHoles(t *testing.T) {
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	var events []Event
	for i := range 40 {
		at = at.Add(time.Millisecond)
		events = append(events, Event{Time: at, Source: "bipd", Channel: 1, Step: "S411", From: UICC, To: CP, What: "FETCH: RECEIVE DATA"})
		if i == 19 || i == 29 {
			lost := LostEvent("bipd", i-12, tooSlow)
			lost.Time = at
			events = append(events, lost)
		}
	}
	var lines, text, page bytes.Buffer
	for _, e := range events {
		if err := Encode(&lines, e); err != nil {
			t.Fatal(err)
		}
	}
	read, err := DecodeAll(&lines)
	if err != nil || !slices.Equal(read, events) {
		t.Errorf("as NDJSON: %v", err)
	}
	if err := WriteLadder(&text, events, LadderOptions{Width: 100}); err != nil {
		t.Fatal(err)
	}
	if err := WriteLadderHTML(&page, events, "holes"); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]string{"ladder": text.String(), "page": page.String()} {
		for _, want := range []string{"7 events lost", "17 events lost", "this trace has holes: 24 events lost", tooSlow} {
			if !strings.Contains(s, want) {
				t.Errorf("the %s has no %q:\n%s", what, want, s)
			}
		}
	}
	if err := CheckOrder(events, Method1, 1); err == nil || !strings.Contains(err.Error(), "24 events lost") {
		t.Errorf("the judgement of the order does not tell: %v", err)
	}
	whole := slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.Lost > 0 })
	text.Reset()
	if err := WriteLadder(&text, whole, LadderOptions{}); err != nil || strings.Contains(text.String(), "lost") {
		t.Errorf("a whole trace: %v\n%s", err, text.String())
	}
}
