package mux

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// dlcState is the state of a user DLC:
//
//	negotiating --PN answered or given up--> opening --UA--> open
//	SABM from the peer --> open
//	open --own Close--> draining --all sent--> closing --UA, DM, no answer--> closed
//	any --DISC, DM or SABM 0 from the peer, multiplexer ended--> closed
//
// closed is final: the next DLC of that number is another DLC.
type dlcState int

const (
	dlcNegotiating dlcState = iota // PN sent
	dlcOpening                     // SABM sent
	dlcOpen
	dlcDraining // closed here, data left to send
	dlcClosing  // DISC sent
	dlcClosed
)

// Flow control marks of the receive buffer in octets. At highWater the peer is told
// to stop, at lowWater to go on; lowWater is below highWater and a reader always
// reaches it. A peer that has confirmed the stop may have overrunConfirmed octets
// under way, another one overrunLimit.
const (
	highWater        = 64 << 10
	lowWater         = 16 << 10
	overrunConfirmed = 256 << 10
	overrunLimit     = 4 << 20
)

// totalHigh octets in all receive buffers stop the peer as a whole (FCoff), totalLow let it go on (FCon); beyond totalLimit
// a DLC that gets more than highWater is closed. A peer that obeys MSC never comes near: 61 DLCs at highWater are below totalLow.
const (
	totalLow   = 6 << 20
	totalHigh  = 8 << 20
	totalLimit = 16 << 20
)

// lingerTime bounds how long a closed DLC tries to send what it holds while nothing of it goes out; stoppedTime is the same
// while the peer has stopped the DLC. That one is long, for a card may read slowly: with the 64 KiB that may lie before it at
// the peer, one that takes 250 octets every 30 s lets the DLC go on every 100 minutes. What lingers is 4 KiB a DLC.
const (
	lingerTime  = 5 * time.Second
	stoppedTime = 3 * time.Hour
)

// open begins to open a DLC from this side, or gives out the one that the peer has opened.
func (s *station) open(dlci int, now time.Time) (*DLC, error) {
	switch {
	case dlci < 1 || dlci > s.cfg.MaxDLCI:
		return nil, fmt.Errorf("mux: DLC %d is not in 1..%d", dlci, s.cfg.MaxDLCI)
	case s.state == muxIdle || s.state == muxStarting:
		return nil, ErrNotOpen
	case s.state != muxOpen:
		return nil, s.reason()
	}
	if d := s.dlcs[dlci]; d != nil {
		if s.unqueue(d) {
			return d, nil
		}
		return nil, fmt.Errorf("%w: %d", ErrInUse, dlci)
	}
	d := s.newDLC(dlci, s.nextOpening())
	if s.cfg.Negotiate && !s.noPN {
		d.state = dlcNegotiating
		p := parameters{dlci: dlci, priority: defaultPriority(dlci), t1: s.cfg.T1, n1: s.cfg.N1, n2: byte(s.cfg.N2), k: defaultWindow}
		s.command(msgPN, d, p.value(), now)
	} else {
		s.connect(d, now)
	}
	return d, nil
}

// unqueue takes d out of those that wait for Accept.
func (s *station) unqueue(d *DLC) bool {
	i := slices.Index(s.accept, d)
	if i < 0 {
		return false
	}
	s.accept = slices.Delete(s.accept, i, i+1)
	return true
}

// reason is the error of a request that the end made void.
func (s *station) reason() error {
	if s.err != nil {
		return s.err
	}
	return ErrClosed
}

func (s *station) newDLC(dlci int, opening uint32) *DLC {
	d := &DLC{s: s, dlci: dlci, n1: s.cfg.N1, done: make(chan struct{})}
	if n := s.n1[dlci]; n > 0 {
		d.n1 = n
	}
	s.begin(d, opening)
	d.readable.L, d.writable.L = s.changed.L, s.changed.L
	s.dlcs[dlci] = d
	s.highest = max(s.highest, dlci)
	return d
}

// connect sends SABM, disconnect DISC; both wait T1 for the answer.
func (s *station) connect(d *DLC, now time.Time) {
	d.state = dlcOpening
	d.retry = retry{}
	s.tryDLC(d, frameSABM, now)
}

func (s *station) disconnect(d *DLC, now time.Time) {
	if d.state == dlcOpening {
		d.owed = d.retry.tries
	}
	d.state = dlcClosing
	d.retry = retry{}
	d.tx.clear()
	s.forget(msgMSC, d)
	s.forget(msgPN, d)
	s.tryDLC(d, frameDISC, now)
	d.wake()
	s.closeDown(now)
}

func (s *station) tryDLC(d *DLC, t frameType, now time.Time) {
	f := frame{dlci: d.dlci, typ: t, cr: s.commandCR(), pf: true}
	if t == frameSABM {
		f.info = s.openingInfo(d.opening)
	}
	s.send(f)
	d.retry.tries++
	d.retry.due = now.Add(s.cfg.T1)
	s.rearm = true
}

// abort closes d from this side when data is lost. DM comes before DISC so that the
// peer does not take it for an orderly end.
func (s *station) abort(d *DLC, err error, now time.Time) {
	d.err = err
	s.send(frame{dlci: d.dlci, typ: frameDM, cr: !s.commandCR(), pf: true})
	s.disconnect(d, now)
}

// handleSABM takes the peer's wish to open a DLC. A DLC may be opened by either side
// in either role: some modems open theirs by themselves.
func (s *station) handleSABM(f frame, d *DLC, now time.Time) {
	switch {
	case f.dlci > s.cfg.MaxDLCI || s.state == muxClosing || len(s.accept) >= maxAccept:
		s.refuse(f)
		return
	case d != nil && (d.state == dlcNegotiating || d.state == dlcOpening):
		s.respond(frameUA, f) // both at the same time: the initiator's opening holds
		if s.cfg.Role == Responder {
			s.begin(d, openingOf(f))
		}
		s.entered(d, now)
		return
	case d != nil && d.state == dlcOpen && s.repeated(f, d):
		s.respond(frameUA, f)
		if !d.used {
			s.hold(d, now)
		}
		return
	case d != nil && (d.state == dlcDraining || d.state == dlcClosing):
		s.refuse(f) // until our DISC is answered
		return
	case d != nil:
		d.end(fmt.Errorf("DLC %d opened anew: %w", d.dlci, ErrReset))
	}
	s.respond(frameUA, f)
	d = s.newDLC(f.dlci, openingOf(f))
	s.entered(d, now)
	s.hold(d, now)
	s.accept = append(s.accept, d)
}

// repeated tells whether a SABM is that of the DLC which is open, for the UA came late or not at all.
func (s *station) repeated(f frame, d *DLC) bool {
	if s.cfg.Check {
		return openingOf(f) == d.opening
	}
	return !d.used
}

// hold keeps data back until the peer uses the DLC, which shows that it got our UA,
// or for two T1, after which it would have sent its SABM again.
func (s *station) hold(d *DLC, now time.Time) {
	d.holdUntil = now.Add(2 * s.cfg.T1)
	s.rearm = true
}

// use notes a sign that the peer has the DLC open.
func (s *station) use(d *DLC) {
	d.used = true
	if !d.holdUntil.IsZero() {
		d.holdUntil = time.Time{}
		s.dirty = true
	}
}

// entered makes d open and tells the peer the signals, which must come before data
// (clause 5.4.6.3.7).
func (s *station) entered(d *DLC, now time.Time) {
	s.forget(msgPN, d)
	if d.state == dlcOpening {
		d.owed = max(d.retry.tries-1, 0)
	}
	d.state = dlcOpen
	d.opened = true
	d.retry = retry{}
	s.command(msgMSC, d, nil, now)
	s.changed.Broadcast()
}

// late are the answers still due to a DLC that has ended: to a SABM or DISC that was
// sent more than once, since the peer was slow.
type late struct {
	n     int
	until time.Time
}

// ended ends d by an answer to its SABM or DISC, or for want of any, and notes the
// answers to come.
func (s *station) ended(d *DLC, answered int, reason error, now time.Time) {
	s.late[d.dlci] = late{n: max(d.owed+d.retry.tries-answered, 0), until: now.Add(lingerTime)}
	d.end(reason)
}

// stale tells whether UA or DM is for the DLC before d, and not the answer to the SABM
// of d. Where it is that, since an earlier one was lost, the second SABM brings another.
func (s *station) stale(d *DLC, now time.Time) bool {
	l := &s.late[d.dlci]
	if l.n == 0 || d.state == dlcOpening && d.retry.tries > 1 || now.After(l.until) {
		return false
	}
	l.n--
	return true
}

func (s *station) handleUA(f frame, d *DLC, now time.Time) {
	switch {
	case d == nil:
	case d.state == dlcOpening:
		stale := s.stale(d, now)
		if s.cfg.Check {
			stale = openingOf(f) != d.opening
		}
		if !stale {
			s.entered(d, now)
		}
	case d.state == dlcClosing:
		s.ended(d, 1, ErrClosed, now)
	case d.owed > 0:
		d.owed--
	}
}

func (s *station) handleDM(d *DLC, now time.Time) {
	switch {
	case d == nil:
	case (d.state == dlcOpening || d.state == dlcNegotiating) && s.stale(d, now):
	case d.state == dlcOpening || d.state == dlcNegotiating:
		s.ended(d, 1, fmt.Errorf("DLC %d: %w", d.dlci, ErrRefused), now)
	case d.state == dlcClosing:
		s.ended(d, 1, ErrClosed, now)
	default:
		d.end(fmt.Errorf("DLC %d: %w", d.dlci, ErrReset))
	}
}

// handleData puts received octets into the buffer and keeps it bounded.
func (s *station) handleData(d *DLC, info []byte, now time.Time) {
	if d.state != dlcOpen || d.shut {
		return // closed here: nobody will read it
	}
	s.use(d)
	if len(info) == 0 {
		return
	}
	data, ok := s.checkData(d, info)
	if !ok {
		s.checkFailed(d, now)
		return
	}
	d.rx.push(data)
	d.readable.Broadcast()
	if !d.fc && d.rx.len() >= highWater {
		d.fc = true
		d.overrunAt = overrunLimit
		s.command(msgMSC, d, nil, now)
	}
	if !d.fc {
		return
	}
	total := s.received()
	if !s.fc && total >= totalHigh {
		s.fc = true
		s.command(msgFCoff, nil, nil, now)
	}
	if d.rx.len() > d.overrunAt || total > totalLimit {
		s.cfg.Log.Warn("mux: peer ignores flow control, DLC closed", "dlci", d.dlci)
		s.abort(d, fmt.Errorf("DLC %d: %w", d.dlci, ErrOverrun), now)
	}
}

// received counts the octets in the receive buffers of the open DLCs.
func (s *station) received() int {
	n := 0
	for _, d := range s.dlcs {
		if d != nil {
			n += d.rx.len()
		}
	}
	return n
}

// release lets the peer as a whole go on when the receive buffers have room again.
func (s *station) release(now time.Time) {
	if s.fc && s.state == muxOpen && s.received() <= totalLow {
		s.fc = false
		s.forget(msgFCoff, nil)
		s.command(msgFCon, nil, nil, now)
	}
}

// taken follows a read: at the low-water mark the peer may go on.
func (s *station) taken(d *DLC, now time.Time) {
	if d.fc && d.state == dlcOpen && d.rx.len() <= lowWater {
		d.fc = false
		s.command(msgMSC, d, nil, now)
	}
	s.release(now)
}

// signals are this end's V.24 signals for d.
func (d *DLC) signals() byte {
	if d.fc {
		return signalsReady | signalFC
	}
	return signalsReady
}

// handleSignals takes the peer's V.24 signals. A peer that has never set RTR does
// not use it and is not held to it.
func (s *station) handleSignals(d *DLC, signals byte, now time.Time) {
	s.use(d)
	old := d.peerSignals
	d.peerSignals = signals
	d.peerRTR = d.peerRTR || signals&signalRTR != 0
	d.peerStop = signals&signalFC != 0 || d.peerRTR && signals&signalRTR == 0
	s.dirty = s.dirty || !d.peerStop
	// Linux forgets our MSC if its port is opened only later, and shows the opening
	// by a change of its own signals: tell ours again. Two such ends come to rest,
	// for the answer to the answer changes nothing.
	if (old^signals)&^signalFC != 0 && d.state == dlcOpen && !s.waitingFor(msgMSC, d) {
		s.command(msgMSC, d, nil, now)
	}
}

// finish ends d after the last of its data.
func (s *station) finish(d *DLC, now time.Time) {
	if s.cfg.Check {
		s.sendSum(d, ^d.txSum)
	}
	s.disconnect(d, now)
}

// close is this side's Close: what is queued is sent first.
func (d *DLC) close(now time.Time) {
	if d.shut {
		return
	}
	d.shut = true
	d.rx.clear()
	d.s.release(now)
	switch d.state {
	case dlcOpen:
		d.state = dlcDraining
		d.sent = now
		d.lingerDue = now.Add(lingerTime)
		d.s.rearm = true
		if d.tx.len() == 0 {
			d.s.finish(d, now)
		}
	case dlcNegotiating, dlcOpening:
		d.s.disconnect(d, now)
	}
	d.wake()
}

// end closes d at once; an earlier reason stays.
func (d *DLC) end(err error) {
	s := d.s
	if d.err == nil {
		d.err = err
	}
	if d.state != dlcClosed {
		close(d.done)
	}
	d.state = dlcClosed
	d.tx.clear()
	d.retry = retry{}
	if d.err != io.EOF { // after an orderly end Accept still gives its data
		s.unqueue(d)
	}
	s.forget(msgMSC, d)
	s.forget(msgPN, d)
	if s.dlcs[d.dlci] == d {
		s.dlcs[d.dlci] = nil
	}
	d.wake()
	s.release(s.octets)
	s.rearm = true
	s.changed.Broadcast()
}

// wake lets blocked readers and writers look again.
func (d *DLC) wake() {
	d.readable.Broadcast()
	d.writable.Broadcast()
}
