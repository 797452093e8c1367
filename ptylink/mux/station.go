package mux

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// muxState is the state of DLCI 0:
//
//	idle --start--> starting --UA--> open --close--> closing --> ended
//	idle, starting --SABM from the peer--> open
//	starting --DM, no answer--> idle
//	open, closing --CLD or DISC 0 from the peer, line error, keep-alive lost--> ended
//
// ended is final.
type muxState int

const (
	muxIdle muxState = iota
	muxStarting
	muxOpen
	muxClosing
	muxEnded
)

// retry counts the tries of something that waits for an answer.
type retry struct {
	due   time.Time // zero: nothing is waited for
	tries int
}

// station is the protocol machine of one end: octets, requests and the time go in,
// octets come out. It starts no goroutine, does no I/O and reads no clock. Its owner
// holds the lock of changed around every call.
type station struct {
	cfg Config
	// changed is signalled after each change that Start, Open, Accept or Close may wait for.
	changed *sync.Cond

	dec      decoder
	state    muxState
	startErr error // why the last start failed
	err      error // why it ended; nil after an orderly end

	dlcs    [highestDLCI + 1]*DLC // by DLCI; 0 is unused
	n1      [highestDLCI + 1]int  // negotiated by PN, 0 = none
	late    [highestDLCI + 1]late // answers that an earlier DLC left; 0 is unused
	accept  []*DLC                // opened by the peer, not yet given out
	turn    int                   // data DLC that sent last
	atLast  bool                  // the last data frame was of DLC 1
	highest int                   // no DLC above was ever open
	stopped bool                  // the peer sent FCoff
	fc      bool                  // the peer was told to stop as a whole
	answers map[messageType]bool  // commands that the peer has responded to
	noPN    bool                  // the peer does not answer PN
	lively  map[messageType]bool  // questions of the keep-alive that the peer has answered
	mute    map[messageType]bool  // those that it did not answer, though it may live
	peerCR  bool                  // the peer's data has the right C/R bit
	echoes  bool                  // that the line echoes was said
	checked []byte                // last information field with its check

	openings uint32 // DLCs opened from this side, see nextOpening
	torn     int    // DLCs that failed the payload check, one after the other

	ctl      []byte // frames that go before all data
	commands []*command
	link     retry // SABM or DISC on DLCI 0

	heard    time.Time // last sign of life from the peer, see alive
	octets   time.Time // last octets
	half     halfFrame
	halfDue  time.Time // when to look at half; zero: not
	closeDue time.Time // in muxClosing: data not sent by then is given up

	junk     int       // octets that are no frame, since the start
	junkDue  time.Time // when to tell them
	junkSaid bool

	dirty bool // there may be something to send
	rearm bool // nextTimer has changed
}

// halfFrame is a frame whose end has not come yet. A damaged length octet, or a peer
// that died while writing, leaves one that would swallow what follows.
type halfFrame struct {
	since  time.Time
	paused bool // its octets came with a pause between: no single transmission
	looked bool // was found too old once; see halfGrace
}

const (
	// maxControlQueue bounds the answers that wait for a peer that does not read.
	maxControlQueue = 64 << 10
	// maxAccept bounds the DLCs that wait for Accept.
	maxAccept = 2 * highestDLCI
	// halfGrace is the time between the two looks at an old half frame, so that
	// octets which came while this process did not run are read before it is given up.
	halfGrace = 50 * time.Millisecond
)

func newStation(cfg Config, changed *sync.Cond) *station {
	cfg = cfg.withDefaults()
	return &station{cfg: cfg, changed: changed, dec: decoder{advanced: cfg.Advanced, n1: cfg.N1},
		answers: map[messageType]bool{}, lively: map[messageType]bool{}, mute: map[messageType]bool{}}
}

// halfTime is the age at which a half frame is given up: many times what the longest
// frame takes by the rule for T1, and less than the N2 tries of a peer that starts anew.
func (s *station) halfTime() time.Duration { return 2 * s.cfg.T1 }

// pauseTime is the silence that no single transmission has in it.
func (s *station) pauseTime() time.Duration { return s.cfg.T1 / 4 }

// receive takes octets from the line.
func (s *station) receive(p []byte, now time.Time) {
	paused := now.Sub(s.octets) >= s.pauseTime()
	s.octets = now
	decided := s.dec.decided
	s.dec.feed(p)
	s.decode(now)
	switch {
	case !s.dec.partial():
		s.half = halfFrame{}
		return
	case s.half.since.IsZero() || s.dec.decided != decided:
		s.half = halfFrame{since: now}
	case paused:
		s.half.paused = true
	}
	if s.halfDue.IsZero() {
		wait := s.halfTime()
		if s.half.looked { // old enough: these octets may be what it hides
			wait = s.pauseTime()
		}
		s.halfDue = now.Add(wait)
		s.rearm = true
	}
}

// decode handles the frames that are complete.
func (s *station) decode(now time.Time) {
	running, junk := s.state == muxOpen, s.dec.junk
	for s.state != muxEnded {
		f, ok := s.dec.next()
		if !ok {
			break
		}
		s.take(f, now)
	}
	if running {
		s.babble(s.dec.junk-junk, now) // before the start, text is usual
	}
}

// take takes one frame, unless it is one of this end's that came back.
func (s *station) take(f frame, now time.Time) {
	if s.echoed(f) {
		s.saysEcho()
		return
	}
	if s.fromPeer(f) {
		s.alive(now)
		s.peerCR = s.peerCR || f.typ == frameUIH && f.dlci > 0
	}
	s.handle(f, now)
}

// handle takes one frame.
func (s *station) handle(f frame, now time.Time) {
	if f.dlci == 0 {
		s.handleLink(f, now)
		return
	}
	if f.dlci > highestDLCI || s.state != muxOpen && s.state != muxClosing {
		s.refuse(f)
		return
	}
	d := s.dlcs[f.dlci]
	switch f.typ {
	case frameSABM:
		s.handleSABM(f, d, now)
	case frameDISC:
		if d == nil {
			s.refuse(f)
			return
		}
		s.respond(frameUA, f)
		d.end(s.endOfStream(d, io.EOF)) // in order, after the data received
	case frameUA:
		s.handleUA(f, d, now)
	case frameDM:
		s.handleDM(d, now)
	case frameUIH, frameUI:
		if d != nil {
			s.handleData(d, f.info, now)
		}
	}
}

// handleLink takes a frame on DLCI 0 (clauses 5.8.1 and 5.8.2).
func (s *station) handleLink(f frame, now time.Time) {
	running := s.state == muxOpen || s.state == muxClosing
	switch {
	case f.typ == frameSABM && s.state == muxClosing:
		s.refuse(f)
	case f.typ == frameSABM:
		s.restart()
		s.respond(frameUA, f)
		s.enterOpen()
	case f.typ == frameDISC && running:
		s.respond(frameUA, f)
		s.end(nil)
	case f.typ == frameDISC:
		s.refuse(f)
		if s.state == muxIdle && s.cfg.Role == Responder {
			s.end(nil) // the peer begins anew in AT mode, see handleEarly
		}
	case f.typ == frameUA && s.state == muxStarting:
		s.enterOpen()
	case f.typ == frameDM && s.state == muxStarting:
		s.startFailed(ErrRefused)
	case f.typ == frameDM && s.state == muxOpen:
		s.end(fmt.Errorf("DM on DLCI 0: %w", ErrReset))
	case (f.typ == frameUA || f.typ == frameDM) && s.state == muxClosing && !s.link.due.IsZero():
		s.end(nil)
	case (f.typ == frameUIH || f.typ == frameUI) && running:
		s.handleControl(f.info, s.fromPeer(f), now)
	case f.typ == frameUIH && s.state == muxIdle && s.cfg.Role == Responder:
		s.handleEarly(f.info)
	}
}

// start sends the SABM of DLCI 0.
func (s *station) start(now time.Time) {
	if s.state != muxIdle {
		return
	}
	s.state = muxStarting
	s.startErr = nil
	s.tryLink(frameSABM, now)
}

// tryLink sends SABM or DISC on DLCI 0 and waits T1.
func (s *station) tryLink(t frameType, now time.Time) {
	s.send(frame{typ: t, cr: s.commandCR(), pf: true})
	s.link.tries++
	s.link.due = now.Add(s.cfg.T1)
	s.rearm = true
}

func (s *station) startFailed(err error) {
	s.state = muxIdle
	s.startErr = err
	s.link = retry{}
	s.changed.Broadcast()
}

func (s *station) enterOpen() {
	s.state = muxOpen
	s.link = retry{}
	s.rearm = true // the keep-alive begins
	s.changed.Broadcast()
}

// restart drops all that belongs to the time before a SABM on DLCI 0.
func (s *station) restart() {
	if s.state == muxOpen {
		s.cfg.Log.Info("mux: restarted by the peer")
	}
	for _, d := range s.dlcs {
		if d != nil {
			d.end(fmt.Errorf("multiplexer restarted: %w", ErrReset))
		}
	}
	s.n1 = [highestDLCI + 1]int{}
	s.late = [highestDLCI + 1]late{}
	s.commands = nil
	s.ctl = s.ctl[:0]
	s.stopped, s.fc = false, false
	s.noPN = false
	clear(s.answers)
	clear(s.lively)
	clear(s.mute)
}

// close ends the multiplexer: the DLCs that were closed send what they hold and DISC,
// those in use are torn, for nobody said that their streams are complete. Then follows
// CLD, and if that is not answered DISC on DLCI 0.
func (s *station) close(now time.Time) {
	switch s.state {
	case muxIdle, muxStarting:
		s.end(nil)
	case muxOpen:
		s.state = muxClosing
		s.closeDue = now.Add(time.Duration(s.cfg.N2) * s.cfg.T1)
		s.rearm = true
		for _, d := range s.dlcs {
			switch {
			case d == nil:
			case d.state == dlcOpen:
				s.abort(d, ErrClosed, now)
			default:
				d.close(now)
			}
		}
		s.closeDown(now)
	}
}

// closeDown sends CLD once no DLC has data left.
func (s *station) closeDown(now time.Time) {
	if s.state != muxClosing || !s.link.due.IsZero() || s.waiting(msgCLD) {
		return
	}
	for _, d := range s.dlcs {
		if d != nil && (d.state == dlcOpen || d.state == dlcDraining) {
			return
		}
	}
	s.closeDue = time.Time{}
	s.command(msgCLD, nil, nil, now)
}

// lineEnded ends everything because the line is gone. After our CLD that is how a
// peer may answer: the last octets before its close can get lost.
func (s *station) lineEnded(err error) {
	if s.state == muxClosing && (s.waiting(msgCLD) || !s.link.due.IsZero()) {
		err = nil
	}
	s.end(err)
}

// end ends everything; err is nil when it is orderly.
func (s *station) end(err error) {
	if s.state == muxEnded {
		return
	}
	s.state = muxEnded
	s.err = err
	s.tellJunk()
	reason := ErrClosed
	if err != nil {
		reason = err
	}
	for _, d := range s.dlcs {
		if d != nil {
			d.end(reason)
		}
	}
	s.commands = nil
	s.link = retry{}
	s.dirty = true
	s.rearm = true
	s.changed.Broadcast()
}

// commandCR is the C/R bit of this end's commands and of its UIH frames.
func (s *station) commandCR() bool { return s.cfg.Role == Initiator }

// send queues a frame that goes before all data.
func (s *station) send(f frame) {
	s.ctl = s.appendFrame(s.ctl, f)
	s.dirty = true
}

func (s *station) appendFrame(dst []byte, f frame) []byte {
	if s.cfg.Advanced {
		return appendAdvanced(dst, f)
	}
	return appendBasic(dst, f)
}

// respond answers frame f. An answer for which there is no room is left out: the
// peer does not read, and asks again when it does.
func (s *station) respond(t frameType, f frame) {
	if len(s.ctl) < maxControlQueue {
		answer := frame{dlci: f.dlci, typ: t, cr: !s.commandCR(), pf: f.pf}
		if t == frameUA && f.typ == frameSABM && f.dlci > 0 {
			answer.info = s.openingInfo(openingOf(f))
		}
		s.send(answer)
	}
}

// refuse answers a command for a DLC that is not there with DM (clause 5.4.3) and
// leaves anything else unanswered. DLCI 62 and 63 have no answer: its address octet
// could look like a flag.
func (s *station) refuse(f frame) {
	if (f.typ == frameSABM || f.typ == frameDISC) && f.dlci <= highestDLCI {
		s.respond(frameDM, f)
	}
}
