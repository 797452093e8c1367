// Package limits bounds what a card, or the far end of a line, can have a daemon do in a time, and counts what is beyond.
package limits

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Bucket lets a number of things through in a time, and counts the others. A nil Bucket has no limit. Its methods may be called
// from any goroutine.
type Bucket struct {
	limiter *rate.Limiter
	over    atomic.Int64
}

// New makes a Bucket that lets n things through in a span, and burst of them at once after a rest; n 0 = no limit.
func New(n int, span time.Duration, burst int) *Bucket {
	if n <= 0 {
		return nil
	}
	return &Bucket{limiter: rate.NewLimiter(rate.Limit(float64(n)/span.Seconds()), max(burst, 1))}
}

// Allow reports whether one more may go through now, and takes it into account.
func (b *Bucket) Allow() bool {
	if b == nil || b.limiter.Allow() {
		return true
	}
	b.over.Add(1)
	return false
}

// Wait returns when one more may go through, which counts as one beyond where it had to wait, or with the context's error.
func (b *Bucket) Wait(ctx context.Context) error {
	if b.Allow() {
		return nil
	}
	return b.limiter.Wait(ctx)
}

// Over is how many did not go through at once, since the Bucket was made.
func (b *Bucket) Over() int64 {
	if b == nil {
		return 0
	}
	return b.over.Load()
}
