package ptylink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
)

func testPTY(t *testing.T, cfg PTYConfig) *PTY {
	t.Helper()
	testkit.NoLeaks(t)
	p, err := OpenPTY(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func testTTY(t *testing.T, path string) io.ReadWriteCloser {
	t.Helper()
	f, err := OpenTTY(path, TTYConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestPTYLink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "line")
	p := testPTY(t, PTYConfig{Link: link, Mode: 0o640, GID: os.Getgid()})
	fi, err := os.Stat(link)
	if err != nil || fi.Mode().Perm() != 0o640 || fi.Mode()&os.ModeCharDevice == 0 {
		t.Fatal(fi.Mode(), err)
	}
	if gid := fi.Sys().(*syscall.Stat_t).Gid; int(gid) != os.Getgid() {
		t.Error(gid)
	}
	p.die()
	q := testPTY(t, PTYConfig{Link: link}) // takes over the link that was left behind
	if target, _ := os.Readlink(link); target != q.Slave() {
		t.Error(target)
	}
	if fi, err := os.Stat(link); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/elsewhere", link); err != nil {
		t.Fatal(err)
	}
	q.Close()
	if target, err := os.Readlink(link); target != "/elsewhere" {
		t.Error("the pty took a link away that is not its own:", err)
	}
	_ = os.Remove(link)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Error(left)
	}
	if err := q.Close(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestPTYRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "localtime")
	if err := os.Symlink(file, other); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []PTYConfig{{Link: file}, {Link: filepath.Join(file, "x")}, {Link: other}} {
		if p, err := OpenPTY(cfg); err == nil {
			p.Close()
			t.Errorf("%+v", cfg)
		}
	}
	if b, err := os.ReadFile(other); err != nil || string(b) != "data" {
		t.Error(err)
	}
}

// All octets pass unchanged both ways, more than the line's queues hold.
func TestPTYIsRaw(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	s := testTTY(t, p.Slave())
	data := make([]byte, 256*400)
	for i := range data {
		data[i] = byte(i ^ i>>8)
	}
	for _, way := range [][2]io.ReadWriter{{p, s}, {s, p}} {
		wrote := make(chan error, 1)
		go func() { _, err := way[0].Write(data); wrote <- err }()
		got := make([]byte, len(data))
		if _, err := io.ReadFull(way[1], got); err != nil || !bytes.Equal(got, data) || await(t, "the end of Write", wrote) != nil {
			t.Error("data changed on its way", err)
		}
	}
}

// Before the other end has come, Read waits without burning the processor, within its deadline, until Close.
func TestPTYBeforeThePeer(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	if open, err := p.look(); open || err != nil {
		t.Fatal("somebody holds the slave open:", open, err)
	}
	p.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	p.SetReadDeadline(time.Time{})
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	if err := p.WaitPeer(within(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	read := make(chan error, 1)
	go func() { _, err := p.Read(make([]byte, 1)); read <- err }()
	select {
	case err := <-read:
		t.Error(err)
	case <-time.After(300 * time.Millisecond):
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	if used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()); used > 200*time.Millisecond {
		t.Errorf("%v of processor time in 600 ms of waiting", used)
	}
	p.Close()
	if err := await(t, "end of Read", read); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := p.WaitPeer(within(t, testTime)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("WaitPeer after Close: %v", err)
	}
}

// A deadline set while Read waits for the other end ends it.
func TestPTYDeadlineWhileWaiting(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	read := make(chan error, 1)
	go func() { _, err := p.Read(make([]byte, 1)); read <- err }()
	time.AfterFunc(20*time.Millisecond, func() { p.SetDeadline(time.Unix(1, 0)) })
	if err := await(t, "end of Read", read); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// The other end's last words are read, then its end, for good.
func TestPTYHangup(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	waited := make(chan error, 1)
	go func() { waited <- p.WaitPeer(within(t, testTime)) }()
	s := testTTY(t, p.Slave())
	if err := await(t, "the other end", waited); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, "last words"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if b, err := io.ReadAll(p); string(b) != "last words" || !errors.Is(err, ErrHangup) {
		t.Errorf("%q %v", b, err)
	}
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, ErrHangup) {
		t.Error(err)
	}
}

// Close and deadlines end what waits in an open line, on both ends.
func TestLinesEnd(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	s := testTTY(t, p.Slave())
	for name, l := range map[string]io.ReadWriteCloser{"master": p, "slave": s} {
		d := l.(interface{ SetDeadline(time.Time) error })
		if err := d.SetDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Read: %v", name, err)
		}
		if _, err := l.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: Write: %v", name, err)
		}
	}
	q := testPTY(t, PTYConfig{})
	r := testTTY(t, q.Slave())
	for name, l := range map[string]io.ReadWriteCloser{"master": q, "slave": r} {
		ended := make(chan error, 2)
		go func() { _, err := io.Copy(io.Discard, struct{ io.Reader }{l}); ended <- err }()
		go func() {
			for {
				if _, err := l.Write(make([]byte, 1<<20)); err != nil {
					ended <- err
					return
				}
			}
		}()
		time.Sleep(10 * time.Millisecond) // so that they wait, mostly
		l.Close()
		for range 2 {
			await(t, "end of Read and Write of the "+name, ended)
		}
	}
}

func TestTTYIsExclusive(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	other, err := os.OpenFile(p.Slave(), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	first := testTTY(t, p.Slave())
	var exclusive int // which stops other programs, root's apart
	if err := control(first.(*TTY).f, func(fd int) (err error) {
		exclusive, err = unix.IoctlGetInt(fd, unix.TIOCGEXCL)
		return err
	}); err != nil || exclusive != 1 {
		t.Errorf("exclusive use: %d, %v", exclusive, err)
	}
	if _, err := OpenTTY(p.Slave(), TTYConfig{}); !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EBUSY) {
		t.Error(err)
	}
	first.Close()
	if exclusive, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGEXCL); err != nil || exclusive != 0 {
		t.Errorf("exclusive use after the end: %d, %v", exclusive, err)
	}
	testTTY(t, p.Slave()) // the next has it
}

// What was written before the line was opened is not for the one who opens it.
func TestTTYFlushes(t *testing.T) {
	p := testPTY(t, PTYConfig{})
	if _, err := io.WriteString(p, "stale"); err != nil {
		t.Fatal(err)
	}
	early, err := os.OpenFile(p.Slave(), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	for end, waiting := time.Now().Add(testTime), 0; waiting < len("stale"); { // the kernel takes its time to bring it over
		if err := control(early, func(fd int) (err error) { waiting, err = unix.IoctlGetInt(fd, unix.TIOCINQ); return err }); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("%d octets have come over", waiting)
		}
	}
	s := testTTY(t, p.Slave())
	if _, err := io.WriteString(p, "fresh"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("fresh"))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "fresh" {
		t.Errorf("%q %v", b, err)
	}
	p.Close()
	if _, err := s.Read(b); err != io.EOF {
		t.Error(err)
	}
}

func TestTTYRefuses(t *testing.T) {
	testkit.NoLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := testPTY(t, PTYConfig{})
	for path, speed := range map[string]int{file: 0, file + "x": 0, p.Slave(): 12345} {
		if l, err := OpenTTY(path, TTYConfig{Speed: speed}); err == nil {
			l.Close()
			t.Errorf("%s opened", path)
		}
	}
}
