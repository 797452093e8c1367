package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// LinkConfig is the set-up of the CP's end of a line.
type LinkConfig struct {
	Name string // of the line, in logs
	// Open opens the line anew: a PTY, a TTY, or whatever has Close that ends a waiting Read and Write. It should have
	// write deadlines. If it has WaitPeer, as a PTY, that is called before anything is sent.
	Open  func(ctx context.Context) (io.ReadWriteCloser, error)
	NoMux bool // AT only: no channels
	// Mux describes the multiplexer; its Role and Check are set here, KeepAlive 0 is 5 s and below 0 is off; N1, timers and
	// WriteSize 0 fit the speed of a TTY. Without the multiplexer AT is sent after KeepAlive, and N2 of them unanswered are
	// a lost line.
	Mux mux.Config
	// Check says when the payload check is asked for; the zero value asks on a UART.
	Check CheckMode
	// Unsolicited gets the result codes that the AP sends by itself, see ParseUnsolicited; noise on the line may look like
	// one. It must neither block nor call the Link.
	Unsolicited func(line string)
	// State is called when the line came up (true, nil) and when it went down (false, why): then every Do and every
	// channel has ended. It is called by Run, which waits for it.
	State func(up bool, err error)
	Retry time.Duration // first wait before the line is tried again, doubled up to 2 s; 0 is 100 ms
	Log   *slog.Logger  // nil: no log
	// Tap gets every AT line, passwords masked; of a line that cannot be read only its length. It must not block.
	Tap func(dir Direction, line string)
}

// Link is the CP's end of a line.
type Link struct {
	cfg LinkConfig
	log *slog.Logger

	// Run's own.
	waiting          bool // that the AP is awaited was logged
	hadMux, hadCheck bool // the line has had them: it goes on wanting them, for nobody takes them away
	late             int  // starts in a row that failed for want of an answer

	mu  sync.Mutex
	now *session // the line while it is up, else nil
}

// NewLink makes a Link, which is down until Run has brought it up.
func NewLink(cfg LinkConfig) *Link {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	log := cfg.Log.With("line", cfg.Name)
	cfg.Mux = muxConfig(cfg.Mux, mux.Initiator, log)
	return &Link{cfg: cfg, log: log}
}

// Run brings the line up and, whenever it is lost, up again, until ctx ends. It then closes the multiplexer in order and
// the line, and returns nil. It is called once.
func (l *Link) Run(ctx context.Context) error {
	wait := newBackoff(l.cfg.Retry)
	said := ""
	for ctx.Err() == nil {
		s, err := l.bringUp(ctx)
		if err == nil {
			said = ""
			wait.reset()
			l.late = 0
			l.hold(ctx, s)
		} else if ctx.Err() == nil {
			if errors.Is(err, at.ErrTimeout) {
				l.late++
			}
			if msg := err.Error(); msg != said {
				said = msg
				l.log.Warn("line does not come up", "error", err)
			}
		}
		if wait.wait(ctx) != nil {
			break
		}
	}
	return nil
}

// hold keeps a line that is up until it is lost or ctx ends.
func (l *Link) hold(ctx context.Context, s *session) {
	l.waiting = false
	l.setSession(s)
	if s.mux != nil {
		l.log.Info("line up", "multiplexer", true, "n1", s.cfg.N1, "payload_check", s.cfg.Check)
	} else {
		l.log.Info("line up", "multiplexer", false)
	}
	if l.cfg.State != nil {
		l.cfg.State(true, nil)
	}
	err := s.wait(ctx, l.cfg.Mux)
	l.setSession(nil)
	if cause := s.close(); err == nil || cause != nil {
		err = cause
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if err == nil {
		err = errEnded
	}
	l.log.Info("line down", "error", err)
	if l.cfg.State != nil {
		l.cfg.State(false, err)
	}
}

func (l *Link) setSession(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = s
}

func (l *Link) session() *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// Up reports whether the line is up.
func (l *Link) Up() bool { return l.session() != nil }

// Multiplexed reports whether the line is up and has the multiplexer.
func (l *Link) Multiplexed() bool {
	s := l.session()
	return s != nil && s.mux != nil
}

// Do sends a command, one at a time, and gives its information lines. Errors: ErrDown at once while the line is down and
// as soon as it goes down; at.CMEError, at.ErrFinal, at.ErrTimeout and others of at.Client.
func (l *Link) Do(ctx context.Context, cmd at.Command) ([]string, error) {
	_, lines, err := l.do(ctx, cmd)
	return lines, err
}

// do is Do, and tells on which life of the line.
func (l *Link) do(ctx context.Context, cmd at.Command) (*session, []string, error) {
	s := l.session()
	if s == nil {
		return nil, nil, ErrDown
	}
	lines, err := s.client.Do(ctx, cmd)
	return s, lines, lineError(err)
}

// lineError makes ErrDown of the error of a client whose line has ended.
func lineError(err error) error {
	if errors.Is(err, at.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrDown, err)
	}
	return err
}

// OpenChannel opens the DLC of BIP channel n, 1..7. Its Close ends the channel's connection at the AP in order, its Abort
// tears it. For a channel of datagrams wrap it by NewDatagramConn. Errors: ErrDown, ErrNoMux, those of mux.Open.
func (l *Link) OpenChannel(ctx context.Context, n int) (*Channel, error) {
	if n < 1 || n > MaxChannel {
		return nil, fmt.Errorf("%w: %d is not in 1..%d", at.ErrNoChannel, n, MaxChannel)
	}
	s := l.session()
	if s == nil {
		return nil, ErrDown
	}
	if s.mux == nil {
		return nil, ErrNoMux
	}
	d, err := s.mux.Open(ctx, dlcAT+n)
	if err == nil {
		return s.channels.add(n, d), nil
	}
	if s.lost() {
		err = fmt.Errorf("%w: %w", ErrDown, err)
	}
	return nil, err
}
