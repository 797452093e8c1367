package tcpend

import (
	"math"
	"time"
)

// MaxLimits bounds the whole time that Patience lets pass by so many limits, for a far end that takes an octet now and then.
const MaxLimits = 10

// Patience bounds the time for which a far end that takes nothing is waited for. One that is slow but goes on taking is
// waited for longer: 16 KiB need 17 s at 9600 bit/s. The zero value has a limit of 0.
type Patience struct {
	limit        time.Duration
	begun, since time.Time
	done         int64
}

// NewPatience begins the wait.
func NewPatience(limit time.Duration) Patience {
	now := time.Now()
	return Patience{limit: limit, begun: now, since: now, done: math.MinInt64}
}

// Over takes how much is done by now, in any unit that grows, and reports whether it has not become more for the limit, or
// MaxLimits limits have passed in all.
func (p *Patience) Over(done int64) bool {
	now := time.Now()
	if done > p.done {
		p.done, p.since = done, now
	}
	return now.Sub(p.since) >= p.limit || now.Sub(p.begun) >= MaxLimits*p.limit
}
