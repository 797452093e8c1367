package mux

import "time"

// atDLCI is the DLC that carries AT commands.
const atDLCI = 1

// fill appends the frames that are next, as many as one write should hold. Control
// goes first; then one frame of DLC 1 and one of the data DLCs in turn, and so on. So
// an AT command waits for one data frame at most, and no DLC for another's whole queue.
func (s *station) fill(buf []byte, now time.Time) []byte {
	s.dirty = false
	for {
		buf = s.flushControl(buf)
		before := len(buf)
		if d := s.dlcs[atDLCI]; d != nil && d.sendable() {
			if s.full(buf) {
				break
			}
			buf = s.appendData(buf, d, now)
		}
		if d := s.nextDLC(); d != nil {
			if s.full(buf) {
				break
			}
			s.turn = d.dlci
			buf = s.appendData(buf, d, now)
		}
		if len(buf) == before {
			return s.flushControl(buf)
		}
	}
	s.dirty = true
	return buf
}

func (s *station) flushControl(buf []byte) []byte {
	buf = append(buf, s.ctl...)
	s.ctl = s.ctl[:0]
	return buf
}

// full tells whether one more frame would make the write too long.
func (s *station) full(buf []byte) bool {
	return len(buf) > 0 && len(buf)+s.cfg.N1+overhead > s.cfg.WriteSize
}

// nextDLC gives the data DLC whose turn it is.
func (s *station) nextDLC() *DLC {
	for i := range highestDLCI {
		dlci := (s.turn+i)%highestDLCI + 1
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
	info := d.tx.peek(d.n1)
	buf = s.appendFrame(buf, frame{dlci: d.dlci, typ: frameUIH, cr: s.commandCR(), info: info})
	d.tx.drop(len(info))
	if d.tx.len() <= s.cfg.WriteSize/2 {
		d.writable.Broadcast()
	}
	if d.state == dlcDraining && d.tx.len() == 0 {
		s.disconnect(d, now)
	}
	return buf
}
