package ap

import (
	"fmt"
	"time"

	"bipd/limits"
	"bipd/ptylink/at"
)

// Limits bound what the CP of one line can have the AP do. 0 = no limit.
type Limits struct {
	Commands    int // AT command lines in a minute; those beyond are answered later, and nothing more is read meanwhile
	Connections int // AT%WEBOPCH in a minute; those beyond are answered by error 610. DLCs opened beyond as many wait
}

// Over counts what was beyond a line's Limits since it is served, and before that where it was away for less than a minute.
type Over struct {
	Commands    int64 // that were answered later
	Connections int64 // that were refused
	DLCs        int64 // that were taken later
}

// maxFinishing bounds the connections of a line that its CP has ended in order and whose servers are still waited for. They
// are no channels any more, but each keeps a socket and up to 80 KiB of data in memory. It is what 120 connections in a
// minute make of servers that do not close within 30 s.
const maxFinishing = 64

// lineLimits are what is left of the Limits of a line.
type lineLimits struct{ commands, connections, dlcs *limits.Bucket }

func newLineLimits(l Limits) *lineLimits {
	return &lineLimits{newBucket(l.Commands), newBucket(l.Connections), newBucket(l.Connections)}
}

// newBucket lets n things through in a minute, and half of them at once after a rest.
func newBucket(n int) *limits.Bucket { return limits.New(n, time.Minute, n/2) }

// mayConnect is nil where the CP may have another connection made now.
func (l *line) mayConnect() error {
	switch {
	case l.ap.finishingOf(l.name) >= maxFinishing:
		return fmt.Errorf("%w: the servers of %d closed ones are still waited for", at.ErrTooMany, maxFinishing)
	case !l.limits.connections.Allow():
		return at.ErrTooMany
	}
	return nil
}

// finish counts a connection of the line that the CP has ended in order; the function that it returns ends that.
func (a *AP) finish(line string) (ended func()) {
	a.finishing.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finishes[line]++
	return func() {
		defer a.finishing.Done()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.finishes[line]--; a.finishes[line] == 0 {
			delete(a.finishes, line)
		}
	}
}

// finishingOf is how many connections that the CP has ended in order the line has, or had before it went down.
func (a *AP) finishingOf(line string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.finishes[line]
}

// Over is what was beyond the limits of a line that is served.
func (a *AP) Over(line string) Over {
	l, ok := a.limits.Get(line)
	if !ok {
		return Over{}
	}
	return Over{l.commands.Over(), l.connections.Over(), l.dlcs.Over()}
}
