package cat

import (
	"context"
	"time"

	"bipd/trace"
	"bipd/uicc"
)

// sendEvent sends one envelope if one is due that the card wants.
func (s *Session) sendEvent(ctx context.Context, now time.Time) (bool, error) {
	if id, v, ok := s.timers.expired(now); ok {
		e := TimerExpirationEnvelope(id, v)
		return true, s.sendEnvelope(ctx, Due{Envelope: e, Taken: func() { s.timers.clear(id) }})
	}
	for _, src := range s.sources {
		due, ok := src.NextEvent()
		if !ok {
			continue
		}
		if code, isEvent := due.Envelope.Event(); isEvent && !s.events[code] {
			s.log.Debug("event not wanted by the card", "event", code)
			due.taken()
			return true, nil
		}
		return true, s.sendEnvelope(ctx, due)
	}
	return false, nil
}

const maxBusyWait = 5 * time.Second

func (s *Session) sendEnvelope(ctx context.Context, due Due) error {
	if due.Sending != nil {
		due.Sending()
	} else {
		s.emit(trace.CP, trace.UICC, due.Envelope.String())
	}
	data := due.Envelope.Append(nil)
	if len(data) > uicc.MaxData {
		s.log.Error("envelope is too long", "envelope", due.Envelope, "octets", len(data))
		due.taken()
		return nil
	}
	_, sw, err := s.transmit(ctx, s.toolkitClass(), insEnvelope, 0, 0, data, 0)
	if err != nil {
		return err
	}
	if sw == uicc.SWToolkitBusy { // ETSI TS 102 221 clause 14.6: other commands may go on, the envelope comes again
		s.cardBusy(time.Now())
		return nil
	}
	s.busyWait = 0
	if !sw.OK() && !sw.Warning() {
		s.log.Warn("card refused an envelope", "envelope", due.Envelope, "sw", sw)
	}
	due.taken()
	return nil
}
