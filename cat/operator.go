package cat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bipd/trace"
	"bipd/uicc"
)

// Reasons for which the operator's wish is not passed on to the card.
var (
	ErrEnded         = errors.New("cat: the card session has ended")
	ErrNotSubscribed = errors.New("cat: the card has not asked for this event")
	ErrNotAllowed    = errors.New("cat: raw APDUs are not allowed")
	ErrOwnCommand    = errors.New("cat: the session alone sends this command")
	ErrTooLong       = errors.New("cat: the envelope is longer than an APDU carries")
)

// errand is something that the operator has the session send between two proactive commands. It is done on the goroutine that
// owns the card, which alone touches it.
type errand struct {
	ctx  context.Context
	send func(ctx context.Context) (reply, bool, error) // false: the card is busy, try again later
	done chan reply                                     // has room for one
	// passed counts the proactive commands that went before it.
	passed int
}

// maxPassed is how many commands of a chain go before an errand. Then the errand comes between two of them, though the card has
// announced the next: the terminal may send other commands before FETCH, which recorded modems do; the card announces its command
// again, and says 9300 where it cannot take an envelope (ETSI TS 102 221 clause 14.6).
const maxPassed = 3

// errandOverdue reports whether the operator has waited for long enough.
func (s *Session) errandOverdue() bool {
	return len(s.errands) > 0 && s.errands[0].passed >= maxPassed
}

type reply struct {
	data []byte
	sw   uicc.StatusWord
	err  error
}

// SendEnvelope sends an envelope and returns the card's status word and response data. It may be called from any goroutine, and
// returns when the card has answered, ctx has ended, or the session. The envelope waits until no proactive command is
// outstanding, and for the end of the chain of commands, but for no more than three of them; it is sent again while the card says
// 9300 (busy). An event that the card has not subscribed to is not
// sent: ErrNotSubscribed.
func (s *Session) SendEnvelope(ctx context.Context, e Envelope) (uicc.StatusWord, []byte, error) {
	data := e.Append(nil)
	if len(data) > uicc.MaxData {
		return 0, nil, fmt.Errorf("%w: %d octets", ErrTooLong, len(data))
	}
	return s.run(ctx, func(ctx context.Context) (reply, bool, error) {
		if code, isEvent := e.Event(); isEvent && !s.events[code] {
			return reply{err: fmt.Errorf("%w: %v", ErrNotSubscribed, code)}, true, nil
		}
		s.emit(trace.CP, trace.UICC, e.String())
		data, sw, err := s.transmit(ctx, s.toolkitClass(), insEnvelope, 0, 0, data, 0)
		if err == nil && sw == uicc.SWToolkitBusy {
			s.cardBusy(time.Now())
			return reply{}, false, nil
		}
		s.busyWait = 0
		return reply{slices.Clone(data), sw, err}, true, err
	})
}

// Transmit sends a raw command APDU between two proactive commands, where Config.AllowAPDU is set, and returns the response with
// its status word. What it changes in the card, the selected file for one, stays changed. FETCH, TERMINAL RESPONSE and TERMINAL
// PROFILE are refused. An error that wraps uicc.ErrCommand says that capdu is none, and that nothing was sent.
func (s *Session) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	if !s.cfg.AllowAPDU {
		return nil, ErrNotAllowed
	}
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return nil, err
	}
	switch cmd.INS {
	case insFetch, insTerminalResponse, insTerminalProfile:
		return nil, ErrOwnCommand
	}
	sw, data, err := s.run(ctx, func(ctx context.Context) (reply, bool, error) {
		rapdu, err := s.card.Transmit(ctx, capdu)
		if err != nil {
			return reply{err: err}, true, err
		}
		data, sw, err := uicc.SplitResponse(rapdu)
		if err != nil {
			return reply{err: err}, true, err
		}
		if n, ok := sw.Proactive(); ok {
			s.waiting = n
		}
		return reply{slices.Clone(data), sw, nil}, true, nil
	})
	if err != nil {
		return nil, err
	}
	return append(data, sw.SW1(), sw.SW2()), nil
}

// run queues an errand and waits for its end.
func (s *Session) run(ctx context.Context, send func(context.Context) (reply, bool, error)) (uicc.StatusWord, []byte, error) {
	e := &errand{ctx: ctx, send: send, done: make(chan reply, 1)}
	if !s.Post(func() { s.errands = append(s.errands, e) }) {
		return 0, nil, ErrEnded
	}
	select {
	case r := <-e.done:
		return r.sw, r.data, r.err
	case <-ctx.Done():
		return 0, nil, context.Cause(ctx)
	}
}

// runErrand does the operator's oldest errand and reports whether there was one. What the card's transport reports ends the session.
func (s *Session) runErrand(ctx context.Context) (bool, error) {
	s.errands = slices.DeleteFunc(s.errands, func(e *errand) bool { return e.ctx.Err() != nil })
	if len(s.errands) == 0 {
		return false, nil
	}
	e := s.errands[0]
	r, done, err := e.send(ctx)
	if done {
		s.errands = s.errands[1:]
		e.done <- r
	}
	return true, err
}

// dropErrands tells all who wait that the card forgot.
func (s *Session) dropErrands() {
	for _, e := range s.errands {
		e.done <- reply{err: ErrEnded}
	}
	s.errands = nil
}

// Subscribed reports whether the card has asked for the event. It is for the goroutine that owns the card.
func (s *Session) Subscribed(e EventCode) bool { return s.events[e] }

// Claim adds bits to the TERMINAL PROFILE that no Handler claims. It is to be called before Run.
func (s *Session) Claim(f ...Facility) { s.facilities = append(s.facilities, f...) }

// cardBusy keeps envelopes back for a while that grows.
func (s *Session) cardBusy(now time.Time) {
	s.busyWait = min(max(2*s.busyWait, 50*time.Millisecond), maxBusyWait)
	s.busyUntil = now.Add(s.busyWait)
}
