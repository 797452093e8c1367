package ap

import (
	"time"

	"bipd/limits"
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
type lineLimits struct{ commands, connections, dlcs *limits.Bucket }

func newLineLimits(l Limits) *lineLimits {
	return &lineLimits{newBucket(l.Commands), newBucket(l.Connections), newBucket(l.Connections)}
}

// newBucket lets n things through in a minute, and half of them at once after a rest.
func newBucket(n int) *limits.Bucket { return limits.New(n, time.Minute, n/2) }

// mayConnect is nil where the CP may have another connection made now.
func (l *line) mayConnect() error {
	if l.limits.connections.Allow() {
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
	return Over{l.commands.Over(), l.connections.Over(), l.dlcs.Over()}
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
