package guest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// However many ask for an entry, it is made once, and a failure leaves nothing.
func TestCacheEntry(t *testing.T) {
	c := cache(t.TempDir())
	if err := os.MkdirAll(filepath.Join(string(c), "key.new", "left over"), 0o755); err != nil { // by a process that was killed
		t.Fatal(err)
	}
	errNo := errors.New("no")
	if _, err := c.entry(t.Context(), "key", func(string) error { return errNo }); !errors.Is(err, errNo) {
		t.Errorf("%v, want the error of filling", err)
	}
	var filled atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := c.entry(t.Context(), "key", func(dir string) error {
				filled.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600)
			})
			if text, rerr := os.ReadFile(filepath.Join(dir, "file")); err != nil || rerr != nil || string(text) != "text" {
				t.Errorf("%v, %v, %q", err, rerr, text)
			}
		})
	}
	all.Wait()
	if filled.Load() != 1 {
		t.Errorf("filled %d times", filled.Load())
	}
	if exists(filepath.Join(string(c), "key", "left over")) || exists(filepath.Join(string(c), "key.new")) {
		t.Error("what was left over is still there")
	}
}

func TestCacheSlots(t *testing.T) {
	c := cache(t.TempDir())
	patient, end := context.WithTimeout(t.Context(), 30*time.Second)
	defer end()
	var releases []func()
	for range maxGuests {
		release, err := c.slot(patient)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	ctx, stop := context.WithTimeout(patient, 200*time.Millisecond)
	defer stop()
	if _, err := c.slot(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one guest too many: %v", err)
	}
	releases[0]()
	release, err := c.slot(patient)
	if err != nil {
		t.Fatal(err)
	}
	release()
	releases[1]()
}
