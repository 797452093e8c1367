package limits

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(60, time.Minute, 30)
		allowed := func(tries int) (n int) {
			for range tries {
				if b.Allow() {
					n++
				}
			}
			return n
		}
		if n := allowed(1000); n != 30 || b.Over() != 970 {
			t.Errorf("%d at once, %d over", n, b.Over())
		}
		time.Sleep(10 * time.Second)
		if n := allowed(100); n != 10 {
			t.Errorf("%d after ten seconds", n)
		}
		time.Sleep(time.Hour)
		if n := allowed(100); n != 30 {
			t.Errorf("%d after an hour", n)
		}
		if b = New(0, time.Minute, 0); allowed(1000) != 1000 || b.Over() != 0 {
			t.Error("a limit where there is none")
		}
	})
}

// TestWait lets so many through in a minute, and half of them at once.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, start := New(600, time.Minute, 300), time.Now()
		for range 900 {
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start).Round(time.Second); took != time.Minute || b.Over() != 600 {
			t.Errorf("900 took %v, and %d were late", took, b.Over())
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a line that ends: %v", err)
		}
		for b = New(0, time.Minute, 0); b.Over() == 0 && time.Since(start) < time.Hour; time.Sleep(time.Minute) {
			if err := b.Wait(t.Context()); err != nil || !b.Allow() {
				t.Fatal("a limit where there is none")
			}
		}
	})
}

// lockedBuffer is written from the timer's goroutine too.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		to := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
		log, bucket := Log(to, 100, "card", "c0")
		named, grouped := log.With("card", "c0"), log.WithGroup("g")
		for range 1000 {
			named.Info("text")
			grouped.Warn("text")
			log.Debug("detail")
		}
		if n := strings.Count(out.String(), "msg=text"); n != 100 {
			t.Errorf("%d lines", n)
		}
		if n := strings.Count(out.String(), "msg=detail"); n != 1000 {
			t.Errorf("%d lines of level debug", n)
		}
		if bucket.Over() != 1900 {
			t.Errorf("%d over", bucket.Over())
		}
		const begins = `msg="log lines are suppressed from here on, see [limits]" card=c0`
		if n := strings.Count(out.String(), "suppressed"); n != 1 || !strings.Contains(out.String(), begins) {
			t.Errorf("the log says %d times that lines are suppressed: nobody sees where, and at the end of the process whether", n)
		}
		for range 300 { // 5 minutes of one line in excess each second: 100 in a minute pass
			time.Sleep(time.Second)
			named.Info("on")
			named.Info("and on")
			named.Info("and on")
		}
		if n := strings.Count(out.String(), `on"`) + strings.Count(out.String(), "msg=on"); n < 495 || n > 501 {
			t.Errorf("%d lines in five minutes", n)
		}
		if n := strings.Count(out.String(), "lines suppressed"); n < 4 || n > 5 {
			t.Errorf("told %d times in five minutes", n)
		}
		time.Sleep(2 * time.Minute)
		if !strings.Contains(out.String(), `msg="log lines suppressed, see [limits]" card=c0 lines=19`) {
			t.Errorf("the number is not told: %s", out.String()[max(0, out.b.Len()-300):])
		}
		n := strings.Count(out.String(), "suppressed")
		time.Sleep(time.Hour)
		if strings.Count(out.String(), "suppressed") != n {
			t.Error("it is told again of nothing")
		}
	})
}
