package softuicc

import (
	"context"

	"bipd/uicc"
)

// Respond gives the response APDU of a card as it comes under T=1, which carries APDUs whole (ISO/IEC 7816-3 clause 12.4,
// ETSI TS 102 221 clause 7.3.1.2): the card has no GET RESPONSE and no 6Cxx for data that is shorter than Le, and a command
// without Le brings none. Errors are those of card.Transmit; what is no command APDU of the short form is answered 6700.
func Respond(ctx context.Context, card uicc.Card, capdu []byte) ([]byte, error) {
	m, err := uicc.ParseCommand(capdu)
	if err != nil {
		return []byte{byte(swWrongLength >> 8), byte(swWrongLength & 0xFF)}, nil
	}
	ask := func(b []byte) (data []byte, sw uint16, err error) {
		r, err := card.Transmit(ctx, b)
		if err != nil {
			return nil, 0, err
		}
		n := len(r) - 2
		return r[:n:n], uint16(r[n])<<8 | uint16(r[n+1]), nil
	}
	data, sw, err := ask(capdu)
	if n := int(sw&0xFF+0xFF)%256 + 1; err == nil && sw&0xFF00 == swExactLength && len(m.Data) == 0 && n <= m.Le {
		data, sw, err = ask([]byte{m.CLA, m.INS, m.P1, m.P2, byte(n)})
	}
	if err != nil {
		return nil, err
	}
	if announced, warning := sw>>8 == 0x61 || sw>>8 == 0x9F, sw>>8 == 0x62 || sw>>8 == 0x63; announced || warning && len(m.Data) > 0 {
		get := []byte{m.CLA, insGetResponse, 0, 0, byte(sw)}
		if m.CLA != 0xA0 {
			get[0] &^= 0x80
		}
		if warning {
			get[4] = 0
		}
		more, last, err := ask(get)
		if err == nil && last&0xFF00 == swExactLength {
			get[4] = byte(last)
			more, last, err = ask(get)
		}
		if err != nil {
			return nil, err
		}
		data = append(data, more...)
		if announced || last>>8 == 0x91 {
			sw = last
		}
	}
	return append(data[:min(len(data), m.Le)], byte(sw>>8), byte(sw)), nil
}
