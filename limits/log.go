package limits

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// sayEvery is how long after the first line that is left out their number is told.
const sayEvery = time.Minute

// Log makes a log of which n lines in a minute are passed on to another; 0 = all. What is left out is counted in the Bucket, and the
// log says where that begins and, a minute later, how many lines it were. Lines of level debug always pass: who asks for them asks for each. The
// attributes about are those of the line that tells the number.
func Log(to *slog.Logger, n int, about ...any) (*slog.Logger, *Bucket) {
	bucket := New(n, time.Minute, n)
	if bucket == nil {
		return to, nil
	}
	return slog.New(handler{to.Handler(), &suppressor{bucket: bucket, to: to.With(about...)}}), bucket
}

// suppressor decides which lines pass. It is one for a log and all that With makes of it.
type suppressor struct {
	bucket *Bucket
	to     *slog.Logger

	mu   sync.Mutex
	left int // lines left out that were not told yet; above 0 a timer runs
}

func (s *suppressor) pass() bool {
	if s.bucket.Allow() {
		return true
	}
	s.mu.Lock()
	s.left++
	first := s.left == 1
	s.mu.Unlock()
	if first {
		s.to.Warn("log lines are suppressed from here on, see [limits]")
		time.AfterFunc(sayEvery, s.say)
	}
	return false
}

func (s *suppressor) say() {
	s.mu.Lock()
	n := s.left
	s.left = 0
	s.mu.Unlock()
	s.to.Warn("log lines suppressed, see [limits]", "lines", n)
}

// handler is a slog.Handler that asks the suppressor.
type handler struct {
	slog.Handler
	s *suppressor
}

// Handle passes a line on, or counts it.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !h.s.pass() {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs and WithGroup keep the suppressor.
func (h handler) WithAttrs(a []slog.Attr) slog.Handler { return handler{h.Handler.WithAttrs(a), h.s} }

// WithGroup is as WithAttrs.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name), h.s} }
