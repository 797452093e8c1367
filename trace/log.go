package trace

import (
	"context"
	"log/slog"
)

// LogTo writes each event of the stream to the log at debug level, and a warning with their number where events were
// dropped because the log was too slow. The function it gives back ends that after the queued events are written; it
// may be called more than once. A log that does not take debug records now gets no events, and the stream one sink
// less to make them for.
func LogTo(s *Stream, log *slog.Logger) (stop func()) {
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return func() {}
	}
	return drain(s, func(e Event) {
		if e.Lost > 0 {
			log.Warn("trace events dropped: the log is too slow", "events", e.Lost)
			return
		}
		log.LogAttrs(context.Background(), slog.LevelDebug, e.What, e.attrs()...)
	})
}

// attrs are the event's fields for a log line, without those that are empty.
func (e Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("source", e.Source), slog.String("from", string(e.From)), slog.String("to", string(e.To))}
	for _, a := range []struct{ key, value string }{
		{"card", e.Card}, {"step", e.Step}, {"apdu", e.APDU}, {"rapdu", e.RAPDU}, {"err", e.Err},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if e.Channel != 0 {
		attrs = append(attrs, slog.Int("channel", e.Channel))
	}
	if e.Bytes != 0 {
		attrs = append(attrs, slog.Int("bytes", e.Bytes))
	}
	return append(attrs, slog.Time("at", e.Time))
}
