package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// PTYConfig is the set-up of a pty.
type PTYConfig struct {
	Link  string      // symbolic link to the slave, made or replaced; "": none
	Mode  fs.FileMode // of the slave; 0: 0600, or 0660 with a group
	Group string      // of the slave, name or number; "": as the kernel makes it
}

// PTY is a line made of a pty, seen from its master. Nothing here holds the slave open, so the master sees when the other
// end goes. Close ends a waiting Read and Write, deadlines work.
type PTY struct {
	f           *os.File
	slave, link string

	seen     atomic.Bool  // the slave was open at some time: EIO is a hangup from then on
	deadline atomic.Int64 // of Read, in Unix nanoseconds; 0: none
	kick     chan struct{}
	closed   chan struct{}
	once     sync.Once

	mu       sync.Mutex
	writeEnd time.Time // deadline of Write
}

// Waits between two looks whether the slave is open, since the master cannot wait for that.
const (
	firstLook   = 5 * time.Millisecond
	longestLook = 200 * time.Millisecond
)

// OpenPTY makes a pty, sets its slave raw before anybody can use it, gives it mode and group, and lets the symbolic link
// point at it, in one step where there was one before. Another file at the link's place is an error.
func OpenPTY(cfg PTYConfig) (*PTY, error) {
	p, err := openPTY(cfg)
	if err != nil {
		return nil, fmt.Errorf("ptylink: open a pty: %w", err)
	}
	return p, nil
}

func openPTY(cfg PTYConfig) (*PTY, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer master.Close() // a copy is used
	defer slave.Close()
	if err := control(slave, func(fd int) error { return setRaw(fd, 0, false) }); err != nil {
		return nil, err
	}
	if err := admit(slave, cfg); err != nil {
		return nil, err
	}
	f, err := pollable(master)
	if err != nil {
		return nil, err
	}
	if cfg.Link != "" {
		if err := relink(slave.Name(), cfg.Link); err != nil {
			f.Close()
			return nil, err
		}
	}
	return &PTY{f: f, slave: slave.Name(), link: cfg.Link, kick: make(chan struct{}, 1), closed: make(chan struct{})}, nil
}

// pollable gives a copy of the master that the runtime can poll. Package pty has made the master itself blocking, and its
// descriptor is known to the poller already, so that only a new descriptor helps.
func pollable(master *os.File) (*os.File, error) {
	var fd int
	err := control(master, func(old int) (err error) {
		if fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), master.Name()), nil
}

// admit gives the slave its mode and group.
func admit(slave *os.File, cfg PTYConfig) error {
	mode := cfg.Mode.Perm()
	if mode == 0 {
		mode = 0o600
		if cfg.Group != "" {
			mode = 0o660
		}
	}
	if cfg.Group != "" {
		gid, err := groupID(cfg.Group)
		if err != nil {
			return err
		}
		if err := slave.Chown(-1, gid); err != nil {
			return err
		}
	}
	return slave.Chmod(mode)
}

func groupID(name string) (int, error) {
	if n, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// relink makes link point at target, replacing another link there in one step. A link that is no line's, since it points
// outside the directory of terminals, is left alone.
func relink(target, link string) error {
	switch fi, err := os.Lstat(link); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case fi.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("%s is there and is no symbolic link", link)
	default:
		if old, err := os.Readlink(link); err != nil || filepath.Dir(old) != filepath.Dir(target) {
			return errors.Join(err, fmt.Errorf("%s is there and links to no pseudo terminal: %s", link, old))
		}
	}
	tmp := filepath.Join(filepath.Dir(link), fmt.Sprintf(".%s.%d", filepath.Base(link), os.Getpid())) // no line's name, see Lines
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, link); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}

// Slave is the path of the slave's device.
func (p *PTY) Slave() string { return p.slave }

// WaitPeer waits until somebody has the slave open. What is written before lies in the queue until then.
func (p *PTY) WaitPeer(ctx context.Context) error {
	for wait := firstLook; ; wait = min(2*wait, longestLook) {
		open, err := p.look()
		if open || err != nil {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// look finds out whether the slave is open.
func (p *PTY) look() (open bool, err error) {
	err = control(p.f, func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		for {
			_, err := unix.Poll(fds, 0)
			if err == unix.EINTR {
				continue
			}
			open = err == nil && fds[0].Revents&unix.POLLHUP == 0
			return err
		}
	})
	if open {
		p.seen.Store(true)
	}
	return open, err
}

// Read waits for the other end to open the slave, then for octets. After it has closed the slave, what it wrote is
// given, then ErrHangup for ever: a new line is due, since the next to open this slave would read what was left for the
// one before.
func (p *PTY) Read(b []byte) (int, error) {
	for wait := firstLook; ; wait = min(2*wait, longestLook) {
		n, err := p.f.Read(b)
		if !errors.Is(err, syscall.EIO) {
			if n > 0 {
				p.seen.Store(true)
			}
			return n, err
		}
		// EIO comes at once for as long as the slave is closed.
		if p.seen.Load() {
			return 0, ErrHangup
		}
		if err := p.pause(wait); err != nil {
			return 0, err
		}
		if _, err := p.look(); err != nil {
			return 0, err
		}
	}
}

// pause waits, at most until the read deadline.
func (p *PTY) pause(d time.Duration) error {
	if at := p.deadline.Load(); at != 0 {
		left := time.Until(time.Unix(0, at))
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		d = min(d, left)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.kick:
	case <-p.closed:
		return os.ErrClosed
	}
	return nil
}

// lookAgain is how long Write waits for the kernel to say that there is room before it looks for itself: where the slave is
// in the hands of a line discipline, such as the kernel's multiplexer, the kernel never says so.
const lookAgain = 50 * time.Millisecond

// Write writes to the line; octets that nobody reads fill its queue (some 11 to 20 KB), then Write waits.
func (p *PTY) Write(b []byte) (n int, err error) {
	for {
		if err := p.armWrite(time.Now().Add(lookAgain)); err != nil {
			return n, err
		}
		k, err := p.f.Write(b[n:])
		n += k
		if !errors.Is(err, os.ErrDeadlineExceeded) || p.writeExpired() {
			return n, err
		}
	}
}

// armWrite has a Write of the file end at a time, or at the deadline before it.
func (p *PTY) armWrite(by time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.writeEnd.IsZero() && p.writeEnd.Before(by) {
		by = p.writeEnd
	}
	return p.f.SetWriteDeadline(by)
}

func (p *PTY) writeExpired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.writeEnd.IsZero() && !time.Now().Before(p.writeEnd)
}

// Close ends the line and takes its symbolic link away, unless that points elsewhere by now.
func (p *PTY) Close() error {
	err := os.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		if p.link != "" {
			if target, lerr := os.Readlink(p.link); lerr == nil && target == p.slave {
				_ = os.Remove(p.link)
			}
		}
		err = p.f.Close()
	})
	return err
}

// SetDeadline sets both deadlines.
func (p *PTY) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// SetReadDeadline bounds Read.
func (p *PTY) SetReadDeadline(t time.Time) error {
	ns := int64(0)
	if !t.IsZero() {
		ns = t.UnixNano()
	}
	p.deadline.Store(ns)
	select {
	case p.kick <- struct{}{}:
	default:
	}
	return p.f.SetReadDeadline(t)
}

// SetWriteDeadline bounds Write.
func (p *PTY) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeEnd = t
	return p.f.SetWriteDeadline(t)
}
