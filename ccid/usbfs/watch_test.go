package usbfs

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// signalled waits for a signal, or for the channel's end.
func signalled(t *testing.T, signals <-chan struct{}) bool {
	t.Helper()
	select {
	case _, ok := <-signals:
		return ok
	case <-time.After(patience):
		t.Fatal("no signal")
		return false
	}
}

// Watch signals at once, and closes the channel when its context ends.
func TestWatch(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := FS{}.Watch(ctx, slog.New(slog.DiscardHandler))
	if !signalled(t, signals) {
		t.Fatal("closed at once")
	}
	cancel()
	for signalled(t, signals) {
	}
}

// The socket for uevents is to be had, at least where tests run.
func TestOpenUevents(t *testing.T) {
	events, err := openUevents()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- followUevents(events, func() {}) }()
	events.Close()
	if err := <-ended; err == nil {
		t.Error("a closed socket is followed")
	}
}

// Where the socket cannot be had or used there is a signal every now and then, and the log says so.
func TestWatchWithoutUevents(t *testing.T) {
	for name, open := range map[string]func() (*os.File, error){
		"refused": func() (*os.File, error) { return nil, os.ErrPermission },
		"broken":  func() (*os.File, error) { return os.Open("/proc/self/comm") },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			log := new(logText)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			signals := watch(ctx, slog.New(slog.NewTextHandler(log, nil)), open, time.Millisecond)
			for range 2 {
				if !signalled(t, signals) {
					t.Fatal("closed")
				}
			}
			if !strings.Contains(log.String(), "so they are looked for") {
				t.Errorf("log %q", log)
			}
			cancel()
			for signalled(t, signals) {
			}
		})
	}
}

// logText is a log that may be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
