package cat

// SMSPacking is the qualifier bit of SEND SHORT MESSAGE (clause 8.6): the terminal is to pack the text into 7 bits a character.
const SMSPacking byte = 0x01

// SendShortMessage hands over a short message to send (clause 6.6.9).
type SendShortMessage struct {
	Alpha         *Alpha
	Address       *Address // of the service centre; nil = the terminal's own
	TPDU          []byte   // SMS-SUBMIT or SMS-COMMAND (3GPP TS 23.040 clause 9.2.2)
	Icon          []byte   // clause 8.31, 2 octets
	TextAttribute []byte   // clause 8.72
	Frame         []byte   // clause 8.80, 1 octet
}

func (s *SendShortMessage) Type() CommandType { return TypeSendShortMessage }

func (s *SendShortMessage) setObject(t TLV, _ []TLV) (bool, error) {
	switch t.Tag {
	case TagAlphaIdentifier:
		s.Alpha = &Alpha{t.Value}
	case TagAddress:
		a, err := parseAddress(t.Value)
		s.Address = &a
		return true, err
	case TagSMSTPDU:
		s.TPDU = t.Value
	case TagIconIdentifier:
		s.Icon = t.Value
	case TagTextAttribute:
		s.TextAttribute = t.Value
	case TagFrameIdentifier:
		s.Frame = t.Value
	default:
		return false, nil
	}
	return true, nil
}

func (s *SendShortMessage) appendObjects(dst []TLV) []TLV {
	if s.Alpha != nil {
		dst = append(dst, s.Alpha.tlv(true))
	}
	if s.Address != nil {
		dst = append(dst, s.Address.tlv(true))
	}
	dst = append(dst, TLV{TagSMSTPDU, true, s.TPDU})
	for _, o := range []TLV{{TagIconIdentifier, false, s.Icon}, {TagTextAttribute, false, s.TextAttribute}, {TagFrameIdentifier, false, s.Frame}} {
		if o.Value != nil {
			dst = append(dst, o)
		}
	}
	return dst
}

func (s *SendShortMessage) check(byte) error {
	switch {
	case s.TPDU == nil:
		return valuesMissing("no SMS TPDU")
	case len(s.TPDU) == 0:
		return notUnderstood("empty SMS TPDU")
	}
	return nil
}
