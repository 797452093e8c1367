package ptylink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TTYConfig is the set-up of a terminal line.
type TTYConfig struct {
	Speed  int  // bit/s; 0 leaves it, as for the slave of a pty, which has none
	RTSCTS bool // flow control by RTS and CTS: without it a fast UART loses octets
}

// TTY is an open terminal line. Close ends a waiting Read and Write, deadlines work.
type TTY struct {
	f        *os.File
	speed    int
	deadline atomic.Int64 // of Write, in Unix nanoseconds; 0: none
	closed   atomic.Bool
}

// OpenTTY opens the slave of a pty or a UART for this process alone, sets it raw, with the speed and flow control asked for,
// and drops what lay in its queues. It refuses what openTerminal does: above all a pty that somebody else has come by since
// the link to it was made. It takes the line by TIOCEXCL, which stops other users' programs, and by flock, which
// stops another program of this package even under root. A line taken already is an error that wraps EBUSY or EWOULDBLOCK.
// A symbolic link is resolved at each call. The result is a *TTY.
func OpenTTY(path string, cfg TTYConfig) (io.ReadWriteCloser, error) {
	return openTTY(path, cfg, func() error { return nil })
}

// openTTY is OpenTTY with a last word before the open terminal is touched.
func openTTY(path string, cfg TTYConfig, last func() error) (io.ReadWriteCloser, error) {
	f, err := openTerminal(path)
	if err == nil {
		if err = last(); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ptylink: open the line %s: %w", path, err)
	}
	if err := control(f, func(fd int) error { return seize(fd, cfg) }); err != nil {
		f.Close()
		return nil, fmt.Errorf("ptylink: open the line %s: %w", path, err)
	}
	return &TTY{f: f, speed: cfg.Speed}, nil
}

// seize makes an open terminal ours and ready.
func seize(fd int, cfg TTYConfig) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return fmt.Errorf("not a terminal: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("taken by another program: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fmt.Errorf("exclusive use: %w", err)
	}
	if err := setRaw(fd, cfg.Speed, cfg.RTSCTS); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIOFLUSH)
}

// Read gives io.EOF when the other end of a pty was closed, also where the kernel says EIO.
func (t *TTY) Read(p []byte) (int, error) {
	n, err := t.f.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

// Write returns on a UART once little is left to send, so that its caller can still put something more urgent before what
// comes next; the kernel's own queue is long enough for a third of a second at 115200 bit/s.
func (t *TTY) Write(p []byte) (int, error) {
	n, err := t.f.Write(p)
	if err == nil && t.speed > 0 {
		t.settle()
	}
	return n, err
}

// aheadTime is what the kernel may still have to send when Write returns: enough to keep the line busy until the next
// Write on a loaded machine.
const aheadTime = 20 * time.Millisecond

// settle waits until what is left to send takes aheadTime at most, or the write deadline has passed: the octets are written
// all the same.
func (t *TTY) settle() {
	octet := 10 * time.Second / time.Duration(t.speed) // start bit, 8 bits, stop bit
	for !t.closed.Load() {
		over := time.Duration(t.unsent())*octet - aheadTime
		if by := t.deadline.Load(); over <= 0 || by != 0 && time.Now().UnixNano() >= by {
			return
		}
		time.Sleep(min(max(over, time.Millisecond), aheadTime)) // not longer, for a deadline may be set meanwhile
	}
}

// drainTime bounds how long Close lets a UART send what was written.
const drainTime = 200 * time.Millisecond

// Close ends a waiting Read and Write, lets a UART send what was written for 200 ms, drops the rest, and gives the line
// back. Left to itself the kernel would wait half a minute for a far end that has stopped the line.
func (t *TTY) Close() error {
	t.closed.Store(true)
	_ = t.f.SetDeadline(time.Unix(1, 0))
	if end := time.Now().Add(drainTime); t.unsent() > 0 {
		for t.unsent() > 0 && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
		}
		_ = control(t.f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH) })
	}
	// A pty lives on with its master, and would go on refusing everybody but root.
	_ = control(t.f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0) })
	return t.f.Close()
}

// unsent counts the octets that wait to be sent, always 0 on a pty. There a flush would take from the other end what it
// has not read yet.
func (t *TTY) unsent() (n int) {
	_ = control(t.f, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.TIOCOUTQ)
		return err
	})
	return n
}

// Speed is the configured speed in bit/s, 0 for none.
func (t *TTY) Speed() int { return t.speed }

// SetDeadline bounds Read and Write.
func (t *TTY) SetDeadline(d time.Time) error {
	t.storeDeadline(d)
	return t.f.SetDeadline(d)
}

// SetReadDeadline bounds Read.
func (t *TTY) SetReadDeadline(d time.Time) error { return t.f.SetReadDeadline(d) }

// SetWriteDeadline bounds Write.
func (t *TTY) SetWriteDeadline(d time.Time) error {
	t.storeDeadline(d)
	return t.f.SetWriteDeadline(d)
}

func (t *TTY) storeDeadline(d time.Time) {
	ns := int64(0)
	if !d.IsZero() {
		ns = d.UnixNano()
	}
	t.deadline.Store(ns)
}
