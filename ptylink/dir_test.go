package ptylink

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
)

// A line is served while its program holds the lock, and nobody else can hold it meanwhile.
func TestLineLock(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	d := Dir{Path: t.TempDir()}
	link := d.join("card0")
	p, err := OpenPTY(PTYConfig{Link: link, Mode: 0o640})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Check("card0"); err != nil {
		t.Error(err)
	}
	if names, err := d.Names(); err != nil || !slices.Equal(names, []string{"card0"}) {
		t.Errorf("names %q, %v", names, err)
	}
	if fi, err := os.Stat(lockPath(link)); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("whoever may open the line may look at the lock, and nobody else: %v, %v", fi.Mode(), err)
	}
	if q, err := OpenPTY(PTYConfig{Link: link}); err == nil {
		q.Close()
		t.Error("two programs serve the line")
	} else if !strings.Contains(err.Error(), "another program serves the line") {
		t.Error(err)
	}
	p.Close()
	if left, err := os.ReadDir(d.Path); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := d.Check("card0"); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("after its end: %v", err)
	}
}

// A link without the lock is no line, whoever made it; a reader of the lock does not count as its holder.
func TestLineWithoutLock(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	p := testPTY(t, PTYConfig{})
	link := d.join("card0")
	if err := os.Symlink(p.Slave(), link); err != nil {
		t.Fatal(err)
	}
	if l, err := d.Open("card0", TTYConfig{}); err == nil {
		l.Close()
		t.Error("opened without a lock")
	}
	lock, err := os.Create(lockPath(link))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	reader, err := os.Open(lockPath(link))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := unix.FcntlFlock(reader.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}); err != nil {
		t.Fatal(err)
	}
	if err := d.Check("card0"); err == nil || !strings.Contains(err.Error(), "nobody holds") {
		t.Errorf("a reader holds the lock: %v", err)
	}
	if l, err := OpenTTY(link, TTYConfig{}); err != nil { // named by its path a line needs no lock
		t.Error(err)
	} else {
		l.Close()
	}
}

// Files in the place of the lock are left as they are.
func TestForeignLockFile(t *testing.T) {
	testkit.NoOpenFiles(t)
	link := filepath.Join(t.TempDir(), "card0")
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(string) error{
		"symbolic link": func(at string) error { return os.Symlink(precious, at) },
		"hard link":     func(at string) error { return os.Link(precious, at) },
		"fifo":          func(at string) error { return unix.Mkfifo(at, 0o600) },
		"directory":     func(at string) error { return os.Mkdir(at, 0o700) },
	} {
		if err := put(lockPath(link)); err != nil {
			t.Fatal(err)
		}
		if p, err := OpenPTY(PTYConfig{Link: link, Mode: 0o660}); err == nil {
			p.Close()
			t.Errorf("%s: taken for a lock", name)
		}
		if _, err := os.Lstat(lockPath(link)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := checkLock(link); err == nil {
			t.Errorf("%s: counts as held", name)
		}
		os.Remove(lockPath(link))
	}
	if fi, err := os.Stat(precious); err != nil || fi.Mode().Perm() != 0o400 {
		t.Errorf("the other file has another mode: %v, %v", fi.Mode(), err)
	}
}

// A directory that others may write to, or that a stranger owns, has no lines, and says why.
func TestDirGuards(t *testing.T) {
	d := Dir{Path: t.TempDir()}
	testPTY(t, PTYConfig{Link: d.join("card0")})
	refused := func(want string) {
		t.Helper()
		if names, err := d.Names(); err == nil || len(names) != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("names %q, %v; want %q", names, err, want)
		}
		if err := d.Check("card0"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if l, err := d.Open("card0", TTYConfig{}); err == nil {
			l.Close()
			t.Errorf("opened, want %q", want)
		}
	}
	good := func() {
		t.Helper()
		if names, err := d.Names(); err != nil || len(names) != 1 {
			t.Errorf("names %q, %v", names, err)
		}
	}
	for _, mode := range []os.FileMode{0o770, 0o702, 0o777, 0o777 | os.ModeSticky} {
		if err := os.Chmod(d.Path, mode); err != nil {
			t.Fatal(err)
		}
		refused("others than its owner may write")
	}
	for _, mode := range []os.FileMode{0o755, 0o750, 0o700} {
		if err := os.Chmod(d.Path, mode); err != nil {
			t.Fatal(err)
		}
		good()
	}
	if os.Geteuid() != 0 {
		t.Log("an ordinary user cannot give the directory away: owners are not tried")
		return
	}
	if err := os.Chown(d.Path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	refused("belongs to user 12345")
	d.Owner = 12346
	refused("belongs to user 12345")
	d.Owner = 12345
	good()
}

// Names are those of devices; what begins with a dot or holds a blank is left out.
func TestDirNames(t *testing.T) {
	d := Dir{Path: filepath.Join(t.TempDir(), "late")}
	if names, err := d.Names(); err == nil || len(names) != 0 {
		t.Errorf("names %q, %v in a directory that is not there", names, err)
	}
	if err := os.Mkdir(d.Path, 0o700); err != nil {
		t.Fatal(err)
	}
	testPTY(t, PTYConfig{Link: d.join("good")})
	for name, target := range map[string]string{"nowhere": d.join("x"), "folder": "/", ".hidden": "/dev/null", "a name": "/dev/null"} {
		if err := os.Symlink(target, d.join(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.join("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if names, err := d.Names(); err != nil || !slices.Equal(names, []string{"good"}) {
		t.Errorf("names %q, %v", names, err)
	}
}
