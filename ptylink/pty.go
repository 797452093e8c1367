package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// PTYConfig is the set-up of a pty.
type PTYConfig struct {
	Link string      // symbolic link to the slave, made or replaced, with a lock beside it, see Dir; "": none
	Mode fs.FileMode // of the slave; 0: 0600, or 0660 with a group
	GID  int         // id of the slave's group; 0: the process's own
}

// PTY is a line made of a pty, seen from its master. Nothing here holds the slave open, so the master sees when the other
// end goes. Close ends a waiting Read and Write, deadlines work.
type PTY struct {
	f           *os.File
	slave, link string
	lock        *os.File // of the link; nil without one

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
// point at it, in one step where a link to a pty is left from before. It holds the link's lock until Close. A link whose lock
// another program holds, and another file at the link's place, are errors.
func OpenPTY(cfg PTYConfig) (*PTY, error) {
	p, err := openPTY(cfg)
	if err != nil {
		return nil, fmt.Errorf("ptylink: open a pty: %w", err)
	}
	return p, nil
}

func openPTY(cfg PTYConfig) (_ *PTY, err error) {
	p := &PTY{link: cfg.Link, kick: make(chan struct{}, 1), closed: make(chan struct{})}
	if cfg.Link != "" {
		if p.lock, err = takeLock(cfg); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				releaseLock(p.lock, cfg.Link)
			}
		}()
	}
	master, slave, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer master.Close() // a copy is used
	defer slave.Close()
	if err := control(slave, func(fd int) error { return setRaw(fd, 0, false) }); err != nil {
		return nil, err
	}
	if err := letIn(slave, cfg.mode(), cfg.GID); err != nil {
		return nil, err
	}
	p.slave = slave.Name()
	if p.f, err = pollable(master); err != nil {
		return nil, err
	}
	if cfg.Link != "" {
		if err := relink(p.slave, cfg.Link); err != nil {
			p.f.Close()
			return nil, err
		}
	}
	return p, nil
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

// mode is the slave's mode.
func (cfg PTYConfig) mode() fs.FileMode {
	switch {
	case cfg.Mode.Perm() != 0:
		return cfg.Mode.Perm()
	case cfg.GID != 0:
		return 0o660
	}
	return 0o600
}

// letIn gives a file the mode, and where that lets a group in, the group gid, 0 for the process's own. The kernel gives a pty
// to the group that devpts was mounted with, on Debian tty: that group is not meant. A process without the right to change
// groups can still have a line for itself.
func letIn(f *os.File, mode fs.FileMode, gid int) error {
	if gid == 0 {
		gid = os.Getegid()
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if mode&0o070 != 0 && int(fi.Sys().(*syscall.Stat_t).Gid) != gid {
		if err := f.Chown(-1, gid); err != nil {
			return err
		}
	}
	return f.Chmod(mode)
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

// Close ends the line and takes its symbolic link away, unless that points elsewhere by now, and the link's lock.
func (p *PTY) Close() error {
	err := os.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		if p.link != "" {
			unlink(p.slave, p.link)
			releaseLock(p.lock, p.link)
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
