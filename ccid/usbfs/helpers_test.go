package usbfs

import (
	"context"
	"encoding/hex"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience bounds how long a test waits for what must happen.
const patience = 20 * time.Second

// hx gives the octets of hex digits with spaces.
func hx(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// noLeaks fails the test where goroutines or open files are left at its end.
func noLeaks(t *testing.T) {
	t.Helper()
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if r, w, err := os.Pipe(); err == nil { // the runtime's poller has files of its own, from its first use on
		r.Close()
		w.Close()
	}
	routines, open := runtime.NumGoroutine(), files()
	t.Cleanup(func() {
		for end := time.Now().Add(patience); runtime.NumGoroutine() > routines || files() > open; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<16)
				t.Errorf("%d open files before, %d now; %d goroutines before, now\n%s", open, files(), routines,
					buf[:runtime.Stack(buf, true)])
				return
			}
		}
	})
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
