package ptylink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The lock of a line is a file beside its symbolic link, ".<name>.lock", on which the program that serves the line holds an
// exclusive lock (F_OFD_SETLK). The kernel releases it when the program ends, however it ends: a link whose lock is not held
// is stale. The other end looks at the lock and never takes it.

// lockPath is the lock of the line at link.
func lockPath(link string) string {
	dir, name := filepath.Split(link)
	return dir + "." + name + ".lock"
}

// takeLock makes and takes the lock of a line. Who may open the line, by its mode and group, may look at the lock.
func takeLock(cfg PTYConfig) (*os.File, error) {
	path := lockPath(cfg.Link)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		err = lockFile(f)
		var there bool
		if err == nil {
			there, err = isAt(f, path)
		}
		if err == nil && there {
			err = letIn(f, 0o600|cfg.mode()&0o044, cfg.GID)
		}
		if err == nil && there {
			return f, nil
		}
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		// The one who held it before has removed the file meanwhile.
	}
}

// lockFile takes the lock of an open file, which has to be this user's, so that nobody else's file is given another mode.
func lockFile(f *os.File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	if !fi.Mode().IsRegular() || st.Nlink > 1 || int(st.Uid) != os.Geteuid() {
		return errors.New("there is another file in the place of the lock")
	}
	return control(f, func(fd int) error {
		err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == unix.EAGAIN || err == unix.EACCES {
			return errors.New("another program serves the line")
		}
		return err
	})
}

// isAt reports whether path is still the open file.
func isAt(f *os.File, path string) (bool, error) {
	open, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(open, there), err
}

// releaseLock gives the lock of the line at link back and removes its file.
func releaseLock(lock *os.File, link string) {
	_ = os.Remove(lockPath(link)) // while it is held, so that it is nobody else's
	lock.Close()
}

// checkLock returns nil where a program serves the line at link.
func checkLock(link string) error {
	path := lockPath(link)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no CP serves it: %s is not there", path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// Asked for a shared lock, the kernel tells of an exclusive one only. That takes write access to the file.
	look := unix.Flock_t{Type: unix.F_RDLCK}
	err = control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &look) })
	if err == nil && look.Type == unix.F_UNLCK {
		return fmt.Errorf("no CP serves it: nobody holds %s", path)
	}
	return err
}
