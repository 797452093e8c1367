package cat

import (
	"errors"
	"fmt"
	"time"
)

// Bits of the first octet of an SMS TPDU (3GPP TS 23.040 clause 9.2.3).
const (
	smsTypeMask   byte = 0x03 // TP-MTI
	smsDeliver    byte = 0x00
	smsSubmit     byte = 0x01
	smsNoMore     byte = 0x04 // TP-MMS of SMS-DELIVER: no more messages wait
	smsHeader     byte = 0x40 // TP-UDHI: the user data begins with a header
	smsValidity   byte = 0x18 // TP-VPF of SMS-SUBMIT
	smsValidShort byte = 0x10 // one octet; the other formats have seven
)

// maxUserData are the octets of user data in one short message, with the header (clause 9.2.3.24).
const maxUserData = 140

// Protocol identifiers and data coding schemes of messages for the card itself (clause 9.2.3.9; 3GPP TS 23.038 clause 4).
const (
	PIDDataDownload byte = 0x7F // (U)SIM data download
	DCSDataDownload byte = 0xF6 // 8-bit data, class 2: for the card
)

// Deliver is an SMS-DELIVER (3GPP TS 23.040 clause 9.2.2.1): a short message from the network to the card.
type Deliver struct {
	From   Address // originating address, with at most 20 digits
	PID    byte    // protocol identifier
	DCS    byte    // data coding scheme
	Time   time.Time
	Header []byte // user data header without its length; nil = none
	Data   []byte // octets behind the header; instead of Text
	Text   string // characters behind the header, coded as DCS says
}

// TPDU builds the SMS-DELIVER. An error says what does not fit.
func (d Deliver) TPDU() ([]byte, error) {
	first := smsDeliver | smsNoMore
	var data []byte
	if d.Header != nil {
		if len(d.Header) > 0xFF {
			return nil, fmt.Errorf("cat: a user data header of %d octets", len(d.Header))
		}
		first |= smsHeader
		data = append([]byte{byte(len(d.Header))}, d.Header...)
	}
	data, length, err := d.userData(data)
	if err != nil {
		return nil, err
	}
	if len(data) > maxUserData {
		return nil, fmt.Errorf("cat: %d octets of user data; one short message has room for %d", len(data), maxUserData)
	}
	from, err := addressField(d.From)
	if err != nil {
		return nil, err
	}
	b := append(append([]byte{first}, from...), d.PID, d.DCS)
	b = append(append(b, dateTime(d.Time)...), byte(length))
	return append(b, data...), nil
}

// userData appends data or text to the header and gives the length as TP-UDL has it: in characters of 7 bits, else in octets.
func (d Deliver) userData(header []byte) (data []byte, length int, err error) {
	packed := isDefaultAlphabet(d.DCS)
	if d.Data != nil {
		if d.Text != "" {
			return nil, 0, errors.New("cat: a short message with both data and text")
		}
		data = append(header, d.Data...)
		if packed {
			return data, len(data) * 8 / 7, nil
		}
		return data, len(data), nil
	}
	if !packed {
		text, err := CodeText(d.DCS, d.Text)
		data = append(header, text.Data...)
		return data, len(data), err
	}
	characters, err := gsmCharacters(d.Text)
	if err != nil {
		return nil, 0, err
	}
	data, length = packBehind(header, characters)
	return data, length, nil
}

// packBehind packs characters behind a header, from the next boundary of a character on (clause 9.2.3.24), and counts all in
// characters.
func packBehind(header, characters []byte) (data []byte, length int) {
	used := (len(header)*8 + 6) / 7 // characters that the header takes
	fill := used*7 - len(header)*8
	return append(header, pack7(characters, fill)...), used + len(characters)
}

// isDefaultAlphabet reports whether user data under the data coding scheme is characters of 7 bits (3GPP TS 23.038 clause 4), as
// it also is where the scheme is reserved.
func isDefaultAlphabet(dcs byte) bool {
	alphabet := dcs >> 2 & 0x03
	switch {
	case dcs&0x80 == 0x00: // general groups: compressed text is octets
		return dcs&0x20 == 0 && (alphabet == 0 || alphabet == 3)
	case dcs&0xF0 == 0xF0: // data coding and message class
		return alphabet&1 == 0
	}
	return dcs&0xF0 != 0xE0 // message waiting, UCS2
}

// addressField is an address as TPDUs have it (clause 9.1.2.5): the number of digits, type, digits.
func addressField(a Address) ([]byte, error) {
	if len(a.Number) > 20 {
		return nil, fmt.Errorf("cat: an address of %d digits; a short message has room for 20", len(a.Number))
	}
	return appendDigits([]byte{byte(len(a.Number)), a.TONNPI | 0x80}, a.Number), nil
}

// errTPDU says that an SMS-SUBMIT is shorter than it says.
var errTPDU = errors.New("cat: SMS TPDU is cut off")

// PackSubmit packs the text of an SMS-SUBMIT that has one octet a character into 7 bits a character, as SEND SHORT MESSAGE asks for by
// its qualifier (clause 6.4.10). Length and data coding scheme become those of the default alphabet.
func PackSubmit(tpdu []byte) ([]byte, error) {
	if len(tpdu) < 3 {
		return nil, errTPDU
	}
	if tpdu[0]&smsTypeMask != smsSubmit {
		return nil, errors.New("cat: only an SMS-SUBMIT has a text to pack")
	}
	dcs := 3 + 1 + (int(tpdu[2])+1)/2 + 1 // behind first octet, reference, destination and protocol identifier
	length := dcs + 1
	switch tpdu[0] & smsValidity {
	case 0:
	case smsValidShort:
		length++
	default:
		length += 7
	}
	if length >= len(tpdu) {
		return nil, errTPDU
	}
	data := tpdu[length+1:]
	if int(tpdu[length]) != len(data) || len(data) > maxUserData+20 {
		return nil, fmt.Errorf("cat: user data of %d octets, but a length of %d", len(data), tpdu[length])
	}
	headed := 0
	if tpdu[0]&smsHeader != 0 {
		if len(data) == 0 || int(data[0])+1 > len(data) {
			return nil, errTPDU
		}
		headed = int(data[0]) + 1
	}
	packed, n := packBehind(append([]byte{}, data[:headed]...), data[headed:])
	if n > 160 {
		return nil, fmt.Errorf("cat: a text of %d characters; one short message has room for 160", n)
	}
	out := append([]byte{}, tpdu[:length]...)
	out[dcs] &^= 0x0C
	return append(append(out, byte(n)), packed...), nil
}
