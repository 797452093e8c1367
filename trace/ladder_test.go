package trace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// clock stamps the events one after the other, a step of time apart.
func clock(step time.Duration, events []Event) []Event {
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	for i := range events {
		events[i].Time = at
		at = at.Add(step)
	}
	return events
}

func repeat(n int, cycle ...Event) []Event { return slices.Repeat(cycle, n) }

var (
	open     = Event{Channel: 1, Step: "S401", From: UICC, To: CP, What: "FETCH: OPEN CHANNEL"}
	fetch    = Event{Channel: 1, Step: "S411", From: UICC, To: CP, What: "FETCH: RECEIVE DATA"}
	response = Event{Channel: 1, Step: "S412", From: CP, To: UICC, What: "TERMINAL RESPONSE", Bytes: 237}
	data     = Event{Channel: 1, Step: "S409", From: Server, To: CP, What: "TCP data", Bytes: 1400}
	status   = Event{Channel: 1, Step: "S410", From: CP, To: UICC, What: "ENVELOPE: Data available"}
)

func ladderOf(t *testing.T, events []Event, opt LadderOptions) string {
	t.Helper()
	var b strings.Builder
	if err := WriteLadder(&b, events, opt); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// golden compares line by line. The expected text begins with a newline, for the test's source to read well.
func golden(t *testing.T, got, want string) {
	t.Helper()
	want = strings.TrimPrefix(want, "\n")
	if got == want {
		return
	}
	t.Errorf("got\n%s\nwant\n%s", got, want)
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			t.Errorf("first difference in line %d:\n got %q\nwant %q", i+1, g[i], w[i])
			return
		}
	}
}

func TestLadderMethod2(t *testing.T) {
	events := clock(731*time.Microsecond, []Event{
		{Step: "S701", From: UICC, To: CP, What: "FETCH: OPEN CHANNEL"},
		{Step: "S702", From: CP, To: AP, What: "AT%WEBOPCH=1,\"TCP\",\"192.0.2.1\",443,1400"},
		{Step: "S703", From: AP, To: Server, What: "TCP connect"},
		{Step: "S704", From: Server, To: AP, What: "connected"},
		{Step: "S705", From: AP, To: CP, What: "OK"},
		{Step: "S707", From: UICC, To: CP, What: "FETCH: SEND DATA", Bytes: 1},
		{Step: "S709", From: AP, To: Server, What: "TCP data", Bytes: 12, Err: "connection reset by peer"},
		{From: CP, To: CP, What: "timer"},
		{From: "moon", To: CP, What: "light"},
	})
	golden(t, ladderOf(t, events, LadderOptions{ASCII: true}), `
       ms step UICC     CP      AP    server
    0.000 S701   |------>|       |       |    FETCH: OPEN CHANNEL
    0.731 S702   |       |------>|       |    AT%WEBOPCH=1,"TCP","192.0.2.1",443
                 |       |       |       |    ,1400
    1.462 S703   |       |       |------>|    TCP connect
    2.193 S704   |       |       |<------|    connected
    2.924 S705   |       |<------|       |    OK
    3.655 S707   |------>|       |       |    FETCH: SEND DATA (1 byte)
    4.386 S709   |       |       |------x|    TCP data (12 bytes) !! connection
                 |       |       |       |    reset by peer
    5.117        |       *       |       |    timer
    5.848        |       |       |       |    moon to CP: light
       ms step UICC     CP      AP    server
`)
}

func TestLadderFoldsAndLeavesTheAPOut(t *testing.T) {
	events := clock(time.Millisecond, slices.Concat([]Event{open, data, status}, repeat(1000, fetch, response),
		[]Event{{Channel: 1, Step: "S413", From: UICC, To: CP, What: "FETCH: CLOSE CHANNEL"}}))
	golden(t, ladderOf(t, events, LadderOptions{Width: 90}), `
       ms step UICC      CP     server
    0.000 S401   │───────▶│        │    FETCH: OPEN CHANNEL
    1.000 S409   │        │◀───────│    TCP data (1400 bytes)
    2.000 S410   │◀───────│        │    ENVELOPE: Data available
    3.000 S411   │───────▶│        │    FETCH: RECEIVE DATA
    4.000 S412   │◀───────│        │    TERMINAL RESPONSE (237 bytes)
    5.000      ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ repeated 999 times: 1998 messages
     x999 S411   │───────▶│        │    FETCH: RECEIVE DATA
     x999 S412   │◀───────│        │    TERMINAL RESPONSE (236763 bytes)
 2002.000      ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ in 1997.000 ms, 236763 bytes to the UICC
 2003.000 S413   │───────▶│        │    FETCH: CLOSE CHANNEL
       ms step UICC      CP     server
`)
}

func TestLadderLabelsCardsAndChannels(t *testing.T) {
	two := clock(time.Millisecond, []Event{
		{Source: "bipd", Card: "card0", Channel: 1, From: UICC, To: CP, What: "a"},
		{Source: "bipd", Card: "card1", Channel: 2, From: UICC, To: CP, What: "b"},
		{Source: "apd", Card: "line0", Channel: 1, From: AP, To: Server, What: "c"},
		{Source: "bipd", From: UICC, To: CP, What: "d"},
	})
	got := ladderOf(t, two, LadderOptions{})
	for _, want := range []string{" [card0 channel 1] a\n", " [card1 channel 2] b\n", " [line0 channel 1] c\n", " d\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	two[1].Card, two[1].Channel = "card0", 1
	if got := ladderOf(t, two, LadderOptions{}); strings.Contains(got, "[") {
		t.Errorf("one card and one channel need no labels:\n%s", got)
	}
}

func TestLadderEscapes(t *testing.T) {
	events := clock(0, []Event{{From: UICC, To: CP, What: "\x1b[31mred\u202e\xff\n\u00e9"}})
	if got := ladderOf(t, events, LadderOptions{}); !strings.Contains(got, `\x1b[31mred\u202e\xff\x0aé`) {
		t.Errorf("unicode:\n%s", got)
	}
	if got := ladderOf(t, events, LadderOptions{ASCII: true}); !strings.Contains(got, `\x1b[31mred\u202e\xff\x0a\u00e9`) {
		t.Errorf("ASCII:\n%s", got)
	}
}

func TestLadderWidths(t *testing.T) {
	var events []Event
	for _, m := range []Method{Method1, Method2} {
		events = append(events, walk(m, 1)...)
	}
	events = append(events, Event{From: CP, To: Server, What: strings.Repeat("word ", 60) + strings.Repeat("x", 300)})
	clock(time.Hour, events)
	for _, tc := range []struct{ given, used int }{{0, 80}, {80, 80}, {100, 100}, {160, 160}, {500, 160}} {
		longest := 0
		for line := range strings.SplitSeq(ladderOf(t, events, LadderOptions{Width: tc.given}), "\n") {
			longest = max(longest, utf8.RuneCountInString(line))
		}
		if longest != tc.used {
			t.Errorf("width %d: the longest line has %d, want %d", tc.given, longest, tc.used)
		}
	}
}

func TestLadderErrors(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, events := range [][]Event{nil, clock(0, []Event{open})} {
		if err := WriteLadder(errWriter{broken}, events, LadderOptions{}); !errors.Is(err, broken) {
			t.Errorf("terminal: %v", err)
		}
		if err := WriteLadderHTML(errWriter{broken}, events, ""); !errors.Is(err, broken) {
			t.Errorf("HTML: %v", err)
		}
	}
	if got := ladderOf(t, nil, LadderOptions{}); got != "no events\n" {
		t.Errorf("no events gave %q", got)
	}
}

// shape shows the blocks: an event by its step, a folded block by its rows and counts.
func shape(blocks []block) string {
	var parts []string
	for _, b := range blocks {
		if b.rows == nil {
			parts = append(parts, b.events[0].Step)
			continue
		}
		var rows []string
		for _, r := range b.rows {
			rows = append(rows, fmt.Sprintf("%sx%d", r.Step, r.count))
		}
		parts = append(parts, "("+strings.Join(rows, " ")+")")
	}
	return strings.Join(parts, " ")
}

func TestFold(t *testing.T) {
	failed := response
	failed.Err = "card removed"
	second := func(e Event) Event { e.Channel = 2; return e }
	numbered := func(e Event, n int) Event { e.What = fmt.Sprintf("%s %d", e.What, n); return e }
	var irregular, counted []Event
	for i := range 100 {
		if i%7 == 0 || i%11 == 0 {
			irregular = append(irregular, data)
		}
		irregular = append(irregular, fetch, response)
		counted = append(counted, numbered(fetch, i), numbered(response, 2*i))
	}
	burst := slices.Concat([]Event{data, status}, repeat(30, fetch, response))
	for _, tc := range []struct {
		name   string
		events []Event
		want   string
	}{
		{"nothing", nil, ""},
		{"too few to be worth it", repeat(3, fetch, response), "S411 S412 S411 S412 S411 S412"},
		{"a cycle of two", repeat(50, fetch, response), "S411 S412 (S411x49 S412x49)"},
		{"numbers differ", counted, "S411 S412 (S411x99 S412x99)"},
		{"around a cycle", slices.Concat([]Event{open}, repeat(9, fetch, response), []Event{data}), "S401 S411 S412 (S411x8 S412x8) S409"},
		{"irregular data between", irregular, "S409 S411 S412 (S411x99 S412x99 S409x22)"},
		{"bursts", slices.Concat(burst, burst), "S409 S410 S411 S412 (S411x59 S412x59 S409x1 S410x1)"},
		{"cycles of cycles", slices.Repeat(burst, 20), "S409 S410 S411 S412 (S411x599 S412x599 S409x19 S410x19)"},
		{"a single message within", slices.Concat(repeat(20, fetch, response), []Event{data}, repeat(20, fetch, response)),
			"S411 S412 (S411x19 S412x19) S409 (S411x20 S412x20)"},
		{"two channels", repeat(20, fetch, second(fetch), response, second(response)), "S411 S411 S412 S412 (S411x19 S411x19 S412x19 S412x19)"},
		{"a failure stands alone", slices.Concat(repeat(20, fetch, response), []Event{fetch, failed}, repeat(20, fetch, response)),
			"S411 S412 (S411x20 S412x19) S412 (S411x20 S412x20)"},
		{"a channel opened again is shown again", slices.Concat([]Event{open}, repeat(9, fetch, response), []Event{open}, repeat(9, fetch, response)),
			"S401 S411 S412 (S411x8 S412x8) S401 S411 S412 (S411x8 S412x8)"},
		{"failures are not folded", repeat(6, failed), "S412 S412 S412 S412 S412 S412"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := shape(fold(tc.events)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
	b := fold(counted)[2]
	if b.rows[0].What != "FETCH: RECEIVE DATA #" || b.repeats() != 99 {
		t.Errorf("row %+v, repeats %d", b.rows[0], b.repeats())
	}
	if up, down := fold(irregular)[3].moved(); up != 0 || down != 99*237 {
		t.Errorf("moved %d up and %d down", up, down)
	}
}

// Whatever comes in a trace: no event is lost in a fold, the lines keep the width and no control character passes.
func FuzzLadder(f *testing.F) {
	f.Add([]byte("abcabcabcabcabcabcabcabc"), "text", uint8(80), false)
	f.Add(bytes.Repeat([]byte{1, 2}, 40), "\x1b[2J é \u200b", uint8(160), true)
	f.Fuzz(func(t *testing.T, kinds []byte, what string, width uint8, ascii bool) {
		if len(kinds) > 1000 || len(what) > 1000 {
			return
		}
		all := append(slices.Clone(parties), "", "moon")
		var events []Event
		for _, k := range kinds {
			e := Event{From: all[int(k)%6], To: all[int(k/6)%6], Channel: int(k) % 3, What: what, Bytes: int(k)}
			if k > 250 {
				e.Err = what
			}
			events = append(events, e)
		}
		clock(time.Duration(width)*time.Second, events)
		var folded []Event
		for _, b := range fold(events) {
			folded = append(folded, b.events...)
			rows := 0
			for _, r := range b.rows {
				rows += r.count
			}
			if b.rows != nil && rows != len(b.events) {
				t.Fatalf("%d messages in rows, %d in the block", rows, len(b.events))
			}
		}
		if !slices.Equal(folded, events) {
			t.Fatal("the folded events are not the events")
		}
		for line := range strings.SplitSeq(ladderOf(t, events, LadderOptions{Width: int(width), ASCII: ascii}), "\n") {
			if n := utf8.RuneCountInString(line); n > max(80, int(width)) || n > 160 {
				t.Fatalf("line of %d at width %d: %q", n, width, line)
			}
			for _, r := range line {
				if !unicode.IsPrint(r) || ascii && r > 0x7e {
					t.Fatalf("character %q in %q", r, line)
				}
			}
		}
	})
}
