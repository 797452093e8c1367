package mux

import (
	"bytes"
	"fmt"
	"time"
)

// What a peer is known to answer differs: some answer no Test (ofono answers it with PSC, Zephyr not at all), some no MSC.
// So silence to a question counts only where the peer has answered such a one before. Else it is asked the next question,
// and where none is left, silence is no end: whoever uses the multiplexer may know a better question, see Mux.Heard.

// alive notes a sign of life: what the peer sent.
func (s *station) alive(now time.Time) {
	s.heard = now
	s.forget(msgTest, nil)
	for _, c := range s.commands {
		c.life = false
	}
}

// question is the next one of the keep-alive; false is none. It is Test, then MSC for any DLC that is open.
func (s *station) question() (t messageType, d *DLC, ok bool) {
	if s.lively[msgTest] || !s.mute[msgTest] {
		return msgTest, nil, true
	}
	if s.lively[msgMSC] || !s.mute[msgMSC] {
		for _, d := range s.dlcs {
			if d != nil && d.state == dlcOpen {
				return msgMSC, d, true
			}
		}
	}
	return 0, nil, false
}

// asking tells whether a question of the keep-alive waits for its answer.
func (s *station) asking() bool {
	for _, c := range s.commands {
		if c.life {
			return true
		}
	}
	return false
}

// askForLife asks the next question.
func (s *station) askForLife(now time.Time) {
	t, d, ok := s.question()
	if !ok {
		return
	}
	var value []byte
	if t == msgTest {
		value = []byte("alive")
	}
	s.command(t, d, value, now)
	s.commands[len(s.commands)-1].life = true
}

// noLife follows a question that was not answered.
func (s *station) noLife(t messageType, now time.Time) {
	if s.lively[t] {
		s.end(fmt.Errorf("keep-alive by %v: %w", t, ErrTimeout))
		return
	}
	s.cfg.Log.Debug("mux: peer does not answer the keep-alive", "command", t.String())
	s.mute[t] = true
	s.askForLife(now)
}

// fromPeer tells by the C/R bit (clause 5.2.1.2) whether a frame is the peer's. One with the bit of this end is either an
// echo, or of a peer that gets the bit wrong in UIH frames, as some do.
func (s *station) fromPeer(f frame) bool {
	response := f.typ == frameUA || f.typ == frameDM
	return (f.cr == s.commandCR()) == response
}

// echoed tells whether a frame is one that this end has sent: SABM or DISC that the peer cannot have sent, or data with
// the wrong C/R bit though the peer is known to have it right.
func (s *station) echoed(f frame) bool {
	if s.fromPeer(f) {
		return false
	}
	d := s.dlc(f.dlci)
	switch f.typ {
	case frameSABM:
		return s.cfg.Role == Initiator || d != nil && d.state == dlcOpening
	case frameDISC:
		return s.cfg.Role == Initiator || d != nil && d.state == dlcClosing || f.dlci == 0 && !s.link.due.IsZero()
	case frameUIH, frameUI:
		return f.dlci > 0 && s.peerCR
	}
	return false
}

// ownCommand tells whether a control message that came with the C/R bit of this end is a command of this end, which waits
// for its response.
func (s *station) ownCommand(m message) bool {
	for _, c := range s.commands {
		if m.command && c.typ == m.typ && bytes.Equal(c.value, m.value) {
			return true
		}
	}
	return false
}

// answersUs tells whether a response is one that this end waits for.
func (s *station) answersUs(m message) bool {
	for _, c := range s.commands {
		if !m.command && (c.typ == m.typ || m.typ == msgNSC) {
			return true
		}
	}
	return false
}

// saysEcho tells once that the line echoes.
func (s *station) saysEcho() {
	if !s.echoes {
		s.echoes = true
		s.cfg.Log.Warn("mux: the line sends frames of this end back")
	}
}

// junkTime is how long octets that are no frame are counted before they are told.
const junkTime = 5 * time.Second

// babble counts octets that are no frame.
func (s *station) babble(octets int, now time.Time) {
	if octets > 0 && s.junk == 0 {
		s.junkDue = now.Add(junkTime)
		s.rearm = true
	}
	s.junk += octets
}

// tellJunk tells once what was counted.
func (s *station) tellJunk() {
	s.junkDue = time.Time{}
	if s.junk > 0 && !s.junkSaid {
		s.junkSaid = true
		s.cfg.Log.Warn("mux: octets that are no frame", "octets", s.junk)
	}
}
