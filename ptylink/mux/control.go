package mux

import (
	"fmt"
	"slices"
	"time"
)

// command is a control message of ours that waits for its response.
type command struct {
	typ   messageType
	d     *DLC // of MSC and PN
	value []byte
	retry retry
	life  bool // a question of the keep-alive
}

// command sends a control message and sends it again until it is answered. An older
// one of the same kind is replaced.
func (s *station) command(t messageType, d *DLC, value []byte, now time.Time) {
	s.forget(t, d)
	c := &command{typ: t, d: d, value: value}
	s.commands = append(s.commands, c)
	s.try(c, now)
}

func (s *station) try(c *command, now time.Time) {
	if c.typ == msgMSC {
		c.value = modemStatus{dlci: c.d.dlci, signals: c.d.signals()}.value()
	}
	wait := s.cfg.T2
	if c.typ == msgCLD {
		wait = s.cfg.T1
	}
	s.message(message{typ: c.typ, command: true, value: c.value})
	c.retry.tries++
	c.retry.due = now.Add(wait)
	s.rearm = true
}

// message queues a control message in a UIH frame on DLCI 0.
func (s *station) message(m message) {
	info := appendMessage(nil, m)
	if s.cfg.Check {
		info = appendSum(info, sum(s.seed(0, s.cfg.Role, 0), info))
	}
	s.send(frame{typ: frameUIH, cr: s.commandCR(), info: info})
}

// waiting tells whether a command of type t waits for its response.
func (s *station) waiting(t messageType) bool { return s.waitingFor(t, nil) }

func (s *station) waitingFor(t messageType, d *DLC) bool {
	for _, c := range s.commands {
		if c.typ == t && c.d == d {
			return true
		}
	}
	return false
}

// forget ends the waiting for a response.
func (s *station) forget(t messageType, d *DLC) {
	s.commands = slices.DeleteFunc(s.commands, func(c *command) bool {
		return c.typ == t && c.d == d
	})
}

// unanswered follows N2 tries of c without a response, or an NSC.
func (s *station) unanswered(c *command, now time.Time) {
	s.forget(c.typ, c.d)
	switch c.typ {
	case msgPN: // the peer cannot negotiate: N1 is as configured at both ends
		s.noPN = !s.answers[msgPN]
		if c.d.state == dlcNegotiating {
			s.connect(c.d, now)
		}
	case msgTest:
		s.noLife(msgTest, now)
	case msgCLD:
		s.link = retry{}
		s.tryLink(frameDISC, now)
	case msgMSC, msgFCon:
		if c.life {
			s.noLife(msgMSC, now)
			return
		}
		if s.answers[c.typ] || c.typ == msgFCon && s.answers[msgFCoff] {
			s.command(c.typ, c.d, nil, now) // the line ate it: without it the peer might stay stopped for ever
			return
		}
		s.cfg.Log.Debug("mux: peer does not answer", "command", c.typ.String())
	}
}

// handleControl takes the information field of a frame on DLCI 0.
func (s *station) handleControl(info []byte, fromPeer bool, now time.Time) {
	info, ok := s.checkControl(info)
	if !ok {
		s.cfg.Log.Debug("mux: payload check failed, control messages dropped")
		return
	}
	for len(info) > 0 && s.state != muxEnded {
		m, rest, err := parseMessage(info)
		if err != nil {
			s.cfg.Log.Debug("mux: control message dropped", "error", err)
			return
		}
		info = rest
		switch {
		case fromPeer:
		case s.ownCommand(m):
			s.saysEcho()
			continue
		case m.command || s.answersUs(m):
			s.alive(now)
		}
		if m.command {
			err = s.handleCommand(m, now)
		} else {
			err = s.handleResponse(m, now)
		}
		if err != nil {
			s.cfg.Log.Debug("mux: control message dropped", "type", m.typ.String(), "error", err)
		}
	}
}

// handleEarly takes control messages of a peer that has not started the multiplexer: CLD ends the waiting for it, which is
// what a peer sends that begins anew in AT mode. It has no payload check, for nothing was agreed.
func (s *station) handleEarly(info []byte) {
	if m, _, err := parseMessage(info); err == nil && m.typ == msgCLD && m.command {
		s.answer(message{typ: msgCLD})
		s.end(nil)
	}
}

// handleCommand answers a command of the peer (clause 5.4.6.3).
func (s *station) handleCommand(m message, now time.Time) error {
	answer := message{typ: m.typ, value: m.value}
	switch m.typ {
	case msgTest, msgRLS, msgPSC:
		// PSC too is only confirmed: this end never sleeps.
	case msgMSC:
		status, err := parseModemStatus(m.value)
		if err != nil {
			return err
		}
		s.answer(answer)
		if d := s.dlc(status.dlci); d != nil {
			s.handleSignals(d, status.signals, now)
		}
		return nil
	case msgFCoff:
		s.stopped = true
	case msgFCon:
		s.stopped = false
		s.dirty = true
	case msgPN:
		p, err := parseParameters(m.value)
		if err != nil {
			return err
		}
		answer.value = s.negotiate(p).value()
	case msgRPN:
		if len(m.value) == 0 {
			return fmt.Errorf("%w: RPN without DLCI", errMessage)
		}
		if len(m.value) == 1 {
			answer.value = portSettings(m.value[0])
		}
	case msgCLD:
		s.answer(answer)
		s.end(nil)
		return nil
	default:
		answer = message{typ: msgNSC, value: []byte{m.typeOctet()}}
	}
	s.answer(answer)
	return nil
}

// answer queues a response, if the peer reads those before.
func (s *station) answer(m message) {
	if len(s.ctl) < maxControlQueue {
		s.message(m)
	}
}

// dlc gives the DLC of a number from the line.
func (s *station) dlc(dlci int) *DLC {
	if dlci < 1 || dlci > highestDLCI {
		return nil
	}
	return s.dlcs[dlci]
}

// negotiate settles what a PN command asks for: frame type UIH, convergence layer 1
// and the smaller N1 (clause 5.4.6.3.1). Priority, T1, N2 and k are confirmed as they
// are: the order of sending is that of package mux (see nextDLC), T1 and N2 are the
// peer's own timers, and k belongs to the error recovery mode.
func (s *station) negotiate(p parameters) parameters {
	if p.n1 <= s.tail() || p.n1 > s.cfg.N1 {
		p.n1 = s.cfg.N1
	}
	p.frames = 0
	p.priority &= 63
	p.k &= 7
	s.agree(p.dlci, p.n1)
	return p
}

// agree makes n1 the longest information field sent on a DLC.
func (s *station) agree(dlci, n1 int) {
	if dlci < 1 || dlci > highestDLCI {
		return
	}
	s.n1[dlci] = n1
	if d := s.dlcs[dlci]; d != nil {
		d.n1 = n1
	}
}

// handleResponse takes the peer's response to a command of ours.
func (s *station) handleResponse(m message, now time.Time) error {
	s.answers[m.typ] = true
	s.lively[m.typ] = true
	switch m.typ {
	case msgMSC:
		status, err := parseModemStatus(m.value)
		if err != nil {
			return err
		}
		if d := s.dlc(status.dlci); d != nil {
			s.statusConfirmed(d, status.signals)
		}
	case msgPN:
		p, err := parseParameters(m.value)
		if err != nil {
			return err
		}
		d := s.dlc(p.dlci)
		if d == nil || d.state != dlcNegotiating {
			return nil
		}
		if p.n1 > s.tail() && p.n1 <= s.cfg.N1 {
			s.agree(p.dlci, p.n1)
		}
		s.forget(msgPN, d)
		s.connect(d, now)
	case msgCLD:
		if s.waiting(msgCLD) {
			s.end(nil)
		}
	case msgNSC:
		s.notSupported(m.value, now)
	default:
		s.forget(m.typ, nil)
	}
	return nil
}

// statusConfirmed ends the waiting for an MSC response. One that still shows the
// other state of FC answers an older command.
func (s *station) statusConfirmed(d *DLC, signals byte) {
	s.use(d)
	if (signals^d.signals())&signalFC != 0 {
		return
	}
	s.forget(msgMSC, d)
	if d.fc && d.overrunAt == overrunLimit {
		d.overrunAt = min(d.rx.len()+overrunConfirmed, overrunLimit)
	}
}

// notSupported takes an NSC response, which names the type of the command. A Test
// answered so is an answer. Which DLC a PN was for is not told: the oldest.
func (s *station) notSupported(value []byte, now time.Time) {
	if len(value) == 0 {
		return
	}
	t := messageType(value[0]&^bitCR | bitEA)
	for _, c := range s.commands {
		if c.typ != t {
			continue
		}
		delete(s.answers, t)
		s.lively[t] = true // in its way
		if t == msgTest {
			s.forget(t, nil)
		} else {
			s.unanswered(c, now)
		}
		return
	}
}
