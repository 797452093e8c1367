package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/internal/testkit"
)

// buildDaemons builds bipd and apd into dir.
func buildDaemons(t *testing.T, dir string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", dir+"/", "bipd/cmd/bipd", "bipd/cmd/apd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// workDir is a directory with both daemons and an empty directory "lines" in it. DIR in the files stands for it.
func workDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	buildDaemons(t, dir)
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(text, "DIR", dir))
	}
	if err := os.Mkdir(filepath.Join(dir, "lines"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runningDaemon is bipd or apd as a process of its own, with its log.
type runningDaemon struct {
	name  string
	cmd   *exec.Cmd
	log   testkit.Log
	ended chan error // how it has ended, once
}

// startDaemon starts a daemon that workDir has made, with its configuration, and waits until it says that it is ready.
func startDaemon(t *testing.T, dir, name string) *runningDaemon {
	t.Helper()
	d := &runningDaemon{name: name, ended: make(chan error, 1)}
	d.cmd = exec.Command(filepath.Join(dir, name), "--config", filepath.Join(dir, name+".toml"))
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.ended <- d.cmd.Wait() }()
	t.Cleanup(func() {
		d.signal(t, syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s said:\n%s", name, &d.log)
		}
	})
	d.log.Await(t, name+" is ready")
	return d
}

// signal sends a signal, which one that has ended does not mind.
func (d *runningDaemon) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	_ = d.cmd.Process.Signal(s)
	if s == syscall.SIGKILL {
		d.awaitEnd(t)
	}
}

// awaitEnd waits for the end of the process and gives how it has ended.
func (d *runningDaemon) awaitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-d.ended:
		d.ended <- err
		return err
	case <-time.After(patience):
		t.Fatalf("%s does not end", d.name)
		return nil
	}
}
