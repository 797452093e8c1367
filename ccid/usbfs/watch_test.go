package usbfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/internal/testkit"
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
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
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

// followUevents ends, and closes the socket, when its context ends.
func TestFollowUevents(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	events, err := openUevents()
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- followUevents(ctx, events, func() {}) }()
	cancel()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if err := events.Close(); err == nil {
		t.Error("the socket was left open")
	}
}

// In namespaces of an ordinary user the kernel's events do not come, though there is a socket for them.
func TestUserNamespaceHearsNothing(t *testing.T) {
	const env = "USBFS_TEST_REACH"
	if os.Getenv(env) != "" {
		fmt.Println(ueventsReach())
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestUserNamespaceHearsNothing$")
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("user namespaces cannot be made here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "a user namespace other than the first") {
		t.Errorf("%s, %v", out, err)
	}
}

// Where the socket cannot be had or used there is a signal every now and then, and the log says so.
func TestWatchWithoutUevents(t *testing.T) {
	for name, open := range map[string]func() (*os.File, error){
		"refused": func() (*os.File, error) { return nil, os.ErrPermission },
		"broken":  func() (*os.File, error) { return os.Open("/proc/self/comm") },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			testkit.NoOpenFiles(t)
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
