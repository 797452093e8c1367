package cat

import "time"

// registerOwn registers the commands that the session answers itself: those of the toolkit's own running.
func (s *Session) registerOwn() {
	s.Handle(HandlerFunc(s.moreTime, FacilityMoreTime), TypeMoreTime)
	s.Handle(HandlerFunc(s.pollInterval, FacilityPollInterval), TypePollInterval)
	s.Handle(HandlerFunc(s.pollingOff, FacilityPollingOff), TypePollingOff)
	s.Handle(HandlerFunc(s.setUpEventList, FacilitySetUpEventList), TypeSetUpEventList)
	s.Handle(HandlerFunc(s.timerManagement, FacilityTimerExpiration, FacilityTimerStart, FacilityTimerGetValue), TypeTimerManagement)
	s.Handle(HandlerFunc(nil, FacilityRefresh, FacilityRefreshEUICCProfile), TypeRefresh) // see Session.refresh
	s.Handle(HandlerFunc(s.languageNotification, FacilityLanguageNotification), TypeLanguageNotification)
}

func (s *Session) moreTime(c Command) Response { return Respond(c, OK) }

// minPoll keeps a card from having STATUS sent without pause.
const minPoll = time.Second

func (s *Session) pollInterval(c Command) Response {
	want := c.Body.(*PollInterval).Interval
	granted, result := want, OK
	if want.Value() < minPoll {
		granted, result = Duration{0x01, 1}, Result{General: ResultModified}
	}
	s.poll = granted.Value()
	s.nextPoll = time.Now().Add(s.poll)
	return Respond(c, result, granted.tlv())
}

// pollingOff goes back to the terminal's own interval: a card that is never asked could start nothing.
func (s *Session) pollingOff(c Command) Response {
	s.poll = s.cfg.PollInterval
	s.nextPoll = time.Now().Add(s.poll)
	return Respond(c, OK)
}

// setUpEventList takes every list of assigned events, also of those that never happen here: to refuse one would stop cards that ask for many.
func (s *Session) setUpEventList(c Command) Response {
	list := c.Body.(*SetUpEventList).Events
	for _, e := range list {
		if e > eventLastAssigned {
			return Respond(c, Result{General: ResultBeyondCapabilities})
		}
	}
	clear(s.events)
	for _, e := range list {
		s.events[e] = true
	}
	return Respond(c, OK)
}

func (s *Session) timerManagement(c Command) Response {
	m, now := c.Body.(*TimerManagement), time.Now()
	id := TLV{TagTimerIdentifier, true, []byte{m.Timer}}
	action := c.Details.Qualifier & 0x03
	if action == TimerStart {
		s.timers.start(m.Timer, *m.Value, now)
		return Respond(c, OK, id)
	}
	left, running := s.timers.remaining(m.Timer, now)
	switch {
	case action > TimerGetValue:
		return Respond(c, Result{General: ResultDataNotUnderstood})
	case !running:
		return Respond(c, Result{General: ResultTimerContradiction}, id)
	case action == TimerDeactivate:
		s.timers.clear(m.Timer)
	}
	return Respond(c, OK, id, left.tlv())
}

// languageNotification takes note: the terminal shows nothing in any language.
func (s *Session) languageNotification(c Command) Response {
	s.log.Debug("card's language", "language", string(c.Body.(*LanguageNotification).Language))
	return Respond(c, OK)
}
