package ptylink

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
)

// inDebianDevpts runs f where /dev/pts is mounted as Debian does: the kernel gives each pty to the group tty, 5, with mode 0620.
func inDebianDevpts(t *testing.T, f func()) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread has mounts of its own and ends with the goroutine
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("devpts", "/dev/pts", "devpts", 0, "newinstance,gid=5,mode=620,ptmxmode=666")
		}
		if err == nil {
			f()
		}
		failed <- err
	}()
	if err := await(t, "what runs in mounts of its own", failed); err != nil {
		t.Skipf("this user cannot mount devpts: %v", err)
	}
}

// A line is for the group that its configuration names, or for the process's own, whatever devpts gives ptys.
func TestPTYGroup(t *testing.T) {
	testkit.NoOpenFiles(t)
	link := filepath.Join(t.TempDir(), "card0")
	own := os.Getegid()
	inDebianDevpts(t, func() {
		for name, tc := range map[string]struct {
			cfg  PTYConfig
			mode os.FileMode
			gid  int // -1: whichever, for it is let nothing
		}{
			"none":           {PTYConfig{}, 0o600, -1},
			"own group":      {PTYConfig{Mode: 0o660}, 0o660, own},
			"own group, one": {PTYConfig{Mode: 0o640}, 0o640, own},
			"group":          {PTYConfig{GID: 12345}, 0o660, 12345},
			"group and mode": {PTYConfig{GID: 12345, Mode: 0o640}, 0o640, 12345},
		} {
			tc.cfg.Link = link
			p, err := OpenPTY(tc.cfg)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			for _, file := range []string{link, lockPath(link)} {
				fi, err := os.Stat(file)
				if err != nil {
					t.Error(err)
					continue
				}
				want := tc.mode
				if file != link {
					want = 0o600 | tc.mode&0o040
				}
				gid := int(fi.Sys().(*syscall.Stat_t).Gid)
				if fi.Mode().Perm() != want || tc.gid >= 0 && gid != tc.gid {
					t.Errorf("%s: %s has mode %v and group %d", name, filepath.Base(file), fi.Mode(), gid)
				}
			}
			p.Close()
		}
	})
}
