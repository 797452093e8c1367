package testkit

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Log keeps what is written to it, as a log or a program's output. Its zero value is empty, and any goroutine may use it.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all that was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Lines are the lines that have all of the parts in them.
func (l *Log) Lines(parts ...string) []string {
	return slices.DeleteFunc(strings.Split(l.String(), "\n"), func(line string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

// Wants fails the test unless a line has all of the parts.
func (l *Log) Wants(t testing.TB, parts ...string) {
	t.Helper()
	if len(l.Lines(parts...)) == 0 {
		t.Errorf("no line of the log has all of %q:\n%s", parts, l)
	}
}

// Await waits a bounded time for a line with all of the parts, and fails the test where none comes.
func (l *Log) Await(t testing.TB, parts ...string) {
	t.Helper()
	l.AwaitMore(t, 0, parts...)
}

// AwaitMore waits a bounded time for more than n lines with all of the parts, and fails the test where none comes.
func (l *Log) AwaitMore(t testing.TB, n int, parts ...string) {
	t.Helper()
	err := settle(func() error {
		if len(l.Lines(parts...)) <= n {
			return errors.New("no such line")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("no line of the log came to have all of %q, but %d:\n%s", parts, n, l)
	}
}
