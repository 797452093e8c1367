package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullPipe returns a pipe that takes nothing more.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "read end"), os.NewFile(uintptr(fds[1]), "write end")
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := unix.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	for size := 1024; size > 0; size /= 2 {
		for {
			if _, err := unix.Write(fds[1], []byte(strings.Repeat("\n", size))); errors.Is(err, unix.EAGAIN) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := unix.SetNonblock(fds[1], false); err != nil { // as a daemon gets it
		t.Fatal(err)
	}
	return r, w
}

// Whatever became of its standard error, a daemon serves cards, and SIGTERM ends it in order. A reader that comes back
// gets the log.
func TestStandardError(t *testing.T) {
	s := newKillStand(t)
	s.dialIn()
	for _, name := range []string{"bipd", "apd"} {
		file := filepath.Join(s.dir, name+".toml")
		text, err := os.ReadFile(file)
		if err == nil {
			text = []byte(strings.Replace(string(text), "[log]\n", "[log]\nlevel = \"debug\"\n", 1))
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	startAs := func(name string, stderr *os.File, command ...string) {
		t.Helper()
		command = append(command, filepath.Join(s.dir, name), "--config", filepath.Join(s.dir, name+".toml"))
		p := &daemonProcess{cmd: exec.Command(command[0], command[1:]...)}
		if stderr != nil {
			p.cmd.Stderr = stderr
		}
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.procs[name] = p
	}
	for _, name := range []string{"bipd", "apd"} {
		other := map[string]string{"bipd": "apd", "apd": "bipd"}[name]
		s.start(other)
		serves := func(stderr string) {
			t.Helper()
			began := time.Now()
			if name == "apd" {
				s.awaitLines() // before that the cards read what bipd still has of an apd before this one
			}
			s.awaitLoading()
			t.Logf("%s with standard error %s: the cards load after %v", name, stderr, time.Since(began).Round(time.Millisecond))
		}

		stop := func() {
			t.Helper()
			s.stop(name)
			if name == "apd" {
				s.await("bipd to miss apd", func() bool { return s.linesUp() == 0 })
			}
		}

		r, w := fullPipe(t)
		startAs(name, w)
		serves("full")
		stop()

		startAs(name, w)
		w.Close()
		serves("full for a while")
		ready := make(chan struct{})
		go func() {
			for lines := bufio.NewScanner(r); lines.Scan(); {
				if strings.Contains(lines.Text(), name+" is ready") {
					close(ready)
				}
			}
		}()
		select {
		case <-ready:
		case <-time.After(patience):
			t.Error("what was logged meanwhile does not come")
		}
		stop()

		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		startAs(name, w)
		w.Close()
		serves("without a reader")
		stop()

		startAs(name, nil, "sh", "-c", `exec "$0" "$@" 2>&-`)
		serves("not open")
		stop()
		s.stop(other)
	}
}

// A daemon that has a reason not to start says it, and ends, though nobody reads.
func TestStandardErrorOfFailure(t *testing.T) {
	dir := t.TempDir()
	buildDaemons(t, dir)
	for _, name := range []string{"bipd", "apd"} {
		_, w := fullPipe(t)
		cmd := exec.Command(filepath.Join(dir, name), "--config", filepath.Join(dir, "is not there"))
		cmd.Stderr = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		overdue := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		overdue.Stop()
		if st := cmd.ProcessState.Sys().(syscall.WaitStatus); st.ExitStatus() != 1 {
			t.Errorf("%s: %v", name, cmd.ProcessState)
		}
	}
}
