package mux

import "time"

// atDLCI is the DLC that carries AT commands.
const atDLCI = 1

// fill appends the frames that are next, as many as one write should hold: control
// first, then frames of DLC 1 and of the data DLCs by turns.
func (s *station) fill(buf []byte, now time.Time) []byte {
	s.dirty = false
	for {
		buf = s.flushControl(buf)
		if s.full(buf) {
			s.dirty = true
			return buf
		}
		d := s.nextDLC()
		if d == nil {
			return buf
		}
		buf = s.appendData(buf, d, now)
	}
}

// queueSize is how many octets a DLC takes ahead of the line: what one write holds, and two frames at least, so that one
// fills up while the other is sent.
func (s *station) queueSize() int { return max(s.cfg.WriteSize, 2*s.cfg.N1) }

func (s *station) flushControl(buf []byte) []byte {
	buf = append(buf, s.ctl...)
	s.ctl = s.ctl[:0]
	return buf
}

// full tells whether one more frame would make the write too long.
func (s *station) full(buf []byte) bool {
	return len(buf) > 0 && len(buf)+s.cfg.N1+overhead > s.cfg.WriteSize
}

// nextDLC gives the DLC that sends the next frame. DLC 1 goes first, but after one
// frame of it comes one of a data DLC. So an AT command waits for one data frame at
// most, and no DLC for another's whole queue.
func (s *station) nextDLC() *DLC {
	data := s.nextData()
	at := s.dlcs[atDLCI]
	if at != nil && at.sendable() && (data == nil || !s.atLast) {
		s.atLast = true
		return at
	}
	s.atLast = false
	if data != nil {
		s.turn = data.dlci
	}
	return data
}

// nextData gives the data DLC whose turn it is, if one has something to send.
func (s *station) nextData() *DLC {
	for i := range s.highest {
		dlci := (s.turn+i)%s.highest + 1
		if d := s.dlcs[dlci]; dlci != atDLCI && d != nil && d.sendable() {
			return d
		}
	}
	return nil
}

// sendable tells whether d has data and may send it.
func (d *DLC) sendable() bool {
	return (d.state == dlcOpen || d.state == dlcDraining) && d.tx.len() > 0 &&
		!d.peerStop && !d.s.stopped && d.holdUntil.IsZero()
}

// appendData takes one frame from the queue of d; after the last one of a closed DLC
// follows DISC.
func (s *station) appendData(buf []byte, d *DLC, now time.Time) []byte {
	data := d.tx.peek(d.n1 - s.tail())
	buf = s.appendFrame(buf, frame{dlci: d.dlci, typ: frameUIH, cr: s.commandCR(), info: s.withCheck(d, data)})
	d.tx.drop(len(data))
	s.quietSince(d, now, tellFirst)
	if d.tx.len() <= s.queueSize()-(d.n1-s.tail()) {
		d.writable.Broadcast() // now, so that the next frame but one is a full one
	}
	if d.state == dlcDraining {
		d.sent = now
		d.lingerDue = now.Add(lingerTime)
		if d.tx.len() == 0 {
			s.finish(d, now)
		}
	}
	return buf
}
