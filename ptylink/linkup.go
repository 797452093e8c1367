package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	muxTime     = 10 * time.Second // for SABM on DLCI 0 and on that of AT, which N2 times T1 bounds as well
	leastAsk    = time.Second      // for AT as a keep-alive, which may first have to find out whose answer is whose
)

var errEnded = errors.New("ptylink: the other end has closed the multiplexer")

// session is one life of the line at the CP.
type session struct {
	line   io.ReadWriteCloser // the multiplexer's once that is there
	client *at.Client
	ask    time.Duration // see askTime
	mux    *mux.Mux      // nil without multiplexer
	cfg    mux.Config

	channels channels
}

// bringUp opens the line and makes it ready: AT until the AP answers, ATE0, AT+CMEE=1, AT+CMUX.
func (l *Link) bringUp(ctx context.Context) (_ *session, err error) {
	line, err := l.cfg.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{line: line, ask: askTime << min(l.late, mostLate)}
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
	s.client = l.newClient(line, nil)
	if err := l.wake(ctx, s); err != nil {
		return nil, err
	}
	if !l.cfg.NoMux {
		err = l.startMux(ctx, s)
	}
	return s, err
}

// newClient makes a client; heard, where it is not nil, gets all that the AP says, in order.
func (l *Link) newClient(rw io.ReadWriter, heard func(line string)) *at.Client {
	trace := tracer(l.cfg.Tap)
	return at.NewClient(rw, at.ClientConfig{
		Unsolicited: func(line string) {
			// Without a name it is noise or a modem's boot message.
			if l.cfg.Unsolicited != nil && at.ResultName(line) != "" {
				l.cfg.Unsolicited(line)
			}
		},
		Answers: map[string]string{nameGetNet: nameNetPar},
		Trace: func(received bool, line string) {
			if received && heard != nil {
				heard(line)
			}
			if trace != nil {
				trace(received, line)
			}
		},
		Log: l.log,
	})
}

// wake sends AT until the AP answers, and prepares it. An AP that does not answer may still have the multiplexer of an
// earlier CP: close it. An OK alone proves nothing, it may be the answer to that CP.
func (l *Link) wake(ctx context.Context, s *session) error {
	ctx, cancel := context.WithTimeout(ctx, wakeTime)
	defer cancel()
	for wait := firstWake; ; wait = min(2*wait, longestWake*(s.ask/askTime)) {
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
		for range asks {
			_, err := c.Do(ctx, cmd)
			if err == nil {
				break
			}
			if !refused(err) {
				return fmt.Errorf("%v: %w", cmd, err)
			}
		}
	}
	return nil
}

// A line may change a question or its answer: nothing is believed of an AP that it has not answered three times.
const (
	asks     = 3
	askTime  = time.Second // for each, doubled after each start that failed for want of an answer: an AP may be slow
	mostLate = 3           // times that it is doubled
)

// answered asks a question until it is answered as it should be. false means that the AP has refused it, or not answered it
// though it answers AT, three times. The error is the line's, or that the AP answers nothing any more.
func (s *session) answered(ctx context.Context, ask func(context.Context) error) (bool, error) {
	var err error
	for range asks {
		try, cancel := context.WithTimeout(ctx, s.ask)
		err = ask(try)
		cancel()
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil || !refused(err) && !errors.Is(err, at.ErrTimeout) && !errors.Is(err, ErrAnswer):
			return false, err
		}
	}
	if errors.Is(err, at.ErrTimeout) {
		try, cancel := context.WithTimeout(ctx, s.ask)
		defer cancel()
		return false, s.client.Sync(try)
	}
	return false, nil
}

// startMux starts the multiplexer and moves AT to its DLC. An AP that refuses it leaves the session as it was, unless this
// line has had it before, or is to have the payload check: then there is no line.
func (l *Link) startMux(ctx context.Context, s *session) error {
	speed := lineSpeed(s.line)
	cfg := paced(l.cfg.Mux, speed)
	check, err := l.wantsCheck(ctx, s, speed)
	if err != nil {
		return err
	}
	cfg.Negotiate = cfg.Negotiate || speed > 0 && !check // with the check the key tells where N1 differs
	var rest []byte
	for range asks {
		if rest, cfg, err = s.switchToMux(ctx, cmuxCommand(cfg, speed), cfg, check); !refused(err) {
			break
		}
	}
	if refused(err) && !check && !l.hadMux {
		l.log.Warn("the AP refuses the multiplexer, the line stays without", "error", err)
		return nil
	}
	if err != nil { // what was lost may have been the AP's OK: the next try closes its multiplexer first
		return fmt.Errorf("start of the multiplexer: %w", err)
	}
	s.cfg = cfg
	s.mux = mux.New(&restLine{s.line, rest}, cfg)
	if err := l.openAT(ctx, s); err != nil {
		return err
	}
	l.hadMux, l.hadCheck = true, l.hadCheck || check
	return nil
}

// wantsCheck tells whether the multiplexer is to have the payload check.
func (l *Link) wantsCheck(ctx context.Context, s *session, speed int) (bool, error) {
	if !l.cfg.Check.wanted(speed) {
		return false, nil
	}
	known, err := s.checkKnown(ctx)
	switch {
	case err != nil || known:
		return known, err
	case l.cfg.Check == CheckOn || l.hadCheck:
		return false, errNoCheck
	}
	l.log.Warn("the AP knows no payload check: octets that the line changes are not noticed")
	return false, nil
}

// switchToMux sends AT+CMUX, right behind AT%MUXCHK where the payload check is wanted, and gives what came behind its OK and
// the multiplexer's configuration.
func (s *session) switchToMux(ctx context.Context, cmux at.Command, cfg mux.Config, check bool) ([]byte, mux.Config, error) {
	if check {
		agreed, err := s.askForCheck(ctx)
		if err != nil {
			return nil, cfg, err
		}
		if cfg, err = agreed.apply(cfg, cmux); err != nil {
			return nil, cfg, err
		}
	}
	try, cancel := context.WithTimeout(ctx, s.ask)
	defer cancel()
	rest, err := s.client.Switch(try, cmux)
	return rest, cfg, err
}

// openAT starts the multiplexer at this end and makes AT ready on its DLC.
func (l *Link) openAT(ctx context.Context, s *session) error {
	start, cancel := context.WithTimeout(ctx, muxTime)
	defer cancel()
	if err := s.mux.Start(start); err != nil {
		return err
	}
	dlc, err := s.mux.Open(start, dlcAT)
	if err != nil {
		return err
	}
	s.client = l.newClient(dlc, s.channels.heard)
	ready, cancel := context.WithTimeout(ctx, asks*s.ask)
	defer cancel()
	if err := s.client.Sync(ready); err != nil {
		return err
	}
	return prepare(ready, s.client)
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

// askForLife sends AT where the line has no multiplexer with a keep-alive of its own, where the AP does not answer that one,
// and where a command was given up without an answer: an AP may live and yet never answer AT again. An answer that is due for
// N2 times KeepAlive is an error.
func (s *session) askForLife(ctx context.Context, cfg mux.Config) error {
	tries := cfg.N2
	if tries <= 0 {
		tries = 3
	}
	since := s.client.Unanswered()
	if !since.IsZero() && time.Since(since) >= time.Duration(tries-1)*cfg.KeepAlive {
		return fmt.Errorf("keep-alive: %w since %v", at.ErrTimeout, time.Since(since).Round(time.Millisecond))
	}
	heard := s.mux != nil && time.Since(s.mux.Heard()) < 2*cfg.KeepAlive
	if s.client.Busy() || heard && since.IsZero() {
		return nil // a command's own time limit bounds it
	}
	ask, cancel := context.WithTimeout(ctx, max(cfg.KeepAlive, leastAsk))
	defer cancel()
	_, _ = s.client.Do(ask, at.Command{}) // Unanswered tells
	return nil
}

// close ends the line, and waits until nobody reads it. Channels that are in use are torn. It gives the multiplexer's
// reason, if that had one.
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
