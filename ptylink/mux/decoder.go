package mux

import (
	"bytes"
	"errors"
)

var (
	// errIncomplete means that more octets decide.
	errIncomplete = errors.New("incomplete frame")
	// errReject means that no further octet can make this a valid frame.
	errReject = errors.New("invalid frame")
)

// decoder finds frames in octets that arrive in any split. What is no valid frame
// is dropped without an answer (TS 27.010 clause 5.2.3), and the search for the
// next flag begins inside the dropped octets: a damaged length octet costs the
// damaged frame, never the good ones that it claims.
type decoder struct {
	advanced bool
	n1       int // longest information field taken

	buf     []byte // octets fed; those before pos are used up
	pos     int
	synced  bool // a flag stands before pos
	expired bool // no more octets will come for the frame at pos
	content []byte
	decided int // frames given out or dropped so far
	dropped int
	junk    int // octets that were part of no valid frame, flags not counted
}

// feed adds octets from the line. Frames given out before become invalid.
func (d *decoder) feed(p []byte) {
	d.buf = d.buf[:copy(d.buf, d.buf[d.pos:])]
	d.pos = 0
	d.expired = false
	d.buf = append(d.buf, p...)
}

// partial tells whether the start of a frame waits for its end.
func (d *decoder) partial() bool { return d.synced && d.pos < len(d.buf) }

// expire gives up the frame whose end did not come. next may then find complete
// frames among its octets.
func (d *decoder) expire() { d.expired = true }

// hides tells whether giving up the frame whose end did not come would bring out a whole one.
func (d *decoder) hides() bool {
	probe := *d
	probe.content = nil
	probe.expired = true
	_, ok := probe.next()
	return ok
}

// next gives the next frame. Its info is valid until the next call of next or feed.
func (d *decoder) next() (frame, bool) {
	for d.sync() {
		var f frame
		var n int
		var err error
		if d.advanced {
			f, n, err = d.parseAdvanced(d.buf[d.pos:])
		} else {
			f, n, err = parseBasic(d.buf[d.pos:], d.n1)
		}
		d.pos += n
		switch {
		case err == nil:
			d.decided++
			return f, true
		case err == errIncomplete && (!d.expired || d.pos == len(d.buf)):
			return frame{}, false
		}
		d.decided++
		d.dropped++
		d.junk += n
		// The octet at pos is the first after a flag, so the search cannot find
		// the same start again. A closing flag that was used up stays in force.
		d.synced = n > 0
	}
	return frame{}, false
}

// sync moves pos behind the next flag, and behind a run of flags.
func (d *decoder) sync() bool {
	flag := byte(flagBasic)
	if d.advanced {
		flag = flagAdvanced
	}
	if !d.synced {
		i := bytes.IndexByte(d.buf[d.pos:], flag)
		if i < 0 {
			d.junk += len(d.buf) - d.pos
			d.pos = len(d.buf)
			return false
		}
		d.junk += i
		d.pos += i + 1
		d.synced = true
	}
	for d.pos < len(d.buf) && d.buf[d.pos] == flag {
		d.pos++
	}
	return true
}

// parseBasic reads one frame of the basic option from the octet after its opening
// flag. It gives the number of octets used, the closing flag included, which may
// be the next frame's opening flag. On an error it has used none.
func parseBasic(b []byte, n1 int) (frame, int, error) {
	if len(b) < 1 {
		return frame{}, 0, errIncomplete
	}
	if b[0]&bitEA == 0 {
		return frame{}, 0, errReject
	}
	if len(b) < 2 {
		return frame{}, 0, errIncomplete
	}
	f := header(b)
	if !f.typ.known() {
		return frame{}, 0, errReject
	}
	length, start, err := basicLength(b)
	if err != nil {
		return frame{}, 0, err
	}
	if length > n1 {
		return frame{}, 0, errReject
	}
	end := start + length // of the information; the FCS and the flag follow
	if len(b) <= end {
		return frame{}, 0, errIncomplete
	}
	sum := fcsSum(fcsStart, b[:start])
	if f.typ != frameUIH {
		sum = fcsSum(sum, b[start:end])
	}
	if fcsSum(sum, b[end:end+1]) != fcsGood {
		return frame{}, 0, errReject
	}
	if len(b) <= end+1 {
		return frame{}, 0, errIncomplete
	}
	if b[end+1] != flagBasic {
		return frame{}, 0, errReject
	}
	f.info = b[start:end:end]
	return f, end + 2, nil
}

// header reads address and control octet.
func header(b []byte) frame {
	return frame{
		dlci: int(b[0] >> 2),
		cr:   b[0]&bitCR != 0,
		typ:  frameType(b[1] &^ bitPF),
		pf:   b[1]&bitPF != 0,
	}
}

// basicLength reads the length field, of one octet or two (clause 5.2.1.5), and
// gives the offset of the information field.
func basicLength(b []byte) (length, start int, err error) {
	if len(b) < 3 {
		return 0, 0, errIncomplete
	}
	length = int(b[2] >> 1)
	if b[2]&bitEA != 0 {
		return length, 3, nil
	}
	if len(b) < 4 {
		return 0, 0, errIncomplete
	}
	return length | int(b[3])<<7, 4, nil
}

// parseAdvanced reads one frame of the advanced option from the octet after its
// opening flag. It uses up the frame and its closing flag, valid or not.
func (d *decoder) parseAdvanced(b []byte) (frame, int, error) {
	longest := d.n1 + 3 // address, control, information, FCS
	end := bytes.IndexByte(b, flagAdvanced)
	if end < 0 {
		if len(b) > 2*longest {
			return frame{}, 0, errReject
		}
		return frame{}, 0, errIncomplete
	}
	d.content = d.content[:0]
	for i := 0; i < end; i++ {
		o := b[i]
		if o == escape {
			i++
			if i == end { // escape and flag: the sender gave the frame up
				return frame{}, end + 1, errReject
			}
			o = b[i] ^ escapeBit
		}
		d.content = append(d.content, o)
	}
	c := d.content
	if len(c) < 3 || len(c) > longest || c[0]&bitEA == 0 {
		return frame{}, end + 1, errReject
	}
	f := header(c)
	last := len(c) - 1
	f.info = c[2:last:last]
	sum := fcsSum(fcsStart, c[:2])
	if f.typ != frameUIH {
		sum = fcsSum(sum, f.info)
	}
	if !f.typ.known() || fcsSum(sum, c[last:]) != fcsGood {
		return frame{}, end + 1, errReject
	}
	return f, end + 1, nil
}
