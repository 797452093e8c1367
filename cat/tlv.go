package cat

import (
	"errors"
	"fmt"
)

// Tag is the tag of a COMPREHENSION-TLV without its comprehension required flag (ETSI TS 101 220 clause 7.1.1).
// Values above 7E need the three-byte form.
type Tag uint16

// TLV is one COMPREHENSION-TLV data object (ETSI TS 101 220 clause 7.1.1).
type TLV struct {
	Tag   Tag
	CR    bool // comprehension required: who does not understand the object must refuse the command
	Value []byte
}

// Reasons for which bytes are no COMPREHENSION-TLV list.
var (
	errTruncated = errors.New("cat: object is longer than the data")
	errTag       = errors.New("cat: reserved tag")
	errLength    = errors.New("cat: length of more than three octets")
)

// ParseTLVs splits b into its data objects, in order. The values share b's memory.
func ParseTLVs(b []byte) ([]TLV, error) {
	tlvs := make([]TLV, 0, 4) // commands of a transfer have no more
	for len(b) > 0 {
		t, rest, err := parseTLV(b)
		if err != nil {
			return tlvs, err
		}
		tlvs = append(tlvs, t)
		b = rest
	}
	return tlvs, nil
}

func parseTLV(b []byte) (t TLV, rest []byte, err error) {
	switch b[0] {
	case 0x00, 0x80, 0xFF: // clause 7.1.1.1: not used as the first octet of a tag
		return t, nil, fmt.Errorf("%w %02X", errTag, b[0])
	case 0x7F:
		if len(b) < 3 {
			return t, nil, errTruncated
		}
		t.CR = b[1]&0x80 != 0
		t.Tag = Tag(b[1]&0x7F)<<8 | Tag(b[2])
		if t.Tag <= maxShortTag {
			return t, nil, fmt.Errorf("%w: %02X in the three-byte form", errTag, byte(t.Tag))
		}
		b = b[3:]
	default:
		t.CR = b[0]&0x80 != 0
		t.Tag = Tag(b[0] & 0x7F)
		b = b[1:]
	}
	t.Value, rest, err = splitLength(b)
	return t, rest, err
}

const maxShortTag = 0x7E

// splitLength reads a length (ETSI TS 101 220 clause 7.1.2: 00-7F, 81 LL, 82 LL LL or 83 LL LL LL) and cuts that many octets off.
func splitLength(b []byte) (value, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, errTruncated
	}
	n, octets := int(b[0]), 0
	if b[0] >= 0x80 {
		octets = int(b[0] & 0x7F)
		if octets < 1 || octets > 3 {
			return nil, nil, errLength
		}
		if len(b) < 1+octets {
			return nil, nil, errTruncated
		}
		n = 0
		for _, o := range b[1 : 1+octets] {
			n = n<<8 | int(o)
		}
	}
	b = b[1+octets:]
	if n > len(b) {
		return nil, nil, errTruncated
	}
	return b[:n:n], b[n:], nil
}

// AppendTLV appends the object in its shortest form.
func AppendTLV(dst []byte, t TLV) []byte {
	cr := byte(0)
	if t.CR {
		cr = 0x80
	}
	if t.Tag > maxShortTag {
		dst = append(dst, 0x7F, cr|byte(t.Tag>>8), byte(t.Tag))
	} else {
		dst = append(dst, cr|byte(t.Tag))
	}
	return append(appendLength(dst, len(t.Value)), t.Value...)
}

// AppendTLVs appends the objects in order.
func AppendTLVs(dst []byte, tlvs []TLV) []byte {
	for _, t := range tlvs {
		dst = AppendTLV(dst, t)
	}
	return dst
}

func appendLength(dst []byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(dst, byte(n))
	case n < 0x100:
		return append(dst, 0x81, byte(n))
	case n < 0x10000:
		return append(dst, 0x82, byte(n>>8), byte(n))
	default:
		return append(dst, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
}

// Find returns the first object with the tag.
func Find(tlvs []TLV, tag Tag) (TLV, bool) {
	for _, t := range tlvs {
		if t.Tag == tag {
			return t, true
		}
	}
	return TLV{}, false
}

// parseTemplate cuts one BER-TLV with a one-octet tag (ETSI TS 101 220 clause 7.2: D0..DF here) off b; nothing may follow it.
func parseTemplate(b []byte) (tag byte, value []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errTruncated
	}
	value, rest, err := splitLength(b[1:])
	if err != nil {
		return b[0], nil, err
	}
	if len(rest) > 0 {
		return b[0], nil, fmt.Errorf("cat: %d octets after the template", len(rest))
	}
	return b[0], value, nil
}

func appendTemplate(dst []byte, tag byte, value []byte) []byte {
	return append(appendLength(append(dst, tag), len(value)), value...)
}
