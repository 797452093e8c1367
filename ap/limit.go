package ap

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"bipd/ptylink/at"
)

// Limits bound what the CP of one line can have the AP do. 0 = no limit.
type Limits struct {
	Commands    int // AT command lines in a minute; those beyond are answered later, and nothing more is read meanwhile
	Connections int // AT%WEBOPCH in a minute; those beyond are answered by error 610. DLCs opened beyond as many wait
}

// Over counts what was beyond a line's Limits since it is served.
type Over struct {
	Commands    int64 // that were answered later
	Connections int64 // that were refused
	DLCs        int64 // that were taken later
}

// lineLimits are what is left of the Limits of a line.
type lineLimits struct{ commands, connections, dlcs *bucket }

func newLineLimits(l Limits) *lineLimits {
	return &lineLimits{newBucket(l.Commands), newBucket(l.Connections), newBucket(l.Connections)}
}

// bucket lets n things through in a minute, and half of them at once after a rest. A nil bucket has no limit.
type bucket struct {
	limiter *rate.Limiter
	over    atomic.Int64
}

func newBucket(n int) *bucket {
	if n <= 0 {
		return nil
	}
	return &bucket{limiter: rate.NewLimiter(rate.Limit(float64(n)/time.Minute.Seconds()), max(n/2, 1))}
}

// allow reports whether one more goes through, and counts it where not.
func (b *bucket) allow() bool {
	if b == nil || b.limiter.Allow() {
		return true
	}
	b.over.Add(1)
	return false
}

// wait returns when one more may go through, or with the context's error.
func (b *bucket) wait(ctx context.Context) error {
	if b.allow() {
		return nil
	}
	return b.limiter.Wait(ctx)
}

func (b *bucket) count() int64 {
	if b == nil {
		return 0
	}
	return b.over.Load()
}

// mayConnect is nil where the CP may have another connection made now.
func (l *line) mayConnect() error {
	if l.limits.connections.allow() {
		return nil
	}
	return at.ErrTooMany
}

// Over is what was beyond the limits of a line that is served.
func (a *AP) Over(line string) Over {
	a.mu.Lock()
	l := a.limits[line]
	a.mu.Unlock()
	if l == nil {
		return Over{}
	}
	return Over{l.commands.count(), l.connections.count(), l.dlcs.count()}
}

// limit notes the limits of a line; the function that it returns forgets them.
func (a *AP) limit(line string, l *lineLimits) (forget func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limits == nil {
		a.limits = map[string]*lineLimits{}
	}
	a.limits[line] = l
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.limits[line] == l {
			delete(a.limits, line)
		}
	}
}
