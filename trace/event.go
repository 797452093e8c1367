// Package trace is the one stream of what happens in a daemon: APDUs, AT lines, network traffic and the named steps
// of the two methods. Sinks (log, ladder, control socket) subscribe to it. A sink never holds up the card or the
// network: what it does not take in time is lost to it, and an event in its place says how many were.
package trace

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Party is one of the four parties of the message sequence.
type Party string

const (
	UICC   Party = "UICC"
	CP     Party = "CP" // communication processor: bipd
	AP     Party = "AP" // application processor: apd
	Server Party = "server"
)

// rank is the party's place from left to right in the ladder; -1 for an unknown party.
func (p Party) rank() int { return slices.Index(parties, p) }

// parties are all parties in the order of the ladder.
var parties = []Party{UICC, CP, AP, Server}

// Event is one message between two parties.
type Event struct {
	Time    time.Time `json:"time"`
	Source  string    `json:"source"`            // the daemon that saw it: "bipd" or "apd"
	Card    string    `json:"card,omitempty"`    // name of the card, or of the line at the AP
	Channel int       `json:"channel,omitempty"` // BIP channel 1..7; 0 = none
	Step    string    `json:"step,omitempty"`    // "S401".."S415", "S701".."S718"; empty outside a channel
	From    Party     `json:"from"`
	To      Party     `json:"to"`
	What    string    `json:"what"`            // what a person reads in the ladder; never a credential, never payload
	Bytes   int       `json:"bytes,omitempty"` // payload bytes carried by the message
	APDU    string    `json:"apdu,omitempty"`  // command APDU in hex where the event is one, secrets masked
	RAPDU   string    `json:"rapdu,omitempty"` // its response, in hex
	Err     string    `json:"err,omitempty"`   // why the step failed
	Lost    int       `json:"lost,omitempty"`  // so many events are missing in this one's place; see LostEvent
}

// LostEvent returns the event that stands in a trace in place of n events of the source that its reader did not get, and
// why it did not. It is an event between nobody but the source and itself, and counts as failed: no ladder folds it.
func LostEvent(source string, n int, why string) Event {
	at := CP
	if source == "apd" {
		at = AP
	}
	return Event{Time: time.Now(), Source: source, From: at, To: at, What: count(n, "event") + " lost", Lost: n, Err: why}
}

// tooSlow is why a sink loses events.
const tooSlow = "the reader was too slow"

// Stream hands every event to every subscriber. The zero value is ready; a nil *Stream takes events and drops them.
type Stream struct {
	Source string // put into each event that names none

	mu     sync.RWMutex
	subs   map[*Subscription]struct{}
	wanted atomic.Bool // there are subs
}

// Subscription is one sink's queue.
type Subscription struct {
	// C delivers the events in order. It is closed by Close.
	C <-chan Event

	c      chan Event
	stream *Stream
	once   sync.Once

	mu      sync.Mutex
	untold  int    // lost events that no event in C tells of
	dropped uint64 // all lost events
}

// Emit stamps the event, unless it has a time, and hands it on. It never blocks.
func (s *Stream) Emit(e Event) {
	if !s.Wanted() {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Source == "" {
		e.Source = s.Source
	}
	for sub := range s.subs {
		sub.put(e)
	}
}

// put queues the event, or counts it where the queue is full. After a loss nothing is queued until half of the queue is
// free, lest each event is followed by one that tells of a loss.
func (sub *Subscription) put(e Event) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if sub.untold > 0 && len(sub.c) <= cap(sub.c)/2 {
		select {
		case sub.c <- LostEvent(sub.stream.Source, sub.untold, tooSlow):
			sub.untold = 0
		default:
		}
	}
	if sub.untold == 0 {
		select {
		case sub.c <- e:
			return
		default:
		}
	}
	sub.untold++
	sub.dropped++
}

// Wanted reports whether anybody listens: costly events need not be made otherwise.
func (s *Stream) Wanted() bool { return s != nil && s.wanted.Load() }

// Subscribe adds a sink whose queue holds n events, two at least. Where it was full, a LostEvent stands in the queue.
func (s *Stream) Subscribe(n int) *Subscription {
	c := make(chan Event, max(n, 2))
	sub := &Subscription{C: c, c: c, stream: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = make(map[*Subscription]struct{})
	}
	s.subs[sub] = struct{}{}
	s.wanted.Store(true)
	return sub
}

// Lost returns the LostEvent for the newest losses, those that no event in C will tell of before another event comes. It
// is for a sink that has emptied C, or that has read it to its end, and false where nothing was lost.
func (sub *Subscription) Lost() (Event, bool) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	n := sub.untold
	sub.untold = 0
	if n == 0 {
		return Event{}, false
	}
	return LostEvent(sub.stream.Source, n, tooSlow), true
}

// Dropped counts the events that found the queue full, those that a LostEvent has told of too.
func (sub *Subscription) Dropped() uint64 {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return sub.dropped
}

// Close ends the subscription. It may be called more than once, and while events are emitted.
func (sub *Subscription) Close() {
	sub.once.Do(func() {
		sub.stream.mu.Lock()
		delete(sub.stream.subs, sub)
		sub.stream.wanted.Store(len(sub.stream.subs) > 0)
		sub.stream.mu.Unlock()
		close(sub.c)
	})
}
