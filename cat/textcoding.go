package cat

import (
	"fmt"
	"slices"
	"unicode/utf16"
)

// Known reports whether the data coding scheme says how to read the text (3GPP TS 23.038 clause 4): the general group without
// compression, or the group of data coding and message class, with one of the three alphabets.
func (t Text) Known() bool {
	switch {
	case t.DCS&0xE0 == 0x00:
		return t.DCS&0x0C != 0x0C
	case t.DCS&0xF0 == 0xF0:
		return t.DCS&0x08 == 0
	}
	return false
}

// CodeText codes s by a data coding scheme. An error names the character that its alphabet has not.
func CodeText(dcs byte, s string) (Text, error) {
	t := Text{DCS: dcs}
	if !t.Known() {
		return t, fmt.Errorf("cat: data coding scheme %02X is not known", dcs)
	}
	if dcs&0x0C == 0x08 {
		for _, u := range utf16.Encode([]rune(s)) {
			t.Data = append(t.Data, byte(u>>8), byte(u))
		}
		return t, nil
	}
	characters, err := gsmCharacters(s)
	if err != nil || dcs&0x0C == 0x04 {
		t.Data = characters
		return t, err
	}
	if len(characters)%8 == 7 { // seven spare bits would read as one more character: clause 6.1.2.3.1 fills them with CR
		characters = append(characters, '\r')
	}
	t.Data = pack7(characters, 0)
	return t, nil
}

// gsmCharacters codes s in the GSM default alphabet, one octet a character.
func gsmCharacters(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		i := slices.Index(gsmAlphabet, r)
		if i < 0 {
			return nil, fmt.Errorf("cat: %q is not in the GSM default alphabet", r)
		}
		b = append(b, byte(i))
	}
	return b, nil
}

// pack7 packs characters of 7 bits behind a number of fill bits, 0 to 6 (3GPP TS 23.038 clause 6.1.2.1).
func pack7(characters []byte, fill int) []byte {
	out := make([]byte, 0, (len(characters)*7+fill+7)/8)
	acc, bits := uint(0), fill
	for _, c := range characters {
		acc |= uint(c&0x7F) << bits
		for bits += 7; bits >= 8; bits -= 8 {
			out = append(out, byte(acc))
			acc >>= 8
		}
	}
	if bits > 0 && len(characters) > 0 {
		out = append(out, byte(acc))
	}
	return out
}
