package trace

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

// maxUnfolded is how many messages of one folded block the page shows one by one: a browser has to draw them.
const maxUnfolded = 2000

//go:embed ladder.html.tmpl
var ladderPage string

var ladderTemplate = template.Must(template.New("ladder").Parse(ladderPage))

// htmlPage, htmlBlock and htmlRow are what the page's template shows.
type htmlPage struct {
	Title, About string
	Holes        string // what is missing; "" where nothing is
	Parties      []Party
	Gaps         int // columns between the lifelines
	Blocks       []htmlBlock
}

type htmlBlock struct {
	At, Repeats, Moved string    // empty for a single event
	Rows, All          []htmlRow // All: of a folded block, one by one
	Left               string    // what is not in All
}

type htmlRow struct {
	At            string // milliseconds, or the count in a folded block
	Step, Meaning string
	Class         string
	Begin, End    int // lines of the chart's grid, from 1
	Text, APDU    string
}

// WriteLadderHTML writes the ladder (see WriteLadder) as one HTML page that needs nothing else: no script, no font,
// no image. It follows the reader's dark or light setting and can be printed. Folded blocks open to their single
// messages, the first 2000 of each. The step number explains itself, and an arrow shows its APDU, under the pointer.
// Title and texts are escaped.
func WriteLadderHTML(w io.Writer, events []Event, title string) error {
	out := bufio.NewWriter(w)
	if err := ladderTemplate.Execute(out, newHTMLPage(events, title)); err != nil {
		return fmt.Errorf("trace: write ladder: %w", err)
	}
	return out.Flush()
}

func newHTMLPage(events []Event, title string) htmlPage {
	page := htmlPage{Title: printable(title, false), About: "no events"}
	if len(events) == 0 {
		return page
	}
	h := htmlLadder{start: events[0].Time, labels: newLabels(events), parties: ladderParties(events)}
	page.Parties, page.Gaps = h.parties, len(h.parties)-1
	page.About = fmt.Sprintf("%s from %s; times in milliseconds since then", count(len(events), "message"),
		h.start.Format("2006-01-02 15:04:05.000 -07:00"))
	page.Holes = holes(events)
	for _, b := range fold(events) {
		page.Blocks = append(page.Blocks, h.block(b))
	}
	return page
}

// htmlLadder makes the page's rows.
type htmlLadder struct {
	start   time.Time
	labels  labels
	parties []Party
}

func (h htmlLadder) block(b block) htmlBlock {
	if b.rows == nil {
		r := h.event(b.events[0])
		r.APDU = apduText(b.events[0])
		return htmlBlock{Rows: []htmlRow{r}}
	}
	out := htmlBlock{At: millis(b.events[0].Time.Sub(h.start)), Repeats: repeats(b), Moved: moved(b)}
	for _, r := range b.rows {
		out.Rows = append(out.Rows, h.row(fmt.Sprintf("×%d", r.count), r.Event, eventText(r.Event, r.bytes)))
	}
	for _, e := range b.events[:min(len(b.events), maxUnfolded)] {
		out.All = append(out.All, h.event(e))
	}
	if left := len(b.events) - len(out.All); left > 0 {
		out.Left = fmt.Sprintf("... and %s more", count(left, "message"))
	}
	return out
}

func (h htmlLadder) event(e Event) htmlRow {
	return h.row(millis(e.Time.Sub(h.start)), e, eventText(e, e.Bytes))
}

func (h htmlLadder) row(at string, e Event, text string) htmlRow {
	r := htmlRow{At: at, Step: printable(e.Step, false), Meaning: stepMeaning(e.Step)}
	from, to := slices.Index(h.parties, e.From), slices.Index(h.parties, e.To)
	switch {
	case from < 0 || to < 0:
		text = fmt.Sprintf("%s to %s: %s", e.From, e.To, text)
		r.Class, r.Begin, r.End = "note", 1, len(h.parties)
	case from == to:
		r.Class, r.Begin, r.End = "note", max(from, 1), max(from, 1)+1
	case from < to:
		r.Class, r.Begin, r.End = "right", from+1, to+1
	default:
		r.Class, r.Begin, r.End = "left", to+1, from+1
	}
	if e.Err != "" {
		r.Class += " failed"
	}
	r.Text = printable(h.labels.of(e)+text, false)
	return r
}

// apduText shows an event's APDUs, in hex as they are in the event.
func apduText(e Event) string {
	if e.APDU == "" {
		return ""
	}
	return printable(fmt.Sprintf("command %s, response %s", e.APDU, e.RAPDU), false)
}
