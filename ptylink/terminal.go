package ptylink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openTerminal opens the terminal at path, which may be a symbolic link to one. The terminal is looked at before it is
// opened, and what was looked at is what is opened. Refused are
//
//   - what is no terminal, and the consoles, which are people's;
//   - a pty that was made, or given another owner or mode, after the link that leads to it: the pty that the link was made
//     for is gone, and the kernel has given its number to somebody else;
//   - a terminal whose owner is not the link's, unless both are root or this process's user.
func openTerminal(path string) (*os.File, error) {
	t, err := findTerminal(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(t.fd)
	if err := t.check(os.Geteuid()); err != nil {
		return nil, err
	}
	self := fmt.Sprintf("/proc/self/fd/%d", t.fd)
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Open(self, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: t.path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// terminal is a file that was found and not opened yet.
type terminal struct {
	path string
	fd   int // O_PATH
	stat unix.Stat_t
	link *unix.Stat_t // the symbolic link that names path; nil for none
}

// maxLinks bounds a chain of symbolic links, as in the kernel.
const maxLinks = 40

// findTerminal follows path to its end. The caller closes fd.
func findTerminal(path string) (*terminal, error) {
	t := &terminal{path: path}
	for range maxLinks {
		fd, err := ignoringEINTR(func() (int, error) {
			return unix.Open(t.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: t.path, Err: err}
		}
		t.fd = fd
		if err := unix.Fstat(fd, &t.stat); err != nil {
			unix.Close(fd)
			return nil, &os.PathError{Op: "stat", Path: t.path, Err: err}
		}
		if t.stat.Mode&unix.S_IFMT != unix.S_IFLNK {
			return t, nil
		}
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", target)
		unix.Close(fd)
		if err != nil {
			return nil, &os.PathError{Op: "readlink", Path: t.path, Err: err}
		}
		link := t.stat
		t.link = &link
		// Not filepath.Join: where a part of the path is a link, too, "a/../b" is not "b".
		next := string(target[:n])
		if !filepath.IsAbs(next) {
			next = t.path[:strings.LastIndexByte(t.path, '/')+1] + next
		}
		t.path = next
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: unix.ELOOP}
}

// check says whether the terminal may be opened by the user.
func (t *terminal) check(user int) error {
	if t.stat.Mode&unix.S_IFMT != unix.S_IFCHR {
		return fmt.Errorf("%s is not a terminal", t.path)
	}
	rdev := uint64(t.stat.Rdev) // of 32 bits on some machines
	major, minor := unix.Major(rdev), unix.Minor(rdev)
	if err := checkDevice(major, minor); err != nil {
		return fmt.Errorf("%s %w", t.path, err)
	}
	if t.link == nil {
		return nil
	}
	made, linked := time.Unix(t.stat.Ctim.Unix()), time.Unix(t.link.Ctim.Unix())
	if isPTS(major) && made.After(linked) {
		return fmt.Errorf("%s was made or changed after the link that leads to it: it may be somebody else's by now", t.path)
	}
	known := func(uid uint32) bool { return uid == 0 || int(uid) == user }
	if owner, linker := t.stat.Uid, t.link.Uid; owner != linker && !(known(owner) && known(linker)) {
		return fmt.Errorf("%s belongs to user %d and the link that leads to it to user %d", t.path, owner, linker)
	}
	return nil
}

// Majors of Linux' list of devices (Documentation/admin-guide/devices.txt).
const (
	majorBSDMaster  = 2
	majorBSDSlave   = 3
	majorConsole    = 4   // minors below 64 are virtual consoles, the others ttyS
	majorAltConsole = 5   // tty, console, ptmx
	firstPTS        = 136 // slaves of ptys
	lastPTS         = 143
	firstTTYS       = 64
)

func isPTS(major uint32) bool { return major >= firstPTS && major <= lastPTS }

// checkDevice says whether a character device is the slave of a pty or a serial port. Serial ports have majors from many
// drivers, some given out as the driver is loaded: sysfs knows them.
func checkDevice(major, minor uint32) error {
	switch {
	case isPTS(major), major == majorConsole && minor >= firstTTYS:
		return nil
	case major == majorConsole, major == majorAltConsole:
		return errors.New("is a console")
	case major == majorBSDMaster, major == majorBSDSlave:
		return errors.New("is a pseudo terminal of the old kind, whose age nothing tells")
	}
	class, err := os.Readlink(fmt.Sprintf("/sys/dev/char/%d:%d/subsystem", major, minor))
	if err != nil || filepath.Base(class) != "tty" {
		return errors.New("is not a terminal")
	}
	return nil
}

func ignoringEINTR(open func() (int, error)) (int, error) {
	for {
		fd, err := open()
		if err != unix.EINTR {
			return fd, err
		}
	}
}
