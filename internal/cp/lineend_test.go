package cp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ptylink"
)

// lineEnds open the two ends of a line.
type lineEnds struct {
	cp, ap func(context.Context) (io.ReadWriteCloser, error)
}

// ptyEnds: the CP holds the master of a pty, the AP opens the slave by its symbolic link, as the daemons do.
func ptyEnds(t testing.TB) lineEnds {
	link := filepath.Join(t.TempDir(), "line")
	return lineEnds{
		cp: func(context.Context) (io.ReadWriteCloser, error) {
			return ptylink.OpenPTY(ptylink.PTYConfig{Link: link})
		},
		ap: func(context.Context) (io.ReadWriteCloser, error) { return ptylink.OpenTTY(link, ptylink.TTYConfig{}) },
	}
}

// pipeEnds: each time the CP opens the line it is a new net.Pipe, whose other end the AP gets.
func pipeEnds() lineEnds {
	far := make(chan net.Conn, 1)
	return lineEnds{
		cp: func(context.Context) (io.ReadWriteCloser, error) {
			near, other := net.Pipe()
			select {
			case old := <-far: // the AP did not come for it
				old.Close()
			default:
			}
			far <- other
			return near, nil
		},
		ap: func(ctx context.Context) (io.ReadWriteCloser, error) {
			select {
			case c := <-far:
				return c, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
}

// mortalEnd is an end of a line that can die.
type mortalEnd struct {
	open func(context.Context) (io.ReadWriteCloser, error)
	dead atomic.Bool

	mu   sync.Mutex
	last *mortalLine
}

// line is what both a TTY and a net.Pipe are.
type line interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// mortalLine is a line that can stop to be read.
type mortalLine struct {
	line
	stopped chan struct{}
	closed  chan struct{}
	once    sync.Once
}

// Read blocks once the line has stopped, with what it has read.
func (l *mortalLine) Read(p []byte) (int, error) {
	n, err := l.line.Read(p)
	select {
	case <-l.stopped:
		<-l.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (l *mortalLine) Write(p []byte) (int, error) {
	select {
	case <-l.stopped:
		<-l.closed
		return 0, net.ErrClosed
	default:
		return l.line.Write(p)
	}
}

// Speed is that of the line, 0 for none.
func (l *mortalLine) Speed() int {
	if s, ok := l.line.(interface{ Speed() int }); ok {
		return s.Speed()
	}
	return 0
}

func (l *mortalLine) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.line.Close()
}

func (e *mortalEnd) Open(ctx context.Context) (io.ReadWriteCloser, error) {
	if e.dead.Load() {
		return nil, errors.New("the AP is dead")
	}
	l, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	m := &mortalLine{line: l.(line), stopped: make(chan struct{}), closed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = m
	return m, nil
}

// stop lets the line stand open, but unread and unwritten, as a process does that hangs.
func (e *mortalEnd) stop() {
	e.dead.Store(true)
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.last.stopped)
}

func (e *mortalEnd) crash() {
	e.dead.Store(true)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last.Close()
}
