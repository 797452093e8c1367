package cp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bipd/bip"
	"bipd/ptylink"
)

// numbers are the channel numbers of the line. A connection has one from before its DLC is opened until that is closed
// again, for neither DLC nor AT%WEBCLCH tells two connections of one number apart. It is the card's own number of the
// channel, or another one where a connection before still has that and data that the AP does not take: its server is slow,
// and nobody can tell for how long.
type numbers struct {
	mu    sync.Mutex
	users [ptylink.MaxChannel + 1]*numberUser // nil: free; 0 is unused
	freed chan struct{}                       // closed and renewed when a number was given back
}

type numberUser struct {
	channel int        // the card's
	unsent  func() int // octets that wait for the AP; nil while the connection is made
}

func newNumbers() *numbers { return &numbers{freed: make(chan struct{})} }

// numberLook is how often the connection before is looked at: no event tells that the AP has stopped it.
const numberLook = 20 * time.Millisecond

var errNoNumber = errors.New("every channel of the line has a connection whose server does not take what was sent")

// take gives a number to a connection of the card's channel. It waits until one is free, or ctx ends.
func (s *numbers) take(ctx context.Context, channel int) (int, error) {
	ticker := time.NewTicker(numberLook)
	defer ticker.Stop()
	for {
		s.mu.Lock()
		n, freed := s.choose(channel), s.freed
		if n != 0 {
			s.users[n] = &numberUser{channel: channel}
		}
		s.mu.Unlock()
		if n != 0 {
			return n, nil
		}
		select {
		case <-freed:
		case <-ticker.C:
		case <-ctx.Done():
			return 0, &bip.Error{Cause: bip.CauseTooMany, Err: fmt.Errorf("%w: %w", errNoNumber, context.Cause(ctx))}
		}
	}
}

// choose returns the number that the channel gets, 0 for none yet. Others than its own are given from above, where the
// gateway's own come last. The caller holds mu.
func (s *numbers) choose(channel int) int {
	before := s.users[channel]
	switch {
	case before == nil:
		return channel
	case before.channel == channel && (before.unsent == nil || before.unsent() == 0):
		return 0 // it is about to be given back
	}
	for n := ptylink.MaxChannel; n > 0; n-- {
		if s.users[n] == nil {
			return n
		}
	}
	return 0
}

// made notes that the connection is made; unsent counts its octets that wait for the AP.
func (s *numbers) made(n int, unsent func() int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[n].unsent = unsent
}

// free gives a number back.
func (s *numbers) free(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[n] = nil
	close(s.freed)
	s.freed = make(chan struct{})
}
