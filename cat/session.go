package cat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bipd/trace"
	"bipd/uicc"
)

// Config is what a Session needs to know.
type Config struct {
	Name string // of the card, in logs and traces
	PIN  string // global PIN of the USIM, 4 to 8 digits; empty = none is tried. It is never logged.
	// PINICCID is the ICCID of the card that the PIN is for, in digits: no other is tried with it. Empty = every card is.
	PINICCID string
	// PollInterval is the time between two STATUS commands before the card asks for another. 0 = 30 s (ETSI TS 102 221
	// clause 14.5.2 lets the terminal choose).
	PollInterval time.Duration
	AllowAPDU    bool // Session.Transmit may send what the operator likes
	// MayReset is asked before each REFRESH that has the card, or its application, begin anew; nil: it always may.
	MayReset func() bool
	Log      *slog.Logger
	Trace    *trace.Stream // may be nil
}

const defaultPollInterval = 30 * time.Second

// Session runs one card through the toolkit: initialisation, TERMINAL PROFILE, STATUS polling, and for each proactive
// command FETCH and exactly one TERMINAL RESPONSE. One goroutine, that of Run, owns the card; Wake and Post may be called from any.
//
// A command is in one of three states: waiting in the card (91xx was answered), outstanding (fetched, its Handler still
// works; the card is polled, no envelope is sent), or answered. Envelopes go out only in between.
type Session struct {
	card uicc.Card
	cfg  Config
	log  *slog.Logger

	handlers   map[CommandType]Handler
	claims     []claim // in order of registration, for the profile
	facilities []Facility
	sources    []Source
	errands    []*errand // the operator's, in order

	gsm         bool   // class A0 card
	notPINs     bool   // the card is not the one that the PIN is for
	directory   []byte // what a class A0 card told of its GSM directory
	shortStatus bool   // the card takes STATUS without data
	waiting     int    // length of the proactive command that waits in the card; 0 = none
	fetched     bool   // a command was fetched since the sources last heard of the end of a chain
	outstanding *outstanding
	events      map[EventCode]bool
	timers      timers
	poll        time.Duration
	nextPoll    time.Time
	busyUntil   time.Time // the card answered 93 00: no envelope before this time
	busyWait    time.Duration

	wake   chan struct{}
	mu     sync.Mutex
	posted []func()
	ended  bool
}

// outstanding is a command whose answer takes time.
type outstanding struct {
	cmd    Command
	done   chan func() Answer
	cancel context.CancelFunc
}

// NewSession makes a session for an activated card. Commands of the toolkit's own running (polling, timers, events,
// REFRESH) are answered by the session itself; the rest by the Handlers that are registered before Run.
func NewSession(card uicc.Card, cfg Config) *Session {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PollInterval <= 0 {
		cfg.PollInterval = defaultPollInterval
	}
	s := &Session{
		card: card, cfg: cfg, log: cfg.Log.With("card", cfg.Name),
		handlers: map[CommandType]Handler{},
		wake:     make(chan struct{}, 1),
	}
	s.registerOwn()
	return s
}

// Handle registers the handler for the types.
func (s *Session) Handle(h Handler, types ...CommandType) {
	for _, t := range types {
		s.handlers[t] = h
	}
	s.claims = append(s.claims, claim{h, types})
}

// AddSource registers a source of envelopes.
func (s *Session) AddSource(src Source) { s.sources = append(s.sources, src) }

// Wake makes the session ask its sources soon.
func (s *Session) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Post runs f on the goroutine that owns the card, soon. It returns false, and does not run f, after the end of Run.
func (s *Session) Post(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.posted = append(s.posted, f)
	s.Wake()
	return true
}

// takePosted returns what was posted. With last set, nothing can be posted any more once it returns nothing.
func (s *Session) takePosted(last bool) []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	posted := s.posted
	s.posted = nil
	s.ended = last && len(posted) == 0
	return posted
}

func (s *Session) runPosted(last bool) {
	for posted := s.takePosted(last); len(posted) > 0; posted = s.takePosted(last) {
		for _, f := range posted {
			f()
		}
	}
}

// Run initialises the card and serves it until the context ends or the card is gone. It always returns an error: the
// context's cause, uicc.ErrRemoved, ErrPIN, or what the card's transport reported.
func (s *Session) Run(ctx context.Context) error {
	for {
		s.forget()
		err := s.initialise(ctx)
		if err == nil {
			err = s.serve(ctx)
		}
		again := errors.Is(err, errCardReset)
		if errors.Is(err, errNewProfile) {
			s.end(false)
			s.log.Info("card has changed its profile: initialising it again")
			continue
		}
		s.end(!again)
		if !again {
			return err
		}
		s.log.Info("card asked for a reset")
		if err := s.card.Reset(ctx, uicc.ColdReset); err != nil {
			s.end(true)
			return fmt.Errorf("cat: reset asked for by the card: %w", err)
		}
	}
}

// forget takes all that a reset takes from the card.
func (s *Session) forget() {
	s.gsm, s.directory, s.shortStatus, s.waiting, s.fetched = false, nil, true, 0, false
	s.events = map[EventCode]bool{}
	s.timers = timers{}
	s.poll = s.cfg.PollInterval
	s.busyUntil, s.busyWait = time.Time{}, 0
}

// end finishes the pass: the outstanding command is given up and everybody hears that the card forgot.
func (s *Session) end(last bool) {
	if o := s.outstanding; o != nil {
		o.cancel()
		finish := <-o.done
		finish()
		s.outstanding = nil
	}
	s.runPosted(last)
	s.dropErrands()
	for _, src := range s.sources {
		src.CardReset()
	}
}

func (s *Session) serve(ctx context.Context) error {
	s.nextPoll = time.Now().Add(s.poll)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.runPosted(false)
		did, err := s.step(ctx)
		if err != nil {
			return err
		}
		if did {
			continue
		}
		timer.Reset(time.Until(s.deadline()))
		if err := s.await(ctx, timer); err != nil {
			return err
		}
	}
}

// step does the one thing that is most due and reports whether there was any.
func (s *Session) step(ctx context.Context) (bool, error) {
	now := time.Now()
	switch {
	case s.outstanding == nil && s.waiting > 0:
		if s.errandOverdue() && !now.Before(s.busyUntil) {
			if did, err := s.runErrand(ctx); did || err != nil {
				return true, err
			}
		}
		return true, s.fetch(ctx)
	case s.outstanding == nil && s.fetched:
		s.fetched = false
		for _, src := range s.sources {
			src.ChainEnded()
		}
		return true, nil
	case s.outstanding == nil && !now.Before(s.busyUntil):
		if did, err := s.runErrand(ctx); did || err != nil {
			return true, err
		}
		if sent, err := s.sendEvent(ctx, now); sent || err != nil {
			return true, err
		}
	}
	if !now.Before(s.nextPoll) {
		return true, s.pollStatus(ctx)
	}
	return false, nil
}

// deadline is when the session has something to do if nobody wakes it.
func (s *Session) deadline() time.Time {
	d := s.nextPoll
	if s.outstanding != nil {
		return d
	}
	next, due := s.timers.next()
	if due && next.Before(s.busyUntil) {
		next = s.busyUntil
	}
	if due && next.Before(d) {
		d = next
	}
	if s.busyUntil.After(time.Now()) && s.busyUntil.Before(d) {
		d = s.busyUntil
	}
	return d
}

func (s *Session) await(ctx context.Context, timer *time.Timer) error {
	var done chan func() Answer
	if s.outstanding != nil {
		done = s.outstanding.done
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.wake:
	case <-timer.C:
	case finish := <-done:
		o := s.outstanding
		s.outstanding = nil
		o.cancel()
		return s.conclude(ctx, o.cmd, finish())
	}
	return nil
}

// fetch gets the waiting command from the card and has it answered.
func (s *Session) fetch(ctx context.Context) error {
	n := s.waiting
	s.waiting, s.fetched = 0, true
	for _, e := range s.errands {
		e.passed++
	}
	data, sw, err := s.transmit(ctx, s.toolkitClass(), insFetch, 0, 0, nil, n)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		s.log.Warn("FETCH brought no command", "sw", sw)
		s.waiting = 0 // also where the card says that there is one: STATUS will ask again, in time
		return nil
	}
	cmd, err := ParseCommand(data)
	h := s.handlers[cmd.Details.Type]
	if h == nil && cmd.Body != nil { // the frame could be read: the type decides, not the body
		err = unsupported(cmd.Details.Type)
	}
	if err != nil {
		cmd.Body = nil // nobody gets to see it
	}
	s.traceCommand(cmd)
	if err != nil { // the command's octets stay out of the log: they may hold a password
		s.log.Warn("proactive command refused", "command", cmd.Details.Type, "error", err)
		return s.conclude(ctx, cmd, Answer{Response: Respond(cmd, resultOf(err))})
	}
	s.log.Debug("proactive command", "command", cmd.Details.Type, "number", cmd.Details.Number, "qualifier", cmd.Details.Qualifier)
	if cmd.Details.Type == TypeRefresh {
		return s.refresh(ctx, cmd)
	}
	return s.conclude(ctx, cmd, h.Handle(ctx, cmd))
}

func unsupported(t CommandType) error {
	if t.Known() {
		return &ResultError{Result{General: ResultBeyondCapabilities}, t.String() + " is not offered"}
	}
	return &ResultError{Result{General: ResultTypeNotUnderstood}, t.String()}
}

// conclude sends the response, or lets the command be outstanding while its answer is made.
func (s *Session) conclude(ctx context.Context, cmd Command, a Answer) error {
	if a.Wait != nil {
		ctx, cancel := context.WithCancel(ctx)
		o := &outstanding{cmd, make(chan func() Answer, 1), cancel}
		s.outstanding = o
		go func() { o.done <- a.Wait(ctx) }()
		return nil
	}
	if a.Sending != nil {
		a.Sending()
	}
	s.traceResponse(cmd, a.Response)
	response := a.Response.Append(make([]byte, 0, uicc.MaxData))
	if len(response) > uicc.MaxData {
		s.log.Error("response is too long for a TERMINAL RESPONSE", "command", cmd.Details.Type, "octets", len(response))
		response, a.Sent = Respond(cmd, Result{General: ResultTerminalUnable}).Append(response[:0]), nil
	}
	ctx, cancel := outliving(ctx, responseTime)
	defer cancel()
	_, sw, err := s.transmit(ctx, s.toolkitClass(), insTerminalResponse, 0, 0, response, 0)
	if err != nil {
		return err
	}
	if !sw.OK() {
		s.log.Warn("card refused the TERMINAL RESPONSE", "command", cmd.Details.Type, "sw", sw)
	}
	if a.Sent != nil {
		a.Sent()
	}
	return nil
}

// responseTime is how long a TERMINAL RESPONSE under way may go on after the session's context has ended. The card goes by what it
// says: cut off, the session could not know whether the card counts its data as sent.
const responseTime = 2 * time.Second

// outliving is a context that ends so long after its parent.
func outliving(parent context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(parent))
		case <-ctx.Done():
		}
	})
	return ctx, func() { stop(); cancel(context.Canceled) }
}

func (s *Session) pollStatus(ctx context.Context) error {
	sw, err := s.status(ctx, 0x00)
	s.nextPoll = time.Now().Add(s.poll)
	if err == nil && !sw.OK() {
		s.log.Warn("card refused STATUS", "sw", sw)
	}
	return err
}
