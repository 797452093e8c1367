package trace

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// LadderOptions are the choices for WriteLadder.
type LadderOptions struct {
	Width int  // columns of the terminal; below 80 counts as 80, above 160 as 160
	ASCII bool // arrows and lifelines of ASCII characters, and no others in the texts
}

// WriteLadder writes the events as a message sequence chart for a terminal: a column for each party, an arrow for
// each event, with the milliseconds since the first event and the step number. Repeated cycles are folded into one
// block with the number of repeats and bytes; failures are marked and never folded. Where events were lost an event says
// so, and a line at the end says how many in all. The AP's column is left out when no event has the AP. Control characters in texts are shown escaped. The events are taken in the order given.
func WriteLadder(w io.Writer, events []Event, opt LadderOptions) error {
	out := bufio.NewWriter(w)
	if len(events) == 0 {
		fmt.Fprintln(out, "no events")
		return out.Flush()
	}
	l := newLadder(out, events, opt)
	l.header()
	for _, b := range fold(events) {
		if b.rows == nil {
			l.event(b.events[0])
		} else {
			l.fold(b)
		}
	}
	l.header()
	if text := holes(events); text != "" {
		fmt.Fprintln(out, "!! "+text)
	}
	return out.Flush()
}

// ladder draws the lines of a chart. Its columns are: time or count, step, lifelines, text.
type ladder struct {
	out     *bufio.Writer
	glyphs  glyphs
	ascii   bool
	labels  labels
	start   time.Time
	parties []Party
	timeLen int // width of the time column
	gap     int // from one lifeline to the next
	textLen int // width of the text column
}

// glyphs are the characters of the arrows.
type glyphs struct{ life, line, right, left, self, failed, fold rune }

var (
	unicodeGlyphs = glyphs{life: '│', line: '─', right: '▶', left: '◀', self: '●', failed: '×', fold: '┄'}
	asciiGlyphs   = glyphs{life: '|', line: '-', right: '>', left: '<', self: '*', failed: 'x', fold: '.'}
)

const (
	margin  = 2 // before the first lifeline
	lastLen = 3 // after the last lifeline: half of "server"
)

func newLadder(out *bufio.Writer, events []Event, opt LadderOptions) *ladder {
	l := &ladder{out: out, glyphs: unicodeGlyphs, ascii: opt.ASCII, labels: newLabels(events), start: events[0].Time}
	if opt.ASCII {
		l.glyphs = asciiGlyphs
	}
	l.parties = ladderParties(events)
	l.timeLen = 9
	for _, e := range events {
		l.timeLen = max(l.timeLen, len(l.since(e)))
	}
	width := min(max(opt.Width, 80), 160)
	l.gap = 8 + (width-80)/10
	l.textLen = width - l.prefixLen() - l.chartLen() - 1
	return l
}

// ladderParties are the columns: all parties, but the AP only where it takes part.
func ladderParties(events []Event) []Party {
	if slices.ContainsFunc(events, func(e Event) bool { return e.From == AP || e.To == AP }) {
		return parties
	}
	return []Party{UICC, CP, Server}
}

func (l *ladder) prefixLen() int { return l.timeLen + len(" S401 ") }
func (l *ladder) chartLen() int  { return margin + (len(l.parties)-1)*l.gap + 1 + lastLen }

// since gives the milliseconds from the first event, with 3 decimals.
func (l *ladder) since(e Event) string { return millis(e.Time.Sub(l.start)) }

func millis(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d.Nanoseconds())/1e6) }

// header names the columns, each party centred over its lifeline.
func (l *ladder) header() {
	chart := []rune(strings.Repeat(" ", l.chartLen()))
	for i, p := range l.parties {
		copy(chart[max(0, margin+i*l.gap-len(p)/2):], []rune(string(p)))
	}
	l.line("ms", "step", chart, "")
}

func (l *ladder) event(e Event) { l.message(l.since(e), e, eventText(e, e.Bytes)) }

// fold draws a folded block: a line before with what it holds, a row for each message with its count in place of the
// time, and a line after with what it carried.
func (l *ladder) fold(b block) {
	first, last := b.events[0], b.events[len(b.events)-1]
	l.rule(l.since(first), repeats(b))
	for _, r := range b.rows {
		l.message(fmt.Sprintf("x%d", r.count), r.Event, eventText(r.Event, r.bytes))
	}
	l.rule(l.since(last), moved(b))
}

// rule draws a dotted line across the lifelines with a text beside it.
func (l *ladder) rule(at, text string) {
	chart := []rune(strings.Repeat(string(l.glyphs.fold), l.chartLen()))
	l.wrapped(at, "", chart, text)
}

// message draws one arrow and its text.
func (l *ladder) message(at string, e Event, text string) {
	chart := l.lifelines()
	from, to := slices.Index(l.parties, e.From), slices.Index(l.parties, e.To)
	if from < 0 || to < 0 {
		text = fmt.Sprintf("%s to %s: %s", e.From, e.To, text)
	} else {
		l.arrow(chart, from, to, e.Err != "")
	}
	l.wrapped(at, e.Step, chart, l.labels.of(e)+text)
}

func (l *ladder) lifelines() []rune {
	chart := []rune(strings.Repeat(" ", l.chartLen()))
	for i := range l.parties {
		chart[margin+i*l.gap] = l.glyphs.life
	}
	return chart
}

// arrow draws from one lifeline to another, across those between. That of a failed message ends in a cross.
func (l *ladder) arrow(chart []rune, from, to int, failed bool) {
	a, b := margin+from*l.gap, margin+to*l.gap
	if a == b {
		chart[a] = l.glyphs.self
		return
	}
	for i := min(a, b) + 1; i < max(a, b); i++ {
		chart[i] = l.glyphs.line
	}
	tip, head := b-1, l.glyphs.right
	if a > b {
		tip, head = b+1, l.glyphs.left
	}
	if failed {
		head = l.glyphs.failed
	}
	chart[tip] = head
}

// wrapped draws a line, and further ones with bare lifelines for a text that is too long for one.
func (l *ladder) wrapped(at, step string, chart []rune, text string) {
	for i, part := range wrap(printable(text, l.ascii), l.textLen) {
		if i > 0 {
			at, step, chart = "", "", l.lifelines()
		}
		l.line(at, step, chart, part)
	}
}

func (l *ladder) line(at, step string, chart []rune, text string) {
	s := fmt.Sprintf("%*s %-4.4s %s %s", l.timeLen, at, printable(step, l.ascii), string(chart), text)
	fmt.Fprintln(l.out, strings.TrimRight(s, " "))
}

// wrap cuts the text into lines of at most n characters, between words where that is possible. It gives at least one.
func wrap(text string, n int) []string {
	var lines []string
	rest := []rune(strings.TrimSpace(text))
	for len(rest) > n {
		cut := n
		for i := n; i > n/2; i-- {
			if rest[i] == ' ' {
				cut = i
				break
			}
		}
		lines = append(lines, string(rest[:cut]))
		rest = []rune(strings.TrimLeft(string(rest[cut:]), " "))
	}
	return append(lines, string(rest))
}

// printable shows what would move a terminal's cursor, or is no character, as an escape: an event's text may come
// from a card or a server.
func printable(s string, ascii bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < ' ', r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r), ascii && r > 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}
