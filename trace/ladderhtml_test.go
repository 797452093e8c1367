package trace

import (
	"encoding/xml"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func htmlOf(t *testing.T, events []Event, title string) string {
	t.Helper()
	var b strings.Builder
	if err := WriteLadderHTML(&b, events, title); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// elements parses the page and counts its elements by name and class. A tag that is not closed is an error.
func elements(t *testing.T, page string) map[string]int {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	counts := make(map[string]int)
	for {
		token, err := d.Token()
		if err == io.EOF {
			return counts
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			counts[e.Name.Local]++
			for _, a := range e.Attr {
				if a.Name.Local == "class" {
					for class := range strings.FieldsSeq(a.Value) {
						counts["."+class]++
					}
				}
			}
		}
	}
}

func TestLadderHTML(t *testing.T) {
	first := open
	first.APDU, first.RAPDU = "8012000020", "D01E9000"
	events := clock(time.Millisecond, slices.Concat([]Event{first}, repeat(1500, fetch, response), []Event{
		{Step: "S708", From: CP, To: AP, What: "data"},
		{From: CP, To: Server, What: "reset", Err: "broken"},
		{From: "moon", To: CP, What: "light"}, {From: CP, To: CP, What: "timer"},
	}))
	page := htmlOf(t, events, "Channel 1")
	got := elements(t, page)
	for what, want := range map[string]int{
		"details": 1, ".fold": 1, ".failed": 1, ".note": 2, "script": 0, "img": 0, "link": 0,
		".row": 1 + 3 + 1 + 2 + maxUnfolded + 4, // the parties, what is new, the block's head and rows, its messages, the last
	} {
		if got[what] != want {
			t.Errorf("%d of %s, want %d", got[what], what, want)
		}
	}
	for _, want := range []string{
		`<div class="row"><div class="time">0.000</div><div class="step" title="UICC to CP: FETCH: OPEN CHANNEL">S401</div>` +
			`<div class="chart"><div class="arrow right" style="grid-column:1/2" title="command 8012000020, response D01E9000">` +
			`<span>FETCH: OPEN CHANNEL</span></div></div></div>`,
		`×1499`, `repeated 1499 times: 2998 messages in 2997.000 ms, 355263 bytes to the UICC`, `... and 998 messages more`,
		`<div class="arrow left" style="grid-column:1/2"><span>TERMINAL RESPONSE (237 bytes)</span>`,
		`<div class="arrow right failed" style="grid-column:2/4"><span>reset !! broken</span>`,
		`3005 messages from 2025-06-01 12:00:00.000 &#43;00:00`, `<span>UICC</span><span>CP</span><span>AP</span><span>server</span>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if single := htmlOf(t, events[:10], ""); strings.Contains(single, "<span>AP</span>") {
		t.Error("a column for an AP that has no events")
	}
	if none := htmlOf(t, nil, "x"); !strings.Contains(none, "no events") || elements(t, none)[".row"] != 0 {
		t.Error("a chart without events")
	}
}

// The page loads nothing: not from the network and not from files.
func TestLadderHTMLIsSelfContained(t *testing.T) {
	page := htmlOf(t, clock(time.Millisecond, walk(Method2, 1)), "t")
	if m := regexp.MustCompile(`(?i)(src|href)\s*=|url\(|@import|https?:|<script`).FindString(page); m != "" {
		t.Errorf("the page has %q", m)
	}
}

func TestLadderHTMLEscapes(t *testing.T) {
	const evil = `"><script>alert('x')</script><b onclick=x>&amp;` + "\x00\u202e"
	events := clock(time.Millisecond, repeat(30,
		Event{Card: evil, Step: evil, From: UICC, To: CP, What: evil, APDU: evil, RAPDU: evil, Bytes: 1},
		Event{Card: "b", Step: evil, From: evil, To: CP, What: evil}))
	events = append(events, Event{Time: events[0].Time, Card: evil, From: CP, To: AP, What: evil, APDU: evil, Err: evil})
	page := htmlOf(t, events, evil)
	got := elements(t, page)
	for _, what := range []string{"script", "b"} {
		if got[what] != 0 {
			t.Errorf("%d elements %s from the events", got[what], what)
		}
	}
	if strings.ContainsAny(page, "\x00\u202e") || strings.Contains(page, "onclick=x>") {
		t.Error("unescaped text in the page")
	}
	if n := strings.Count(page, `\x00\u202e`); n < 60 {
		t.Errorf("the escaped text is there %d times", n)
	}
}
