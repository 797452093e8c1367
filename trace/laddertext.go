package trace

import (
	"fmt"
	"strings"
)

// The texts that the terminal's and the HTML form of the ladder share.

// eventText is what stands beside an event's arrow.
func eventText(e Event, bytes int) string {
	text := e.What
	if bytes > 0 {
		text += fmt.Sprintf(" (%s)", count(bytes, "byte"))
	}
	if e.Err != "" {
		text += " !! " + e.Err
	}
	return text
}

// repeats tells how much a folded block holds, and moved how long it took and what it carried.
func repeats(b block) string {
	return fmt.Sprintf("repeated %s: %s", count(b.repeats(), "time"), count(len(b.events), "message"))
}

func moved(b block) string {
	first, last := b.events[0], b.events[len(b.events)-1]
	s := fmt.Sprintf("in %s ms", millis(last.Time.Sub(first.Time)))
	up, down := b.moved()
	if up > 0 {
		s += fmt.Sprintf(", %s to the server", count(up, "byte"))
	}
	if down > 0 {
		s += fmt.Sprintf(", %s to the UICC", count(down, "byte"))
	}
	return s
}

// holes says how many events are missing in the trace; "" where it is whole.
func holes(events []Event) string {
	n := 0
	for _, e := range events {
		n += e.Lost
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("this trace has holes: %s lost", count(n, "event"))
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// labels decides what must be said of an event's card and channel: nothing where there is one only.
type labels struct{ card, channel bool }

func newLabels(events []Event) labels {
	var l labels
	cards := make(map[string]string) // by source: the AP's lines have names of their own
	channel := 0
	for _, e := range events {
		if e.Card != "" {
			if other, ok := cards[e.Source]; ok && other != e.Card {
				l.card = true
			}
			cards[e.Source] = e.Card
		}
		if e.Channel != 0 {
			l.channel = l.channel || channel != 0 && channel != e.Channel
			channel = e.Channel
		}
	}
	return l
}

// of gives the label of an event, such as "[card0 channel 2] ", or "".
func (l labels) of(e Event) string {
	var parts []string
	if l.card && e.Card != "" {
		parts = append(parts, e.Card)
	}
	if l.channel && e.Channel != 0 {
		parts = append(parts, fmt.Sprintf("channel %d", e.Channel))
	}
	if parts == nil {
		return ""
	}
	return "[" + strings.Join(parts, " ") + "] "
}
