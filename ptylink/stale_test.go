package ptylink

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
)

// die ends p as the kernel does when its process is killed: the link and the lock's file stay.
func (p *PTY) die() {
	p.once.Do(func() {
		close(p.closed)
		p.f.Close()
		if p.lock != nil {
			p.lock.Close()
		}
	})
}

// A link that a killed program left behind is somebody else's terminal by now: it is neither opened nor touched. A new
// program takes the link over.
func TestStaleLink(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	link := filepath.Join(dir, "card0")
	p := testPTY(t, PTYConfig{Link: link})
	p.die()
	login := testkit.LoginAt(t, link)
	login.Type(t, "AT%GETNET=1,3\r")
	d := Dir{Path: dir}
	for how, open := range map[string]func() (io.ReadWriteCloser, error){
		"by its path":       func() (io.ReadWriteCloser, error) { return OpenTTY(link, TTYConfig{}) },
		"in its directory":  func() (io.ReadWriteCloser, error) { return d.Open("card0", TTYConfig{}) },
		"by a further link": func() (io.ReadWriteCloser, error) { return OpenTTY(linkTo(t, link), TTYConfig{}) },
	} {
		l, err := open()
		if err == nil {
			l.Close()
			t.Errorf("%s: somebody's terminal was opened", how)
		} else if !strings.Contains(err.Error(), "after the link that leads to it") {
			t.Errorf("%s: %v", how, err)
		}
	}
	login.Untouched(t)
	if err := d.Check("card0"); err == nil || !strings.Contains(err.Error(), "nobody holds") {
		t.Errorf("the line is served by nobody: %v", err)
	}
	testPTY(t, PTYConfig{Link: link})
	if l, err := d.Open("card0", TTYConfig{}); err != nil {
		t.Errorf("the next program's line: %v", err)
	} else {
		l.Close()
	}
}

// linkTo makes another link.
func linkTo(t *testing.T, target string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// A link that is as old as its pty, or younger, is good; its owner is the pty's, or both are root and the own user.
func TestTerminalCheck(t *testing.T) {
	const own, other, third = 1000, 1001, 1002
	pts := unix.Mkdev(136, 5)
	for name, tc := range map[string]struct {
		mode, rdev    uint64
		made, linked  int64 // nanoseconds
		owner, linker int   // linker < 0: no link
		want          string
	}{
		"as old":                 {unix.S_IFCHR, pts, 7, 7, own, own, ""},
		"link younger":           {unix.S_IFCHR, pts, 7, 8, own, own, ""},
		"link older":             {unix.S_IFCHR, pts, 8, 7, own, own, "made or changed after the link"},
		"no link":                {unix.S_IFCHR, pts, 8, 0, other, -1, ""},
		"somebody's":             {unix.S_IFCHR, pts, 7, 8, other, other, ""},
		"root's and own":         {unix.S_IFCHR, pts, 7, 8, 0, own, ""},
		"own by root's link":     {unix.S_IFCHR, pts, 7, 8, own, 0, ""},
		"another's by root's":    {unix.S_IFCHR, pts, 7, 8, other, 0, "belongs to user 1001 and the link that leads to it to user 0"},
		"root's by another's":    {unix.S_IFCHR, pts, 7, 8, 0, other, "belongs to user 0"},
		"own by another's":       {unix.S_IFCHR, pts, 7, 8, own, other, "belongs to user 1000"},
		"two others":             {unix.S_IFCHR, pts, 7, 8, other, third, "belongs to user 1001"},
		"serial port":            {unix.S_IFCHR, unix.Mkdev(4, 64), 8, 7, 0, 0, ""},
		"serial port by a stray": {unix.S_IFCHR, unix.Mkdev(4, 64), 8, 7, 0, other, "belongs to user 0"},
		"file":                   {unix.S_IFREG, 0, 7, 8, own, own, "is not a terminal"},
		"block device":           {unix.S_IFBLK, pts, 7, 8, own, own, "is not a terminal"},
	} {
		tm := &terminal{path: "/x", stat: unix.Stat_t{Mode: uint32(tc.mode), Rdev: tc.rdev, Uid: uint32(tc.owner), Ctim: unix.NsecToTimespec(tc.made)}}
		if tc.linker >= 0 {
			tm.link = &unix.Stat_t{Uid: uint32(tc.linker), Ctim: unix.NsecToTimespec(tc.linked)}
		}
		switch err := tm.check(own); {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// Of the character devices only ptys and serial ports are taken, whatever their driver.
func TestCheckDevice(t *testing.T) {
	for _, tc := range []struct {
		major, minor uint32
		ok           bool
	}{
		{136, 0, true}, {143, 255, true}, {4, 64, true}, {4, 95, true}, // ptys, ttyS
		{4, 0, false}, {4, 1, false}, {4, 63, false}, {5, 0, false}, {5, 1, false}, {5, 2, false}, // consoles, tty, ptmx
		{2, 0, false}, {3, 0, false}, {1, 3, false}, {10, 130, false}, {128, 0, false}, // BSD, null, watchdog, master
	} {
		if err := checkDevice(tc.major, tc.minor); (err == nil) != tc.ok {
			t.Errorf("device %d:%d: %v", tc.major, tc.minor, err)
		}
	}
	known, err := filepath.Glob("/sys/class/tty/*/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range known {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // unplugged
		}
		a, b, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		major, err1 := strconv.ParseUint(a, 10, 32)
		minor, err2 := strconv.ParseUint(b, 10, 32)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %s", file, text)
		}
		console := major == 5 || major == 4 && minor < 64 || major == 2 || major == 3
		if err := checkDevice(uint32(major), uint32(minor)); (err == nil) == console {
			t.Errorf("%s, %d:%d: %v", file, major, minor, err)
		}
	}
}

// What is no line is refused without being opened: the open of a FIFO would wait, that of a device may do anything.
func TestTTYRefusesDevices(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	dir := t.TempDir()
	fifo, loop := filepath.Join(dir, "fifo"), filepath.Join(dir, "loop")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/dev/null": "is not a terminal", "/dev/tty": "is a console", "/dev/ptmx": "is a console",
		fifo: "is not a terminal", dir: "is not a terminal", loop: "too many levels of symbolic links", "": "no such file",
	} {
		if l, err := OpenTTY(path, TTYConfig{}); err == nil {
			l.Close()
			t.Errorf("%s opened", path)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}
