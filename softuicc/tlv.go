package softuicc

import "fmt"

// object is one COMPREHENSION-TLV as the card itself reads it (ETSI TS 101 220 clause 7.1.1).
type object struct {
	tag   uint16 // without the comprehension required flag
	value []byte
}

// nextObject cuts the first object off b, which is not empty. The error says which octet is wrong, for people.
func nextObject(b []byte) (o object, rest []byte, err error) {
	switch b[0] {
	case 0x00, 0x80, 0xFF:
		return o, nil, fmt.Errorf("%02X is no tag", b[0])
	case 0x7F:
		if len(b) < 3 {
			return o, nil, fmt.Errorf("three-byte tag is cut short")
		}
		o.tag = uint16(b[1]&0x7F)<<8 | uint16(b[2])
		if o.tag < 0x7F {
			return o, nil, fmt.Errorf("tag %02X is in the three-byte form, one octet has room for it", o.tag)
		}
		b = b[3:]
	default:
		o.tag = uint16(b[0] & 0x7F)
		b = b[1:]
	}
	n, header, err := berLength(b)
	if err != nil {
		return o, nil, fmt.Errorf("object %02X: %w", o.tag, err)
	}
	b = b[header:]
	if n > len(b) {
		return o, nil, fmt.Errorf("object %02X: length %d, only %d octets left", o.tag, n, len(b))
	}
	o.value = b[:n:n]
	return o, b[n:], nil
}

// berLength reads a length and the number of octets that spell it. It wants the shortest form.
func berLength(b []byte) (n, header int, err error) {
	switch {
	case len(b) == 0:
		return 0, 0, fmt.Errorf("no length")
	case b[0] < 0x80:
		return int(b[0]), 1, nil
	case b[0] == 0x81 && len(b) > 1:
		n, header = int(b[1]), 2
	case b[0] == 0x82 && len(b) > 2:
		n, header = int(b[1])<<8|int(b[2]), 3
	default:
		return 0, 0, fmt.Errorf("length %02X is cut short or unknown", b[0])
	}
	if n < 0x80 || header == 3 && n < 0x100 {
		return 0, 0, fmt.Errorf("length %d in %d octets is not the shortest form", n, header)
	}
	return n, header, nil
}

// objects is a list of objects in a space of its own, so that reading one costs no allocation.
type objects struct {
	list [24]object
	n    int
}

// readObjects splits b. It stops at the first mistake and keeps what it has.
func (l *objects) read(b []byte) error {
	l.n = 0
	for len(b) > 0 {
		o, rest, err := nextObject(b)
		if err != nil {
			return err
		}
		if l.n == len(l.list) {
			return fmt.Errorf("more than %d objects", len(l.list))
		}
		l.list[l.n] = o
		l.n++
		b = rest
	}
	return nil
}

func (l *objects) all() []object { return l.list[:l.n] }

// find returns the value of the first object with the tag; ok is false without one.
func (l *objects) find(tag uint16) (value []byte, ok bool) {
	for _, o := range l.all() {
		if o.tag == tag {
			return o.value, true
		}
	}
	return nil, false
}

// template cuts the content out of a BER-TLV with a one-octet tag that fills b.
func template(b []byte) (tag byte, content []byte, err error) {
	if len(b) < 2 {
		return 0, nil, fmt.Errorf("no BER-TLV")
	}
	n, header, err := berLength(b[1:])
	if err != nil {
		return b[0], nil, err
	}
	content = b[1+header:]
	if n != len(content) {
		return b[0], content, fmt.Errorf("template %02X: length %d, %d octets follow", b[0], n, len(content))
	}
	return b[0], content, nil
}

// Tags of objects (ETSI TS 102 223 clause 9.3), in the judge's own words.
const (
	tagDetails       = 0x01
	tagDevices       = 0x02
	tagResult        = 0x03
	tagDuration      = 0x04
	tagTPDU          = 0x0B
	tagLocationInfo  = 0x13
	tagIMEI          = 0x14
	tagEventList     = 0x19
	tagLocation      = 0x1B
	tagTimerID       = 0x24
	tagTimerValue    = 0x25
	tagDateTime      = 0x26
	tagLanguage      = 0x2D
	tagBearer        = 0x35
	tagData          = 0x36
	tagDataLength    = 0x37
	tagChannelStatus = 0x38
	tagBufferSize    = 0x39
	tagTransport     = 0x3C
	tagAddress       = 0x3E
	tagTechnology    = 0x3F
	tagDNSServer     = 0x40
	tagIMEISV        = 0x62
)

// Types of commands (ETSI TS 102 223 clause 9.4), in the judge's own words.
const (
	typeRefresh        = 0x01
	typePollInterval   = 0x03
	typeSetUpEventList = 0x05
	typeLocalInfo      = 0x26
	typeTimer          = 0x27
	typeOpen           = 0x40
	typeClose          = 0x41
	typeReceive        = 0x42
	typeSend           = 0x43
	typeChannelStatus  = 0x44
)
