package cp

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bipd/cat"
	"bipd/internal/control"
	"bipd/limits"
)

// Limits bound what a card, and the AP on its line, can have the CP do. 0 = no limit.
type Limits struct {
	OpenChannel   int // connections that the card has made in a minute
	OpenBurst     int // and at once after a rest; 0 = as many as in a minute
	ShortMessages int // in an hour
	Resets        int // in a minute: REFRESH that has the card or its application begin anew
	LogLines      int // in a minute, of the card, and of its line as many again; those of level debug do not count
}

// quota is what is left of the Limits. It holds for all sessions of the CP.
type quota struct {
	connections, messages, resets *limits.Bucket
	cardLines, lineLines          *limits.Bucket
	readerLines                   *limits.Bucket
	cardLog                       *slog.Logger // what the card can have logged
	lineLog                       *slog.Logger // what the AP can have logged
}

func newQuota(cfg Config) *quota {
	l := cfg.Limits
	if l.OpenBurst <= 0 {
		l.OpenBurst = l.OpenChannel
	}
	q := &quota{
		connections: limits.New(l.OpenChannel, time.Minute, l.OpenBurst),
		messages:    limits.New(l.ShortMessages, time.Hour, l.ShortMessages),
		resets:      limits.New(l.Resets, time.Minute, l.Resets),
		readerLines: cfg.ReaderLines,
	}
	q.cardLog, q.cardLines = limits.Log(cfg.Log, l.LogLines, "card", cfg.Name)
	lineLog := cfg.Log
	if cfg.Line != nil && cfg.Line.Log != nil {
		lineLog = cfg.Line.Log
	}
	q.lineLog, q.lineLines = limits.Log(lineLog, l.LogLines, "line", cfg.Name)
	return q
}

// sender is what sends the card's short messages, within the limit; nil where nobody does.
func (q *quota) sender(send func(context.Context, cat.ShortMessage) error) func(context.Context, cat.ShortMessage) error {
	if send == nil {
		return nil
	}
	return func(ctx context.Context, m cat.ShortMessage) error {
		if !q.messages.Allow() {
			return fmt.Errorf("%w, see [limits]", cat.ErrTooMany)
		}
		return send(ctx, m)
	}
}

// over is what bipctl shows of it.
func (q *quota) over() control.Over {
	return control.Over{
		OpenChannel: q.connections.Over(), ShortMessages: q.messages.Over(), Resets: q.resets.Over(),
		LogLines: q.cardLines.Over() + q.lineLines.Over() + q.readerLines.Over(),
	}
}
