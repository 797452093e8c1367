package cat

import (
	"fmt"
	"strings"
)

// Address is a telephone number as the toolkit carries it (clause 8.1; 3GPP TS 24.008 clause 10.5.4.7): an octet with type of
// number and numbering plan, then digits, two an octet, the low half first.
type Address struct {
	TONNPI byte   // 91 international, 81 unknown; bit 8 is always set
	Number string // of 0-9 * # and a, b, c, which stand for the digits C to E
}

// addressDigits are the extended BCD digits; F pads.
const addressDigits = "0123456789*#abc"

// maxAddressDigits bounds what one octet can say of an address's length.
const maxAddressDigits = 2 * 0xFE

// NewAddress reads a number as people write it: a leading + makes it international.
func NewAddress(s string) (Address, error) {
	a := Address{0x81, s}
	if rest, ok := strings.CutPrefix(s, "+"); ok {
		a = Address{0x91, rest}
	}
	if a.Number == "" || strings.Trim(a.Number, addressDigits) != "" {
		return Address{}, fmt.Errorf("cat: %q is no telephone number", s)
	}
	if len(a.Number) > maxAddressDigits {
		return Address{}, fmt.Errorf("cat: a telephone number of %d digits", len(a.Number))
	}
	return a, nil
}

// String is the number as people write it.
func (a Address) String() string {
	if a.TONNPI&0x70 == 0x10 {
		return "+" + a.Number
	}
	return a.Number
}

// parseAddress reads the value of an Address. No octets at all mean no particular address.
func parseAddress(v []byte) (Address, error) {
	if len(v) == 0 {
		return Address{}, nil
	}
	number, err := parseDigits(v[1:])
	return Address{v[0], number}, err
}

// parseDigits reads extended BCD digits. Padding is allowed in the last half octet only.
func parseDigits(v []byte) (string, error) {
	var s strings.Builder
	for i, b := range v {
		lo, hi := b&0x0F, b>>4
		if lo == 0x0F || hi == 0x0F && i < len(v)-1 {
			return "", notUnderstood("address with padding in front of digits: %X", v)
		}
		s.WriteByte(addressDigits[lo])
		if hi != 0x0F {
			s.WriteByte(addressDigits[hi])
		}
	}
	return s.String(), nil
}

// appendDigits appends the digits of s, two an octet.
func appendDigits(dst []byte, s string) []byte {
	for i := 0; i < len(s); i += 2 {
		hi := byte(0x0F)
		if i+1 < len(s) {
			hi = byte(strings.IndexByte(addressDigits, s[i+1]))
		}
		dst = append(dst, hi<<4|byte(strings.IndexByte(addressDigits, s[i])))
	}
	return dst
}

func (a Address) tlv(cr bool) TLV {
	if a == (Address{}) {
		return TLV{TagAddress, cr, nil}
	}
	return TLV{TagAddress, cr, appendDigits([]byte{a.TONNPI}, a.Number)}
}
