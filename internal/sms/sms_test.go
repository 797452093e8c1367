package sms

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/testkit"
)

var message = cat.ShortMessage{Card: "card0", Address: cat.Address{TONNPI: 0x91, Number: "447700900000"}, TPDU: []byte{0x01, 0x00, 0xAB}}

// patience bounds what a test waits for. It passes in full only where a test fails.
const patience = 30 * time.Second

func check(t *testing.T, b []byte) {
	t.Helper()
	var m Message
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	if m.Card != "card0" || m.Address != "+447700900000" || m.TONNPI != "91" || m.TPDU != "0100AB" || time.Since(m.Time) > time.Minute || time.Since(m.Time) < 0 {
		t.Errorf("%+v", m)
	}
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		if err := (Spool{dir}).Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		st, err := f.Info()
		if err != nil || st.Mode().Perm() != 0o600 || !strings.HasSuffix(f.Name(), ".json") || !strings.Contains(f.Name(), "card0") {
			t.Errorf("%s %v %v", f.Name(), st.Mode(), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		check(t, b)
	}
}

func TestSpoolFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full := t.TempDir()
	for _, dir := range []string{"/does/not/exist", file} {
		if err := (Spool{dir}).Send(t.Context(), message); err == nil || !strings.Contains(err.Error(), "spool") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	bad := message
	bad.Card = "no/such" // a name that makes the last step fail
	if err := (Spool{full}).Send(t.Context(), bad); err == nil {
		t.Error("a name with a slash was taken")
	}
	if left, _ := os.ReadDir(full); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func program(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHook(t *testing.T) {
	testkit.NoLeaks(t)
	out := filepath.Join(t.TempDir(), "out")
	if err := (Hook{Path: program(t, "cat > "+out)}).Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	check(t, b)
	if err := (Hook{Path: program(t, "exit 0")}).Send(t.Context(), message); err != nil {
		t.Errorf("a hook that does not read: %v", err)
	}
}

func TestHookFails(t *testing.T) {
	testkit.NoLeaks(t)
	err := (Hook{Path: program(t, "echo no modem >&2; exit 3")}).Send(t.Context(), message)
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no modem") {
		t.Errorf("%v", err)
	}
	if err := (Hook{Path: "/does/not/exist"}).Send(t.Context(), message); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	err = (Hook{Path: program(t, "head -c 100000 /dev/zero | tr '\\0' x; exit 1")}).Send(t.Context(), message)
	if err == nil || len(err.Error()) > 2*maxHookOutput {
		t.Errorf("a hook that says much: %d octets", len(err.Error()))
	}
}

// TestHookHangs kills a hook, and what it has started, when its time is over or the session ends.
func TestHookHangs(t *testing.T) {
	testkit.NoLeaks(t)
	pids := filepath.Join(t.TempDir(), "pids")
	hook := program(t, "sleep 600 & echo $! > "+pids+".new; mv "+pids+".new "+pids+"; wait")
	for timeout := 200 * time.Millisecond; ; timeout *= 3 { // until it is enough for the hook to start what is to be killed
		start := time.Now()
		err := (Hook{Path: hook, Timeout: timeout}).Send(t.Context(), message)
		if err == nil || !strings.Contains(err.Error(), "not done within "+timeout.String()) || time.Since(start) > 300*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		if exists(pids) {
			break
		}
		if timeout > patience {
			t.Fatalf("the hook has started nothing within %v", timeout)
		}
	}
	ended(t, pids)
	if err := os.Remove(pids); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- Hook{Path: hook}.Send(ctx, message) }()
	gone := errors.New("the card is gone")
	defer cancel(gone)
	for deadline := time.Now().Add(patience); !exists(pids); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the hook has started nothing within %v", patience)
		}
	}
	cancel(gone)
	select {
	case err := <-done:
		if !errors.Is(err, gone) {
			t.Errorf("%v", err)
		}
	case <-time.After(patience):
		t.Errorf("the hook is not killed within %v", patience)
	}
	ended(t, pids)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// ended waits until the process that the hook has started is dead.
func ended(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives", pid)
		}
	}
}

// alive is false also for a dead process that nobody has waited for.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
