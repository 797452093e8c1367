package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/internal/config"
	"bipd/internal/testkit"
)

// patience bounds every wait; it passes in full only where a test fails.
const patience = 30 * time.Second

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func TestLog(t *testing.T) {
	var b testkit.Log
	log, flush := NewLog(&b, config.Log{Level: "warn", Format: "json"})
	log.Info("hidden")
	log.Warn("shown", "n", 1)
	flush()
	if got := b.String(); strings.Contains(got, "hidden") || !strings.Contains(got, `"msg":"shown","n":1`) {
		t.Errorf("log %q", got)
	}
	var text testkit.Log
	log, flush = NewLog(&text, config.Log{Level: "debug", Format: "text"})
	log.Debug("shown")
	flush()
	if got := text.String(); !strings.Contains(got, "level=DEBUG msg=shown") {
		t.Errorf("log %q", got)
	}
}

// sink is a writer that can be stopped, or made to fail.
type sink struct {
	mu   sync.Mutex // held while it is stopped
	fail error
	testkit.Log
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.Log.Write(p)
}

func (s *sink) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// count returns how many numbered lines were written, and how many the warnings say were lost. It fails the test where
// the numbers between two lines do not add up with the warning between them.
func (s *sink) count(t *testing.T) (written, lost int) {
	t.Helper()
	for line := range strings.Lines(s.String()) {
		var r struct {
			Msg      string
			N, Lines int
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		switch r.Msg {
		case "line":
			if r.N != written+lost {
				t.Fatalf("line %d comes behind %d written and %d lost", r.N, written, lost)
			}
			written++
		case "log lines lost":
			lost += r.Lines
		}
	}
	return written, lost
}

// A blocked writer holds nobody up, costs a bounded amount of memory, and the log says how much of it is missing: in
// order, and at once, without waiting for another line.
func TestLogBlocked(t *testing.T) {
	s := new(sink)
	log, flush := NewLog(s, config.Log{Level: "error", Format: "json"}) // a loss is told at every level
	line := func(n int) { log.Error("line", "n", n, "pad", strings.Repeat("x", 100)) }
	s.mu.Lock()
	const n = 20_000 // twice the queue at least
	for i := range n {
		line(i)
	}
	began := time.Now()
	flush()
	if d := time.Since(began); d < flushTime || d > patience {
		t.Errorf("flush of a blocked log took %v", d)
	}
	s.mu.Unlock()
	await(t, "the loss to be told", func() bool { w, lost := s.count(t); return lost > 0 && w+lost == n })
	line(n)
	flush()
	written, lost := s.count(t)
	if written+lost != n+1 || lost == 0 || written*100 > logQueueSize+1000 {
		t.Errorf("%d lines written, %d lost, of %d", written, lost, n+1)
	}
	if got := strings.Count(s.String(), "log lines lost"); got != 1 {
		t.Errorf("%d warnings of one loss", got)
	}
}

// A slow writer is told of losses now and then, not with each line.
func TestLogSlow(t *testing.T) {
	q := &logQueue{w: new(bytes.Buffer), wake: make(chan struct{}, 1), lostLine: func(int) []byte { return []byte("lost") }}
	line := bytes.Repeat([]byte("x"), 1000)
	told := 0
	for range 20 * logQueueSize / 1000 { // three lines come while one is written
		for range 3 {
			q.Write(line)
		}
		l, _ := q.next()
		if string(l.text) == "lost" {
			told++
		}
		q.written(l, nil)
	}
	if told == 0 || told > 40 {
		t.Errorf("the loss was told %d times", told)
	}
}

// Lines whose write fails are counted, and told of when lines can be written again. A writer that fails is not tried in
// a loop.
func TestLogFails(t *testing.T) {
	s := new(sink)
	log, flush := NewLog(s, config.Log{Level: "info", Format: "json"})
	s.setFail(errors.New("no space left"))
	for i := range 5 {
		log.Info("line", "n", i)
		flush()
	}
	s.setFail(nil)
	log.Info("line", slog.Int("n", 5))
	flush()
	if written, lost := s.count(t); written != 1 || lost != 5 {
		t.Errorf("%d written, %d lost", written, lost)
	}
}
