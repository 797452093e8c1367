package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// The payload check is an addition of ours to TS 27.010, whose FCS covers only the header of a UIH frame. With it the
// information field of every UIH frame ends in a CRC-32 (IEEE, most significant octet first):
//
//	user DLC: data | CRC-32 over all data of the DLC in this direction since it was opened
//	DLCI 0:   messages | CRC-32 over the messages of this frame
//
// Every sum begins with ten octets that are not sent: DLCI, role of the sender (0 initiator, 1 responder), Config.Key, and
// the number of the opening (0 on DLCI 0), both in four octets. Whoever opens a DLC counts: the SABM carries the number of
// the opening as its information field, and the UA repeats it. So a changed octet, a frame lost, repeated, put in another
// place or on another DLC, and a frame of an earlier opening or multiplexer fail the check of this frame or of the next.
//
// A frame without data tells the last sum: as it is when the DLC has been quiet for a second, and again at growing
// intervals, so that the loss of the last frame is noticed; complemented before the DISC of an orderly end, and no other
// end is one.
//
// A user DLC whose check fails is torn (DM and DISC) and none of the frame is delivered. Where that happens to three one
// after the other, the multiplexer ends: the two ends may not agree. On DLCI 0 the frame is dropped, and the peer, which
// gets no response, asks again.
const checkLen = 4

const (
	tellFirst   = time.Second // silence of a DLC before its sum is told, doubled each time
	tellLongest = time.Minute
	mostTorn    = 3 // DLCs torn one after the other
)

// errCheckShort is an information field that has no room for a check.
var errCheckShort = errors.New("no check")

// tail is what the check adds to the information field of a UIH frame.
func (s *station) tail() int {
	if s.cfg.Check {
		return checkLen
	}
	return 0
}

// seed is the sum before the first octet.
func (s *station) seed(dlci int, sender Role, opening uint32) uint32 {
	b := binary.BigEndian.AppendUint32([]byte{byte(dlci), byte(sender)}, s.cfg.Key)
	return crc32.ChecksumIEEE(binary.BigEndian.AppendUint32(b, opening))
}

// begin makes d the DLC of an opening, from either side.
func (s *station) begin(d *DLC, opening uint32) {
	d.opening = opening
	d.txSum, d.rxSum = s.seed(d.dlci, s.cfg.Role, opening), s.seed(d.dlci, s.peerRole(), opening)
}

// nextOpening is the number of the next opening from this side. Those of the two sides differ.
func (s *station) nextOpening() uint32 {
	s.openings += 2
	return s.openings | uint32(s.cfg.Role)
}

// openingInfo is the information field of a SABM for d, and of the UA to it.
func (s *station) openingInfo(opening uint32) []byte {
	if !s.cfg.Check {
		return nil
	}
	return binary.BigEndian.AppendUint32(nil, opening)
}

// openingOf reads the information field of SABM or UA. A peer that sends none has opening 0.
func openingOf(f frame) uint32 {
	if len(f.info) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(f.info)
}

// peerRole is the other end's role.
func (s *station) peerRole() Role {
	if s.cfg.Role == Initiator {
		return Responder
	}
	return Initiator
}

// sum continues a sum over b.
func sum(start uint32, b []byte) uint32 { return crc32.Update(start, crc32.IEEETable, b) }

// appendSum appends the sum as it stands on the line.
func appendSum(dst []byte, sum uint32) []byte { return binary.BigEndian.AppendUint32(dst, sum) }

// cutCheck gives the data of an information field and the sum behind it.
func cutCheck(info []byte) (data []byte, want uint32, err error) {
	n := len(info) - checkLen
	if n < 0 {
		return nil, 0, errCheckShort
	}
	return info[:n], binary.BigEndian.Uint32(info[n:]), nil
}

// checkControl gives the messages of a frame on DLCI 0, if its check is right.
func (s *station) checkControl(info []byte) ([]byte, bool) {
	if !s.cfg.Check || len(info) == 0 {
		return info, true
	}
	messages, want, err := cutCheck(info)
	return messages, err == nil && sum(s.seed(0, s.peerRole(), 0), messages) == want
}

// checkData gives the data of a frame on d, if its check is right.
func (s *station) checkData(d *DLC, info []byte) ([]byte, bool) {
	if !s.cfg.Check {
		return info, true
	}
	data, want, err := cutCheck(info)
	if err != nil || d.rxEnded {
		return nil, false
	}
	if len(data) == 0 {
		d.rxEnded = want == ^d.rxSum
		return nil, d.rxEnded || want == d.rxSum
	}
	d.rxSum = sum(d.rxSum, data)
	if d.rxSum != want {
		return nil, false
	}
	if len(info) == s.cfg.N1 {
		s.torn = 0 // the two ends agree
	}
	return data, true
}

// checkFailed tears d, and ends everything where nothing else is torn any more.
func (s *station) checkFailed(d *DLC, now time.Time) {
	s.cfg.Log.Warn("mux: payload check failed, DLC closed", "dlci", d.dlci)
	s.abort(d, fmt.Errorf("DLC %d: %w", d.dlci, ErrCheck), now)
	if s.torn++; s.torn == mostTorn {
		s.end(fmt.Errorf("%d DLCs torn one after the other: %w", s.torn, ErrCheck))
	}
}

// quietSince has the sum of d told some time after its last data.
func (s *station) quietSince(d *DLC, now time.Time, wait time.Duration) {
	if !s.cfg.Check {
		return
	}
	if d.tellDue.IsZero() {
		s.rearm = true // else the timer comes too early, which does no harm
	}
	d.tellWait, d.tellDue = wait, now.Add(wait)
}

// tell tells the sum of a DLC that is quiet.
func (s *station) tell(d *DLC, now time.Time) {
	d.tellDue = time.Time{}
	if d.state != dlcOpen || d.tx.len() > 0 {
		return // what comes next tells it
	}
	if len(s.ctl) < maxControlQueue {
		s.sendSum(d, d.txSum)
	}
	s.quietSince(d, now, min(2*d.tellWait, tellLongest))
}

// sendSum sends a frame without data.
func (s *station) sendSum(d *DLC, sum uint32) {
	s.send(frame{dlci: d.dlci, typ: frameUIH, cr: s.commandCR(), info: appendSum(nil, sum)})
}

// withCheck gives the information field for data of d. It is valid until the next call.
func (s *station) withCheck(d *DLC, data []byte) []byte {
	if !s.cfg.Check {
		return data
	}
	d.txSum = sum(d.txSum, data)
	s.checked = appendSum(append(s.checked[:0], data...), d.txSum)
	return s.checked
}

// endOfStream is how the peer's DISC ends d: in order, or torn where the check of the end is missing.
func (s *station) endOfStream(d *DLC, orderly error) error {
	if d.rxEnded {
		s.torn = 0
	}
	if s.cfg.Check && d.opened && !d.rxEnded {
		return fmt.Errorf("DLC %d closed, its end is missing: %w", d.dlci, ErrCheck)
	}
	return orderly
}
