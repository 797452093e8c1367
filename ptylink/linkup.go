package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// dlcAT is the DLC that carries AT; DLC dlcAT+n carries channel n.
const dlcAT = 1

const (
	wakeTime    = 15 * time.Second       // a line on which AT gets no answer is then closed and opened anew
	firstWake   = 500 * time.Millisecond // before the other end's multiplexer is closed, doubled each time
	longestWake = 2 * time.Second
	muxTime     = 10 * time.Second // for the start of the multiplexer and of AT on it
	leastAsk    = time.Second      // for AT as a keep-alive, which may first have to find out whose answer is whose
)

var errEnded = errors.New("ptylink: the other end has closed the multiplexer")

// session is one life of the line at the CP.
type session struct {
	line   io.ReadWriteCloser // the multiplexer's once that is there
	client *at.Client
	mux    *mux.Mux // nil without multiplexer
}

// bringUp opens the line and makes it ready: AT until the AP answers, ATE0, AT+CMEE=1, AT+CMUX.
func (l *Link) bringUp(ctx context.Context) (_ *session, err error) {
	line, err := l.cfg.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{line: line}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if w, ok := line.(interface{ WaitPeer(context.Context) error }); ok {
		if !l.waiting {
			l.waiting = true
			l.log.Info("waiting for the AP to open the line")
		}
		if err := w.WaitPeer(ctx); err != nil {
			return nil, err
		}
	}
	s.client = l.newClient(line)
	if err := l.wake(ctx, s); err != nil {
		return nil, err
	}
	if !l.cfg.NoMux {
		err = l.startMux(ctx, s)
	}
	return s, err
}

func (l *Link) newClient(rw io.ReadWriter) *at.Client {
	return at.NewClient(rw, at.ClientConfig{
		Unsolicited: func(line string) {
			// Without a name it is noise or a modem's boot message.
			if l.cfg.Unsolicited != nil && at.ResultName(line) != "" {
				l.cfg.Unsolicited(line)
			}
		},
		Answers: map[string]string{nameGetNet: nameNetPar},
		Trace:   tracer(l.cfg.Tap),
		Log:     l.log,
	})
}

// wake sends AT until the AP answers, and prepares it. An AP that does not answer may still have the multiplexer of an
// earlier CP: close it. An OK alone proves nothing, it may be the answer to that CP.
func (l *Link) wake(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, wakeTime)
	defer cancel()
	for wait := firstWake; ; wait = min(2*wait, longestWake) {
		try, cancel := context.WithTimeout(ctx, wait)
		err := s.client.Sync(try)
		if err == nil {
			err = prepare(try, s.client)
		}
		cancel()
		if !errors.Is(err, at.ErrTimeout) || ctx.Err() != nil {
			return err
		}
		send, cancel := context.WithTimeout(ctx, wait)
		_, err = at.WriteContext(send, s.line, []byte(closeDown(mux.Initiator)))
		cancel()
		if err != nil && send.Err() == nil {
			return err
		}
	}
}

// prepare sets an AT server to what a machine wants: no echo, errors by number. One that refuses will do too.
func prepare(ctx context.Context, c *at.Client) error {
	for _, cmd := range []at.Command{
		{Name: "E", Form: at.Set, Args: []at.Arg{at.Num(0)}},
		{Name: "+CMEE", Form: at.Set, Args: []at.Arg{at.Num(1)}},
	} {
		if _, err := c.Do(ctx, cmd); err != nil && !refused(err) {
			return fmt.Errorf("%v: %w", cmd, err)
		}
	}
	return nil
}

// startMux starts the multiplexer and moves AT to its DLC. An AP that refuses it leaves the session as it was.
func (l *Link) startMux(ctx context.Context, s *session) (err error) {
	ctx, cancel := context.WithTimeout(ctx, muxTime)
	defer cancel()
	speed := lineSpeed(s.line)
	cfg := paced(l.cfg.Mux, speed)
	if l.cfg.Check.wanted(speed) {
		if cfg.Check, err = l.askForCheck(ctx, s.client); err != nil {
			return err
		}
	}
	rest, err := s.client.Switch(ctx, cmuxCommand(cfg, speed))
	if refused(err) {
		l.log.Warn("the AP refuses the multiplexer, the line stays without", "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.mux = mux.New(&restLine{s.line, rest}, cfg)
	if err := s.mux.Start(ctx); err != nil {
		return err
	}
	dlc, err := s.mux.Open(ctx, dlcAT)
	if err != nil {
		return err
	}
	s.client = l.newClient(dlc)
	if err := s.client.Sync(ctx); err != nil {
		return err
	}
	return prepare(ctx, s.client)
}

// askForCheck asks for the payload check, right before AT+CMUX. A modem may answer OK to whatever it does not know, so
// that the AP must know the command's values first.
func (l *Link) askForCheck(ctx context.Context, c *at.Client) (bool, error) {
	lines, err := c.Do(ctx, at.Command{Name: nameMuxCheck, Form: at.Test})
	known := err == nil && slices.Equal(lines, []string{nameMuxCheck + ": " + muxCheckUsage})
	if known {
		_, err = c.Do(ctx, at.Command{Name: nameMuxCheck, Form: at.Set, Args: []at.Arg{at.Num(1)}})
	}
	if refused(err) || err == nil && !known {
		l.log.Warn("the AP knows no payload check: octets that the line changes are not noticed")
		return false, nil
	}
	return err == nil, err
}

// refused reports whether the AP has answered, with an error.
func refused(err error) bool {
	var cme at.CMEError
	return errors.As(err, &cme) || errors.Is(err, at.ErrFinal)
}

// lost reports whether the line has ended.
func (s *session) lost() bool {
	if s.mux == nil {
		return s.client.Err() != nil
	}
	select {
	case <-s.mux.Done():
		return true
	default:
		return false
	}
}

// wait returns when the line is lost, or nil when ctx ends.
func (s *session) wait(ctx context.Context, cfg mux.Config) error {
	var tick <-chan time.Time
	if cfg.KeepAlive > 0 {
		t := time.NewTicker(cfg.KeepAlive)
		defer t.Stop()
		tick = t.C
	}
	var muxDone <-chan struct{}
	if s.mux != nil {
		muxDone = s.mux.Done()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-muxDone:
			return s.mux.Err()
		case <-s.client.Done():
			if s.mux != nil {
				return fmt.Errorf("DLC of AT: %w", s.client.Err())
			}
			return s.client.Err()
		case <-tick:
			if err := s.askForLife(ctx, cfg); err != nil {
				return err
			}
		}
	}
}

// askForLife sends AT where the line has no multiplexer with a keep-alive of its own, and where a command was given up
// without an answer: an AP may live and yet never answer AT again. An answer that is due for N2 times KeepAlive is an error.
func (s *session) askForLife(ctx context.Context, cfg mux.Config) error {
	tries := cfg.N2
	if tries <= 0 {
		tries = 3
	}
	since := s.client.Unanswered()
	if !since.IsZero() && time.Since(since) >= time.Duration(tries-1)*cfg.KeepAlive {
		return fmt.Errorf("keep-alive: %w since %v", at.ErrTimeout, time.Since(since).Round(time.Millisecond))
	}
	if s.client.Busy() || s.mux != nil && since.IsZero() {
		return nil // a command's own time limit bounds it
	}
	ask, cancel := context.WithTimeout(ctx, max(cfg.KeepAlive, leastAsk))
	defer cancel()
	_, _ = s.client.Do(ask, at.Command{}) // Unanswered tells
	return nil
}

// close ends the line, in order where the other end still answers, and waits until nobody reads it. It gives the
// multiplexer's reason, if that had one.
func (s *session) close() (err error) {
	if s.mux != nil {
		s.mux.Close()
		err = s.mux.Err()
	} else {
		s.line.Close()
	}
	if s.client != nil {
		<-s.client.Done()
	}
	return err
}
