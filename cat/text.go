package cat

import (
	"strings"
	"unicode/utf16"
)

// Text is the value of a Text string (clause 8.15): a data coding scheme, then characters. It may be a password: it
// prints as its length only, and Decode alone shows it.
type Text struct {
	DCS  byte // 00 GSM default alphabet packed in 7 bits, 04 8-bit, 08 UCS2 (3GPP TS 23.038 clause 4)
	Data []byte
}

func parseText(v []byte) Text {
	switch len(v) {
	case 0:
		return Text{}
	case 1: // a coding and nothing in it
		return Text{DCS: v[0]}
	}
	return Text{v[0], v[1:]}
}

func (t Text) tlv() TLV {
	if t.DCS == 0 && len(t.Data) == 0 {
		return TLV{TagTextString, false, nil}
	}
	return TLV{TagTextString, false, append([]byte{t.DCS}, t.Data...)}
}

// String hides the text.
func (t Text) String() string { return "***" }

// GoString hides the text.
func (t Text) GoString() string { return "***" }

// Decode returns the characters.
func (t Text) Decode() string {
	switch t.DCS & 0x0C {
	case 0x04:
		return gsmString(t.Data)
	case 0x08:
		return ucs2String(t.Data)
	}
	return strings.TrimSuffix(gsmString(unpack7(t.Data)), "\r")
}

// NewText codes s in the 8-bit alphabet, as cards send logins and passwords.
func NewText(s string) Text { return Text{0xF4, gsmBytes(s)} }

// Alpha is the value of an Alpha identifier (clause 8.2). Present and empty means: tell the user nothing.
type Alpha struct{ Data []byte }

// NewAlpha codes s in the GSM default alphabet, one octet a character; other characters become '?'.
func NewAlpha(s string) *Alpha { return &Alpha{gsmBytes(s)} }

// Decode returns the characters (ETSI TS 102 221 annex A: GSM default alphabet, or UCS2 after 80, 81 or 82).
func (a *Alpha) Decode() string {
	switch d := a.Data; {
	case len(d) == 0:
		return ""
	case d[0] == 0x80:
		return ucs2String(d[1:])
	case d[0] == 0x81 && len(d) >= 3:
		return halfPage(d[3:], d[1], uint16(d[2])<<7)
	case d[0] == 0x82 && len(d) >= 4:
		return halfPage(d[4:], d[1], uint16(d[2])<<8|uint16(d[3]))
	default:
		return gsmString(d)
	}
}

func (a *Alpha) tlv(cr bool) TLV { return TLV{TagAlphaIdentifier, cr, a.Data} }

func ucs2String(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return string(utf16.Decode(u))
}

// halfPage decodes n characters, of which those with bit 8 lie in the half page at base.
func halfPage(b []byte, n byte, base uint16) string {
	var s strings.Builder
	for _, c := range b[:min(len(b), int(n))] {
		if c&0x80 != 0 {
			s.WriteRune(rune(base + uint16(c&0x7F)))
		} else {
			s.WriteRune(gsmAlphabet[c])
		}
	}
	return s.String()
}

// gsmAlphabet is the GSM 7 bit default alphabet (3GPP TS 23.038 clause 6.2.1).
var gsmAlphabet = []rune("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")

func gsmString(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteRune(gsmAlphabet[c])
		} // above: padding (FF)
	}
	return s.String()
}

func gsmBytes(s string) []byte {
	b := make([]byte, 0, len(s))
next:
	for _, r := range s {
		for i, g := range gsmAlphabet {
			if g == r {
				b = append(b, byte(i))
				continue next
			}
		}
		b = append(b, '?')
	}
	return b
}

func unpack7(b []byte) []byte {
	out := make([]byte, 0, len(b)*8/7)
	acc, bits := uint(0), 0
	for _, o := range b {
		acc |= uint(o) << bits
		bits += 8
		for bits >= 7 {
			out = append(out, byte(acc&0x7F))
			acc >>= 7
			bits -= 7
		}
	}
	return out
}
