package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/internal/control"
	"bipd/trace"
)

// The demonstration downloads by both methods over both schemes, shows every step in its order, and cleans up.
func TestDemo(t *testing.T) {
	needNamespaces(t)
	var out bytes.Buffer
	d := &demo{bin: daemons(t), size: 150_000, html: filepath.Join(t.TempDir(), "html"), screen: screen{Writer: &out, width: 100}}
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	if err := d.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	text := out.String()
	for _, m := range []trace.Method{trace.Method1, trace.Method2} {
		for _, scheme := range []string{"http", "https"} {
			line := regexp.MustCompile(fmt.Sprintf(`(?m)^%v  %-5s  150000 bytes  [0-9.]+ kB/s  sha256 ok$`, m, scheme))
			if !line.MatchString(text) {
				t.Errorf("no line %v", line)
			}
			page, err := os.ReadFile(filepath.Join(d.html, fmt.Sprintf("method%d-%s.html", m, scheme)))
			if err != nil {
				t.Error(err)
			}
			showsSteps(t, "HTML ladder", m, string(page))
		}
	}
	first, second, ok := strings.Cut(text, "\nmethod 2: ")
	if !ok {
		t.Fatalf("no part on method 2:\n%s", text)
	}
	showsSteps(t, "ladder", trace.Method1, first)
	showsSteps(t, "ladder", trace.Method2, second)
	if !strings.Contains(second, "namespace cp       has the interfaces lo\n") {
		t.Errorf("the CP's namespace has not only lo in method 2:\n%s", second)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// showsSteps wants each step of the method in the text, the first mention of each after that of the step before.
func showsSteps(t *testing.T, what string, m trace.Method, text string) {
	t.Helper()
	last := -1
	for _, s := range m.Steps() {
		switch i := strings.Index(text, s.Name); {
		case i < 0:
			t.Errorf("%v: %s: %s is not shown", m, what, s.Name)
		case i < last:
			t.Errorf("%v: %s: %s is too early", m, what, s.Name)
		default:
			last = i
		}
	}
}

func TestDemoSize(t *testing.T) {
	for _, size := range []int{0, -1, 256<<20 + 1} {
		err := (&demo{size: size}).run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "--size") {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

// failed wants the exit status 1 and each text in the message.
func failed(t *testing.T, err error, stdout, stderr string, want ...string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	for _, w := range want {
		if !strings.Contains(stderr, w) {
			t.Errorf("%q is not in the message:\n%s", w, stderr)
		}
	}
	if strings.Contains(stdout, "sha256 ok") {
		t.Errorf("a success is claimed:\n%s", stdout)
	}
}

func TestDemoWithoutApd(t *testing.T) {
	needNamespaces(t)
	dir := shortDir(t)
	var stdout, stderr bytes.Buffer
	cmd := bipctl(t.Context(), t, dir, "demo", "--bin", link(t, filepath.Join(daemons(t), "bipd")))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed(t, cmd.Run(), stdout.String(), stderr.String(), "apd", "no such file", "make")
}

// spoil is a bipd that first spoils the file on the server, which serves at that time already.
const spoil = `#!/bin/sh
set -e
dd if=/dev/zero of="$(dirname "$2")/file" bs=1 seek=1234 count=16 conv=notrunc status=none
exec BIN/bipd "$@"
`

func TestDemoWrongFile(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	bin := link(t, filepath.Join(daemons(t), "apd"))
	script := strings.ReplaceAll(spoil, "BIN", daemons(t))
	if err := os.WriteFile(filepath.Join(bin, "bipd"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := bipctl(t.Context(), t, shortDir(t), "demo", "--size", "20000", "--bin", bin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed(t, cmd.Run(), stdout.String(), stderr.String(), "method 1: http: ", "SHA-256 of the 20000 bytes downloaded differs")
}

// TestDemoOneByte is the same with one byte, which no 16 zeros can be by chance.
func TestDemoOneByte(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	var out bytes.Buffer
	d := &demo{bin: daemons(t), size: 20000, screen: screen{Writer: &out, width: 100}}
	if err := d.prepare(); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(d.dir)
	d.file[d.size-1] ^= 1 // the sum has been made already
	err := d.compare(t.Context())
	if err == nil || !strings.Contains(err.Error(), "SHA-256 of the 20000 bytes downloaded differs") {
		t.Errorf("%v", err)
	}
	if strings.Contains(out.String(), "sha256 ok") {
		t.Errorf("a success is claimed:\n%s", &out)
	}
}

// runningDemo is a demonstration as a process, in the middle of its first download.
type runningDemo struct {
	cmd            *exec.Cmd
	dir            string // of its temporary files
	stdout, stderr bytes.Buffer
	bipd           int // process id
}

// startDemo starts a demonstration and waits until its first data is with the card.
func startDemo(t *testing.T) *runningDemo {
	t.Helper()
	dir := shortDir(t)
	ctx, cancel := context.WithTimeout(t.Context(), demoTime-10*time.Second) // that its own end of time is not what ends it
	t.Cleanup(cancel)
	r := &runningDemo{dir: dir, cmd: bipctl(ctx, t, dir, "demo", "--size", fmt.Sprint(64<<20), "--bin", daemons(t))}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var socket string
	await(t, "bipd's control socket", 2*within, func() bool {
		found, _ := filepath.Glob(filepath.Join(dir, "bip-demo-*", "m1", "bipd.sock"))
		if len(found) == 1 {
			socket = found[0]
			c, err := net.Dial("unix", socket)
			if err == nil {
				r.bipd = peerOf(t, c.(*net.UnixConn))
				c.Close()
			}
		}
		return r.bipd != 0
	})
	events, stop := context.WithCancel(ctx)
	defer stop()
	downloading := false
	err := control.NewClient(socket).Events(events, func() {}, func(e trace.Event) {
		if e.Step == "S412" {
			downloading = true
			stop()
		}
	})
	if !downloading {
		t.Fatalf("no download has begun: %v", err)
	}
	return r
}

// peerOf gives the process that listens at the other end, which has to be a bipd.
func peerOf(t *testing.T, c *net.UnixConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || credErr != nil {
		t.Fatal(err, credErr)
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cred.Pid))
	if err != nil || string(name) != "bipd\n" {
		t.Fatalf("process %d is %q, %v", cred.Pid, name, err)
	}
	return int(cred.Pid)
}

func TestDemoBipdDies(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	r := startDemo(t)
	if err := syscall.Kill(r.bipd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	failed(t, r.cmd.Wait(), r.stdout.String(), r.stderr.String(), "method 1: http: ", "bipd ended: signal: killed", "the last of bipd's log")
	if took := time.Since(died); took > within {
		t.Errorf("it took %v to notice", took)
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	r := startDemo(t)
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	failed(t, r.cmd.Wait(), r.stdout.String(), r.stderr.String(), "bipctl: method 1: ")
	if lines := strings.Count(r.stderr.String(), "\n"); lines != 1 {
		t.Errorf("%d lines on an interrupt:\n%s", lines, &r.stderr)
	}
	if left, err := filepath.Glob(filepath.Join(r.dir, "bip-demo-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if took := time.Since(asked); took > within {
		t.Errorf("it took %v to end", took)
	}
	if err := syscall.Kill(r.bipd, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("bipd still runs: %v", err)
	}
}
