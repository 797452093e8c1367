package mux

import (
	"fmt"
	"slices"
	"time"
)

// tick does what has become due.
func (s *station) tick(now time.Time) {
	s.rearm = true
	due := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if due(s.halfDue) {
		s.tickHalf(now)
	}
	if due(s.link.due) {
		s.tickLink(now)
	}
	for _, d := range s.dlcs {
		if d != nil {
			s.tickDLC(d, now, due)
		}
	}
	if due(s.closeDue) {
		s.abortAll(now)
	}
	for _, c := range slices.Clone(s.commands) {
		switch {
		case s.state == muxEnded:
			return
		case !due(c.retry.due) || !s.waitingFor(c.typ, c.d):
		case c.retry.tries < s.cfg.N2:
			s.try(c, now)
		default:
			s.unanswered(c, now)
		}
	}
	if due(s.keepAliveDue()) {
		s.askForLife(now)
	}
	if due(s.junkDue) {
		s.tellJunk()
	}
}

// tickHalf gives up a frame whose end is overdue, for the whole frames behind its
// start: without any its sender may have been stopped within a write. One that still
// comes in at the pace of a slow line is left alone.
func (s *station) tickHalf(now time.Time) {
	s.halfDue = time.Time{}
	due := s.half.since.Add(s.halfTime())
	quiet := s.half.paused || now.Sub(s.octets) >= s.pauseTime()
	switch {
	case !s.dec.partial():
	case now.Before(due):
		s.halfDue = due
	case !quiet:
		s.halfDue = now.Add(s.pauseTime())
	case !s.half.looked:
		s.half.looked = true
		s.halfDue = now.Add(halfGrace)
	case !s.dec.hides(): // its sender may only be slow: what came of it is given up for something better alone
	default:
		s.half = halfFrame{}
		s.dec.expire()
		s.decode(now)
	}
}

// tickLink sends SABM or DISC on DLCI 0 again.
func (s *station) tickLink(now time.Time) {
	last := s.link.tries >= s.cfg.N2
	switch {
	case s.state == muxStarting && last:
		s.startFailed(fmt.Errorf("SABM on DLCI 0: %w", ErrTimeout))
	case s.state == muxStarting:
		s.tryLink(frameSABM, now)
	case s.state == muxClosing && last:
		s.end(nil) // some peers never answer DISC on DLCI 0
	case s.state == muxClosing:
		s.tryLink(frameDISC, now)
	default:
		s.link = retry{}
	}
}

func (s *station) tickDLC(d *DLC, now time.Time, due func(time.Time) bool) {
	if due(d.holdUntil) {
		d.holdUntil = time.Time{}
		s.dirty = true
	}
	if d.state == dlcDraining && due(d.lingerDue) {
		stopped := d.peerStop || s.stopped
		if stopped && now.Sub(d.sent) < stoppedTime {
			d.lingerDue = now.Add(lingerTime)
		} else {
			s.abort(d, ErrClosed, now)
		}
	}
	if due(d.tellDue) {
		s.tell(d, now)
	}
	if !due(d.retry.due) {
		return
	}
	last := d.retry.tries >= s.cfg.N2
	switch {
	case d.state == dlcOpening && last:
		d.end(fmt.Errorf("SABM on DLC %d: %w", d.dlci, ErrTimeout))
	case d.state == dlcOpening:
		s.tryDLC(d, frameSABM, now)
	case d.state == dlcClosing && last:
		s.ended(d, 0, ErrClosed, now)
	case d.state == dlcClosing:
		s.tryDLC(d, frameDISC, now)
	}
}

// abortAll gives up the data that could not be sent before the multiplexer closes.
func (s *station) abortAll(now time.Time) {
	s.closeDue = time.Time{}
	for _, d := range s.dlcs {
		if d != nil && d.state == dlcDraining {
			s.abort(d, ErrClosed, now)
		}
	}
	s.closeDown(now)
}

// keepAliveDue is when the peer's silence calls for a question; zero is never.
func (s *station) keepAliveDue() time.Time {
	if s.state != muxOpen || s.cfg.KeepAlive <= 0 || s.asking() {
		return time.Time{}
	}
	if _, _, ok := s.question(); !ok {
		return time.Time{}
	}
	return s.heard.Add(s.cfg.KeepAlive)
}

// nextTimer is when tick is to be called; zero is never.
func (s *station) nextTimer() time.Time {
	var next time.Time
	if s.state == muxEnded {
		return next
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earlier(s.halfDue)
	earlier(s.link.due)
	earlier(s.closeDue)
	earlier(s.keepAliveDue())
	earlier(s.junkDue)
	for _, d := range s.dlcs {
		if d == nil {
			continue
		}
		earlier(d.retry.due)
		earlier(d.holdUntil)
		earlier(d.tellDue)
		if d.state == dlcDraining {
			earlier(d.lingerDue)
		}
	}
	for _, c := range s.commands {
		earlier(c.retry.due)
	}
	return next
}
