package daemon

import (
	"bytes"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bipd/internal/config"
)

const (
	logQueueSize = 1 << 20     // octets of lines that wait
	flushTime    = time.Second // how long the end of a daemon waits for its log
)

// NewLog returns the log that the configuration asks for. Its lines go through a queue of 1 MiB, so that a w that blocks or
// fails holds nobody up. Lines that find the queue full, or whose write fails, are lost; once lines can be written again, a
// warning says how many. flush waits for the lines in the queue, for a second at most.
func NewLog(w io.Writer, c config.Log) (log *slog.Logger, flush func()) {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // checked at load
	q := &logQueue{w: w, wake: make(chan struct{}, 1), lostLine: func(n int) []byte {
		var b bytes.Buffer
		slog.New(logHandler(&b, c.Format, slog.LevelWarn)).Warn("log lines lost", "lines", n)
		return b.Bytes()
	}}
	go q.run()
	return slog.New(logHandler(q, c.Format, level)), q.flush
}

func logHandler(w io.Writer, format string, level slog.Level) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.NewJSONHandler(w, opts)
	}
	return slog.NewTextHandler(w, opts)
}

// logQueue is a writer that queues lines for a slower one. Write never blocks.
type logQueue struct {
	w        io.Writer
	lostLine func(n int) []byte // the line that tells of n lost ones
	wake     chan struct{}      // a line was queued

	mu    sync.Mutex
	lines []logLine
	size  int             // octets in lines and in the line being written
	lost  int             // lines lost and not told of yet
	idle  []chan struct{} // closed when no line is left
}

type logLine struct {
	text  []byte
	count int // lines that are lost if the write of this one fails
}

// Write queues one line. After a loss no line is taken until half of the queue is free, lest each line is followed by one
// that tells of a loss.
func (q *logQueue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size+len(p) > logQueueSize || q.lost > 0 && q.size > logQueueSize/2 {
		q.lost++
		return len(p), nil
	}
	q.tellLost()
	q.add(logLine{slices.Clone(p), 1})
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (q *logQueue) add(l logLine) {
	q.lines = append(q.lines, l)
	q.size += len(l.text)
}

// tellLost queues the line that tells of lost ones, if there are any.
func (q *logQueue) tellLost() {
	if q.lost > 0 {
		q.add(logLine{q.lostLine(q.lost), q.lost})
		q.lost = 0
	}
}

// run writes the lines, for ever.
func (q *logQueue) run() {
	for range q.wake {
		for l, ok := q.next(); ok; l, ok = q.next() {
			_, err := q.w.Write(l.text)
			q.written(l, err)
		}
	}
}

// next takes the next line. Its octets count until it is written.
func (q *logQueue) next() (logLine, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lines) == 0 {
		for _, c := range q.idle {
			close(c)
		}
		q.idle, q.lines = nil, nil // the memory of a burst is not kept
		return logLine{}, false
	}
	l := q.lines[0]
	q.lines[0] = logLine{}
	q.lines = q.lines[1:]
	return l, true
}

// written counts a line whose write failed. The next line that comes tries again to tell of the loss.
func (q *logQueue) written(l logLine, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size -= len(l.text)
	switch {
	case err != nil:
		q.lost += l.count
	case len(q.lines) == 0:
		q.tellLost()
	}
}

// flush waits until all lines are written, for flushTime at most.
func (q *logQueue) flush() {
	idle := make(chan struct{})
	q.mu.Lock()
	q.idle = append(q.idle, idle)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	select {
	case <-idle:
	case <-time.After(flushTime):
	}
}
