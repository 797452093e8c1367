package trace

import (
	"slices"
	"sync"
)

// queue is how many events a sink of this package may lag behind before events are dropped.
const queue = 4096

// drain hands each event of the stream to take, in a goroutine of its own. The function it gives back ends that: it
// returns after take has had every event that was queued.
func drain(s *Stream, take func(sub *Subscription, e Event)) (sub *Subscription, stop func()) {
	sub = s.Subscribe(queue)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range sub.C {
			take(sub, e)
		}
	}()
	return sub, func() { sub.Close(); <-done }
}

// Recorder keeps the events of a stream for later. Its methods may be called by several goroutines.
type Recorder struct {
	sub  *Subscription
	stop func()

	mu     sync.Mutex
	events []Event
	missed uint64
}

// Record begins to keep the stream's events, the first n of them; later ones are counted only. Close ends it.
func Record(s *Stream, n int) *Recorder {
	r := new(Recorder)
	r.sub, r.stop = drain(s, func(_ *Subscription, e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.events) < n {
			r.events = append(r.events, e)
		} else {
			r.missed++
		}
	})
	return r
}

// Events gives a copy of what is kept so far. After Close it is all that was emitted before, up to the bound.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Dropped counts the events that are not kept: those past the bound, and those that came faster than they could be
// taken.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.missed + r.sub.Dropped()
}

// Close ends the recording and waits for the events on their way. What is kept stays.
func (r *Recorder) Close() { r.stop() }
