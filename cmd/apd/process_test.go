package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink"
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
	return startDaemonAs(t, dir, name, name+".toml", -1, -1)
}

// startDaemonAs is startDaemon with another configuration, as another user, -1 for this one.
func startDaemonAs(t *testing.T, dir, name, config string, uid, gid int) *runningDaemon {
	t.Helper()
	d := &runningDaemon{name: name, ended: make(chan error, 1)}
	d.cmd = exec.Command(filepath.Join(dir, name), "--config", filepath.Join(dir, config))
	if uid >= 0 {
		d.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
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
	for len(d.log.Lines(name+" is ready")) == 0 {
		select {
		case err := <-d.ended:
			d.ended <- err
			t.Fatalf("%s has ended: %v", name, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
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

// runLink is the CP's end of a line until stop is called; up hears when the line has come up.
func runLink(t *testing.T, cfg ptylink.PTYConfig, up chan<- bool) (stop func()) {
	t.Helper()
	link := ptylink.NewLink(ptylink.LinkConfig{
		Name: filepath.Base(cfg.Link),
		Open: func(context.Context) (io.ReadWriteCloser, error) { return ptylink.OpenPTY(cfg) },
		State: func(isUp bool, _ error) {
			if isUp {
				up <- true
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		_ = receive(t, "the end of a CP", ended)
	})
	t.Cleanup(stop)
	return stop
}

// receive waits a bounded time.
func receive[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
	return v
}
