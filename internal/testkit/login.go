package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Login is somebody's terminal: a pty as the kernel makes it, neither raw nor taken.
type Login struct {
	master, slave *os.File
	typed         string
}

// LoginAt is a login that gets the pty to which the link leads, whose first owner has gone.
func LoginAt(t testing.TB, link string) *Login {
	t.Helper()
	path, err := os.Readlink(link)
	if err != nil {
		t.Fatal(err)
	}
	awaitTick(t, link)
	var l *Login
	err = settle(func() (err error) { // others come by the number, too, and let it go
		l, err = loginAt(path)
		return err
	})
	if err != nil {
		t.Fatalf("nobody comes by %s: %v", path, err)
	}
	t.Cleanup(func() { l.master.Close(); l.slave.Close() })
	return l
}

// loginAt opens ptys until it has the one of that path.
func loginAt(path string) (*Login, error) {
	for range 64 {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, err
		}
		if slave.Name() == path {
			return &Login{master: master, slave: slave}, nil
		}
		defer master.Close()
		defer slave.Close()
	}
	return nil, os.ErrExist
}

// awaitTick waits until a file that is made now is younger than the link: the clock of files has ticks, of some milliseconds.
func awaitTick(t testing.TB, link string) {
	t.Helper()
	var made, now unix.Stat_t
	if err := unix.Lstat(link, &made); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err := settle(func() error {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Fstat(int(f.Fd()), &now); err != nil {
			return err
		}
		if now.Ctim.Nano() <= made.Ctim.Nano()+int64(20*time.Millisecond) {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Type types at the terminal; a line ends in CR, as by the key.
func (l *Login) Type(t testing.TB, line string) {
	t.Helper()
	if _, err := l.master.WriteString(line); err != nil {
		t.Fatal(err)
	}
	l.typed += line
}

// Untouched wants the terminal as it was, what was typed still there to read, and nothing on its screen but the echo of that.
// It may be called once.
func (l *Login) Untouched(t testing.TB) {
	t.Helper()
	fd := int(l.slave.Fd())
	termios, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if termios.Lflag&unix.ICANON == 0 || termios.Lflag&unix.ECHO == 0 {
		t.Error("somebody's terminal was set raw")
	}
	err = settle(func() error { // the kernel takes its time to bring it over
		if n, err := unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil || n != len(l.typed) {
			return fmt.Errorf("%d octets of %q are left for the program of the terminal's user, %v", n, l.typed, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	b := make([]byte, 1<<16)
	shown, err := unix.IoctlGetInt(int(l.master.Fd()), unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if shown > 0 {
		if n, err = l.master.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(strings.ReplaceAll(l.typed, "\r", "\r\n"), string(b[:n])) {
		t.Errorf("somebody's screen shows %q, typed was %q", b[:n], l.typed)
	}
}
