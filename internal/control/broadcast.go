package control

import (
	"bytes"
	"fmt"
	"sync"

	"bipd/trace"
)

const (
	// maxReaders is how many clients may read events at a time.
	maxReaders = 32
	// backlogSize is how many octets of lines all readers together may lag behind.
	backlogSize = 16 << 20
	// eventQueue is how many events may wait to be made lines of.
	eventQueue = 1 << 14
	// batchSize is how many octets of lines a reader is given at a time, and a line more.
	batchSize = 1 << 15
)

// errReaders refuses one reader more.
var errReaders = fmt.Errorf("%d clients read events already", maxReaders)

// broadcast gives the events of a stream to many readers, as lines of JSON. The lines are kept once for all of them, so that
// readers that lag behind cost a bounded amount of memory however many they are. What a reader did not get before it was
// dropped is lost to it, and a line in its place says how many events were. While nobody reads nothing is kept.
type broadcast struct {
	stream *trace.Stream

	mu      sync.Mutex
	sub     *trace.Subscription // nil without readers
	ran     chan struct{}       // closed when the lines of sub are complete
	readers map[*eventReader]struct{}
	lines   []eventLine // the newest
	first   int         // how many came before lines[0]
	size    int         // octets of lines
	events  int         // all so far, with those that are lost
}

// eventLine is an event as a line. before is how many events came before it.
type eventLine struct {
	text   []byte
	before int
}

// eventReader is one reader's place.
type eventReader struct {
	next int           // how many lines it has got or lost
	seen int           // how many events
	wake chan struct{} // there are lines
}

// join adds a reader of the events from now on.
func (b *broadcast) join() (*eventReader, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.readers) >= maxReaders {
		return nil, errReaders
	}
	if b.sub == nil {
		b.sub = b.stream.Subscribe(eventQueue)
		b.readers = map[*eventReader]struct{}{}
		b.ran = make(chan struct{})
		go b.run(b.sub, b.ran)
	}
	r := &eventReader{next: b.first + len(b.lines), seen: b.events, wake: make(chan struct{}, 1)}
	b.readers[r] = struct{}{}
	return r, nil
}

// leave removes a reader.
func (b *broadcast) leave(r *eventReader) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.readers, r)
	if len(b.readers) == 0 {
		b.sub.Close()
		b.sub = nil
		b.lines, b.first, b.size, b.events = nil, 0, 0, 0
	}
}

// finish takes no more events. It returns when there are lines of all that were emitted before.
func (b *broadcast) finish() {
	b.mu.Lock()
	sub, ran := b.sub, b.ran
	b.mu.Unlock()
	if sub != nil {
		sub.Close()
		<-ran
	}
}

// run makes lines of the events until the subscription ends.
func (b *broadcast) run(sub *trace.Subscription, ran chan struct{}) {
	defer close(ran)
	for e := range sub.C {
		b.add(sub, e)
		if len(sub.C) == 0 {
			b.addLost(sub)
		}
	}
	b.addLost(sub)
}

func (b *broadcast) addLost(sub *trace.Subscription) {
	if e, ok := sub.Lost(); ok {
		b.add(sub, e)
	}
}

// add makes a line of the event, and drops the oldest lines that are more than is kept.
func (b *broadcast) add(sub *trace.Subscription, e trace.Event) {
	var text bytes.Buffer
	if err := trace.Encode(&text, e); err != nil {
		return // no event of ours
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sub != sub {
		return // all readers have left since
	}
	b.lines = append(b.lines, eventLine{text.Bytes(), b.events})
	b.events += max(e.Lost, 1)
	b.size += text.Len()
	for b.size > backlogSize && len(b.lines) > 1 {
		b.size -= len(b.lines[0].text)
		b.lines[0].text = nil
		b.lines = b.lines[1:]
		b.first++
	}
	for r := range b.readers {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the next lines for the reader; none where it has got all. A reader that lags behind what is kept goes on in
// the middle of it, lest it loses the next lines as well.
func (b *broadcast) take(r *eventReader) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	var text bytes.Buffer
	if r.next < b.first {
		middle := len(b.lines) / 2
		n := b.lines[middle].before - r.seen
		_ = trace.Encode(&text, trace.LostEvent(b.stream.Source, n, "the reader was too slow"))
		r.next, r.seen = b.first+middle, b.lines[middle].before
	}
	for text.Len() < batchSize && r.next < b.first+len(b.lines) {
		text.Write(b.lines[r.next-b.first].text)
		r.next++
	}
	if last := r.next - b.first; last < len(b.lines) {
		r.seen = b.lines[last].before
	} else {
		r.seen = b.events
	}
	return text.Bytes()
}
