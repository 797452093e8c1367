package ptylink

import (
	"context"
	"time"
)

const (
	keepAlive    = 5 * time.Second        // silence before the other end is asked for life
	firstRetry   = 100 * time.Millisecond // wait before a lost line is opened again, doubled each time
	longestRetry = 2 * time.Second
)

// backoff is the growing wait between tries to bring a line up.
type backoff struct {
	first, next time.Duration
}

func newBackoff(first time.Duration) *backoff {
	if first <= 0 {
		first = firstRetry
	}
	return &backoff{first: first, next: first}
}

// reset makes the next wait the first again.
func (b *backoff) reset() { b.next = b.first }

// wait waits, or ends with ctx.
func (b *backoff) wait(ctx context.Context) error {
	d := b.next
	b.next = min(2*b.next, max(longestRetry, b.first))
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
