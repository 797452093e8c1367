package trace

import (
	"slices"
	"sync"
)

// queue is how many events a sink of this package may lag behind before events are dropped.
const queue = 4096

// drain hands each event of the stream to take, in a goroutine of its own. The function it gives back ends that: it
// returns after take has had every event that was queued, and the LostEvent for those that were not.
func drain(s *Stream, take func(e Event)) (stop func()) {
	sub := s.Subscribe(queue)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range sub.C {
			take(e)
		}
		if e, ok := sub.Lost(); ok {
			take(e)
		}
	}()
	return func() { sub.Close(); <-done }
}

// Recorder keeps the events of a stream for later. Its methods may be called by several goroutines.
type Recorder struct {
	stop func()

	mu     sync.Mutex
	events []Event
	missed int   // past the bound
	last   Event // of those
}

// Record begins to keep the stream's events, the first n of them; later ones are counted only. Close ends it.
func Record(s *Stream, n int) *Recorder {
	r := new(Recorder)
	r.stop = drain(s, func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.events) < n {
			r.events = append(r.events, e)
		} else {
			r.missed += max(e.Lost, 1)
			r.last = e
		}
	})
	return r
}

// Events gives a copy of what is kept so far. After Close it is all that was emitted before, up to the bound; a LostEvent
// at the end stands for those past it.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := slices.Clone(r.events)
	if r.missed > 0 {
		lost := LostEvent(r.last.Source, r.missed, "no more are kept")
		lost.Time = r.last.Time
		events = append(events, lost)
	}
	return events
}

// Dropped counts the events that are not kept: those past the bound, and those that came faster than they could be
// taken.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := uint64(r.missed)
	for _, e := range r.events {
		n += uint64(e.Lost)
	}
	return n
}

// Close ends the recording and waits for the events on their way. What is kept stays.
func (r *Recorder) Close() { r.stop() }
