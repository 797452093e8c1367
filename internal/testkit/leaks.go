// Package testkit is what the tests of several packages share: looking for leaks, keeping a log, and ports that do not answer.
// Only tests import it.
package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// settleTime is how long what has been told to end may take for it. It passes in full only where a test fails, so it is made for
// a machine under any load.
const settleTime = 30 * time.Second

// NoLeaks fails the test where it leaves goroutines behind. Call it before anything is started.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		t.Helper()
		if err := Goroutines(before); err != nil {
			t.Error(err)
		}
	})
}

// Goroutines waits a bounded time until no more goroutines run than that. The error has the stacks of those that do.
func Goroutines(most int) error { return goroutines(most, settleTime) }

func goroutines(most int, patience time.Duration) error {
	err := settleWithin(patience, func() error {
		if n := runtime.NumGoroutine(); n > most {
			return fmt.Errorf("%d goroutines, %d before", n, most)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	buf := make([]byte, 1<<20)
	return fmt.Errorf("%w:\n%s", err, buf[:runtime.Stack(buf, true)])
}

// NoOpenFiles fails the test where more files are open at its end than now.
func NoOpenFiles(t testing.TB) {
	t.Helper()
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller has files of its own, from its first use on
		r.Close()
		w.Close()
	}
	runtime.GC() // files that others left to it are closed now
	before, err := openFiles()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		t.Helper()
		err := settle(func() error {
			now, err := openFiles()
			if err != nil || len(now) <= len(before) {
				return err
			}
			return fmt.Errorf("open files before %q, now %q", before, now)
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// openFiles are the names of what this process has open.
func openFiles() ([]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // the folder itself is gone by now
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// settle asks again and again, and gives the last error after settleTime.
func settle(check func() error) error { return settleWithin(settleTime, check) }

// settleWithin is settle with another time.
//
// In a synctest bubble time.Sleep takes no real time, which what runs outside the bubble (a finalizer, the end of another
// bubble) needs as well. So each round sleeps by both clocks, and the rounds are counted.
func settleWithin(patience time.Duration, check func() error) error {
	const pause = 2 * time.Millisecond
	for round := time.Duration(0); ; round++ {
		err := check()
		if err == nil || round*pause >= patience {
			return err
		}
		time.Sleep(pause)
		real := syscall.NsecToTimespec(int64(pause))
		_ = syscall.Nanosleep(&real, nil)
	}
}
