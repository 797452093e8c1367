package mux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The payload check is an addition of ours to TS 27.010, whose FCS covers only the header of a UIH frame. With it the
// information field of every UIH frame ends in a CRC-32 (IEEE, most significant octet first):
//
//	user DLC: data | CRC-32 over all data of the DLC in this direction since it was opened
//	DLCI 0:   messages | CRC-32 over the messages of this frame
//
// Both sums begin with two octets that are not sent: the DLCI and the role of the sender (0 initiator, 1 responder). So a
// changed octet, and a frame lost, repeated, put in another place or on another DLC fail the check of this frame or of
// the next. A frame without data tells the last sum: it comes before the DISC of an orderly end, and no other end is one.
//
// A user DLC whose check fails is torn (DM and DISC) and none of the frame is delivered. On DLCI 0 the frame is dropped,
// and the peer, which gets no response, asks again.
const checkLen = 4

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
func seed(dlci int, sender Role) uint32 {
	return crc32.ChecksumIEEE([]byte{byte(dlci), byte(sender)})
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
	return messages, err == nil && sum(seed(0, s.peerRole()), messages) == want
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
	d.rxSum = sum(d.rxSum, data)
	d.rxEnded = len(data) == 0
	return data, d.rxSum == want
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
	if s.cfg.Check && d.opened && !d.rxEnded {
		return fmt.Errorf("DLC %d closed, its end is missing: %w", d.dlci, ErrCheck)
	}
	return orderly
}
