// Package trace is the one stream of what happens in a daemon: APDUs, AT lines, network traffic and the named steps
// of the two methods. Sinks (log, ladder, control socket) subscribe to it; a sink never holds up the card or the
// network: what it does not take in time is dropped and counted.
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
}

// Stream hands every event to every subscriber. The zero value is ready; a nil *Stream takes events and drops them.
type Stream struct {
	Source string // put into each event that names none

	mu   sync.RWMutex
	subs map[*Subscription]struct{}
}

// Subscription is one sink's queue.
type Subscription struct {
	// C delivers the events in order. It is closed by Close.
	C <-chan Event

	c       chan Event
	dropped atomic.Uint64
	stream  *Stream
	once    sync.Once
}

// Emit stamps the event, unless it has a time, and hands it on. It never blocks.
func (s *Stream) Emit(e Event) {
	if s == nil {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.subs) == 0 {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Source == "" {
		e.Source = s.Source
	}
	for sub := range s.subs {
		select {
		case sub.c <- e:
		default:
			sub.dropped.Add(1)
		}
	}
}

// Wanted reports whether anybody listens: costly events need not be made otherwise.
func (s *Stream) Wanted() bool {
	if s == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.subs) > 0
}

// Subscribe adds a sink whose queue holds n events.
func (s *Stream) Subscribe(n int) *Subscription {
	c := make(chan Event, n)
	sub := &Subscription{C: c, c: c, stream: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = make(map[*Subscription]struct{})
	}
	s.subs[sub] = struct{}{}
	return sub
}

// Dropped counts the events that found the queue full.
func (sub *Subscription) Dropped() uint64 { return sub.dropped.Load() }

// Close ends the subscription. It may be called more than once, and while events are emitted.
func (sub *Subscription) Close() {
	sub.once.Do(func() {
		sub.stream.mu.Lock()
		delete(sub.stream.subs, sub)
		sub.stream.mu.Unlock()
		close(sub.c)
	})
}
