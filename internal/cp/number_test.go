package cp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bipd/bip"
	"bipd/ptylink"
)

// TestNumbers takes and frees the numbers of a line as its connections begin and end.
func TestNumbers(t *testing.T) {
	none, held := func() int { return 0 }, func() int { return 4096 }
	take := func(t *testing.T, s *numbers, channel, want int) {
		t.Helper()
		if n, err := s.take(t.Context(), channel); n != want || err != nil {
			t.Errorf("channel %d got number %d, %v; want %d", channel, n, err, want)
		}
	}
	// later takes a number for channel 1, which it has not got after a minute.
	later := func(t *testing.T, s *numbers) chan int {
		t.Helper()
		got := make(chan int, 1)
		go func() {
			n, err := s.take(t.Context(), 1)
			if err != nil {
				t.Error(err)
			}
			got <- n
		}()
		time.Sleep(time.Minute)
		select {
		case n := <-got:
			t.Fatalf("number %d is given", n)
		default:
		}
		return got
	}
	for name, tc := range map[string]func(t *testing.T, s *numbers){
		"its own again": func(t *testing.T, s *numbers) {
			take(t, s, 1, 1)
			s.free(1)
			take(t, s, 1, 1)
		},
		"the one before is about to end": func(t *testing.T, s *numbers) {
			take(t, s, 1, 1)
			s.made(1, none)
			got := later(t, s)
			s.free(1)
			if n := <-got; n != 1 {
				t.Errorf("number %d", n)
			}
		},
		"the one before is still being made": func(t *testing.T, s *numbers) {
			take(t, s, 1, 1)
			got := later(t, s)
			s.free(1)
			if n := <-got; n != 1 {
				t.Errorf("number %d", n)
			}
		},
		"the one before is stopped, and others": func(t *testing.T, s *numbers) {
			take(t, s, 1, 1)
			s.made(1, held)
			take(t, s, 2, 2)
			s.made(2, none)
			take(t, s, 1, 7)
			s.made(7, held)
			take(t, s, 1, 6)
			take(t, s, 7, 5) // its own has a connection of channel 1, which may last
			s.free(1)
			take(t, s, 1, 1)
		},
		"the one before is stopped while it is waited for": func(t *testing.T, s *numbers) {
			unsent := 0
			take(t, s, 1, 1)
			s.made(1, func() int { return unsent }) // called under the lock
			got := later(t, s)
			s.mu.Lock()
			unsent = 1
			s.mu.Unlock()
			if n := <-got; n != 7 {
				t.Errorf("number %d", n)
			}
		},
		"none is left": func(t *testing.T, s *numbers) {
			for n := range ptylink.MaxChannel {
				take(t, s, n+1, n+1)
				s.made(n+1, held)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if n, err := s.take(ctx, 1); n != 0 || bip.CauseOf(err) != bip.CauseTooMany {
				t.Errorf("number %d, %v", n, err)
			}
			got := later(t, s)
			s.free(3)
			if n := <-got; n != 3 {
				t.Errorf("number %d", n)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { tc(t, newNumbers()) }) })
	}
}
