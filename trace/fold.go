package trace

import (
	"regexp"
	"strconv"
	"strings"
)

// minFold is how many messages in a row must be known for them to be folded.
const minFold = 6

// block is a part of the ladder: one event, or a repeated cycle that is folded.
type block struct {
	events []Event // in order, all of them
	rows   []*row  // nil for a single event; else its distinct messages in the order of their first occurrence
}

// row is one message of a folded cycle.
type row struct {
	Event     // the first one; What without its numbers where they differ from one repeat to the next
	count int // how often it came
	bytes int // the sum of its bytes
}

var numbers = regexp.MustCompile(`[0-9]+`)

// plain is what the event says, without the numbers that differ from one repeat to the next.
func (e Event) plain() string { return numbers.ReplaceAllString(e.What, "#") }

// key is the same for two events that are the same message of a cycle.
func (e Event) key() string {
	return e.channelKey() + strings.Join([]string{e.Step, string(e.From), string(e.To), e.plain()}, "\x00")
}

// channelKey begins the key of every event of the channel.
func (e Event) channelKey() string { return e.Card + "\x00" + strconv.Itoa(e.Channel) + "\x00" }

// fold puts the events into blocks. A message is shown as what it is the first time since its channel was opened; a
// stretch in which nothing is new is folded. So a download shows each of its steps once, and the rest of its cycles, however the
// network's events fall between them, as one block. A failed event is never folded.
func fold(events []Event) []block {
	var out []block
	known := make(map[string]bool)
	start := 0 // of the stretch in which nothing is new
	flush := func(end int) {
		if stretch := join(events[start:end]); end-start >= max(minFold, 2*len(stretch.rows)) {
			out = append(out, stretch)
			return
		}
		for i := start; i < end; i++ {
			out = append(out, single(events[i]))
		}
	}
	for i, e := range events {
		key := e.key()
		if e.Err == "" && known[key] && !e.opens() {
			continue
		}
		flush(i)
		out, start = append(out, single(e)), i+1
		if e.opens() {
			forget(known, e)
		}
		known[key] = true
	}
	flush(len(events))
	return out
}

func single(e Event) block { return block{events: []Event{e}} }

// opens reports whether the event begins a channel.
func (e Event) opens() bool { return e.Step == method1Steps[0].Name || e.Step == method2Steps[0].Name }

// forget makes every message of the event's channel new again.
func forget(known map[string]bool, e Event) {
	prefix := e.channelKey()
	for key := range known {
		if strings.HasPrefix(key, prefix) {
			delete(known, key)
		}
	}
}

// join makes one folded block of the events.
func join(events []Event) block {
	b := block{events: events}
	rows := make(map[string]*row)
	for _, e := range events {
		key := e.key()
		r := rows[key]
		if r == nil {
			r = &row{Event: e}
			rows[key] = r
			b.rows = append(b.rows, r)
		}
		if r.What != e.What {
			r.What = e.plain()
		}
		r.count++
		r.bytes += e.Bytes
	}
	return b
}

// repeats is how often the most frequent message of a folded block came.
func (b block) repeats() int {
	n := 0
	for _, r := range b.rows {
		n = max(n, r.count)
	}
	return n
}

// moved gives the payload bytes that went to the server and to the UICC. A byte passes several parties on its way, so
// the UICC's own messages count; where there are none, the row that carried most.
func (b block) moved() (up, down int) {
	mostUp, mostDown := 0, 0
	for _, r := range b.rows {
		switch {
		case r.From == UICC:
			up += r.bytes
		case r.To == UICC:
			down += r.bytes
		case r.From.rank() < r.To.rank():
			mostUp = max(mostUp, r.bytes)
		default:
			mostDown = max(mostDown, r.bytes)
		}
	}
	if up+down == 0 {
		return mostUp, mostDown
	}
	return up, down
}
