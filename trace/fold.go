package trace

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of folding.
const (
	foldWindow  = 16 // a message that comes again within so many items may belong to a cycle
	foldRepeats = 3  // it does when it comes so often in a row
	foldLevels  = 3  // cycles of cycles
)

// block is a part of the ladder: one event, or a repeated cycle that is folded.
type block struct {
	events []Event  // in order, all of them
	rows   []*row   // nil for a single event; else its distinct messages in the order of their first occurrence
	keys   []string // the keys of the rows, or of the single event
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
	return strings.Join([]string{e.Card, strconv.Itoa(e.Channel), e.Step, string(e.From), string(e.To), e.plain()}, "\x00")
}

// fold puts the events into blocks. A block holds a stretch in which messages come again and again, at whatever
// distance up to the window, so it also folds a download whose network events fall between its FETCH cycles
// irregularly. A failed event is a block of its own and is never folded.
func fold(events []Event) []block {
	items := make([]block, len(events))
	for i, e := range events {
		items[i] = block{events: events[i : i+1 : i+1], keys: []string{e.key()}}
	}
	for range foldLevels {
		before := len(items)
		items = foldOnce(items)
		if len(items) == before {
			break
		}
	}
	return items
}

// foldOnce folds the stretches of items that get clearly shorter by it.
func foldOnce(items []block) []block {
	next := chains(items)
	var out []block
	for start := 0; start < len(items); {
		end := start
		for k := start; k <= end; k++ {
			end = max(end, next[k])
		}
		stretch := items[start : end+1]
		if b := join(stretch); len(stretch) >= 2*(len(b.rows)+2) {
			out = append(out, b)
		} else {
			out = append(out, stretch...)
		}
		start = end + 1
	}
	return out
}

// chains gives for each item the index of the next item of its chain, or its own index where there is none. A chain
// is a run of like items with no more than the window between two of them and enough members. It breaks at an item
// that is in no chain, such as a failure: what comes once is seen in the ladder as what it is.
func chains(items []block) []int {
	runs := make(map[string][]int) // the latest run, by what its items have in common
	next := make([]int, len(items))
	member := make([]bool, len(items))
	for i, item := range items {
		next[i] = i
		if item.events[0].Err != "" {
			continue
		}
		key := strings.Join(slices.Sorted(slices.Values(item.keys)), "\x01")
		run := runs[key]
		if n := len(run); n > 0 && i-run[n-1] > foldWindow {
			run = nil
		} else if n > 0 {
			next[run[n-1]] = i
		}
		run = append(run, i)
		runs[key] = run
		if len(run) >= foldRepeats {
			for _, at := range run[len(run)-foldRepeats:] {
				member[at] = true
			}
		}
	}
	for i := range next {
		if !member[i] || slices.Contains(member[i:next[i]], false) {
			next[i] = i
		}
	}
	return next
}

// join makes one folded block of items.
func join(items []block) block {
	var b block
	rows := make(map[string]*row)
	for _, item := range items {
		b.events = append(b.events, item.events...)
	}
	for _, e := range b.events {
		key := e.key()
		r := rows[key]
		if r == nil {
			r = &row{Event: e}
			rows[key] = r
			b.rows, b.keys = append(b.rows, r), append(b.keys, key)
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

// moved gives the payload bytes that went to the server and to the UICC. A byte passes several parties on its way,
// so it is the sum of the row that carried most, not of all.
func (b block) moved() (up, down int) {
	for _, r := range b.rows {
		if r.From.rank() < r.To.rank() {
			up = max(up, r.bytes)
		} else {
			down = max(down, r.bytes)
		}
	}
	return up, down
}
