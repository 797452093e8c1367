package cat

// Qualifier bits of DISPLAY TEXT (clause 8.6).
const (
	DisplayHighPriority byte = 0x01
	DisplayUntilCleared byte = 0x80 // until the user clears the text; clear = after a delay
)

// shownText is what DISPLAY TEXT and SET UP IDLE MODE TEXT have in common.
type shownText struct {
	Text          *Text
	Icon          []byte // clause 8.31, 2 octets
	TextAttribute []byte // clause 8.72
	Frame         []byte // clause 8.80, 1 octet
}

func (s *shownText) setObject(t TLV) bool {
	switch t.Tag {
	case TagTextString:
		text := parseText(t.Value)
		s.Text = &text
	case TagIconIdentifier:
		s.Icon = t.Value
	case TagTextAttribute:
		s.TextAttribute = t.Value
	case TagFrameIdentifier:
		s.Frame = t.Value
	default:
		return false
	}
	return true
}

func (s *shownText) appendHead(dst []TLV) []TLV {
	if s.Text != nil {
		t := s.Text.tlv()
		t.CR = true
		dst = append(dst, t)
	}
	if s.Icon != nil {
		dst = append(dst, TLV{TagIconIdentifier, false, s.Icon})
	}
	return dst
}

func (s *shownText) appendTail(dst []TLV) []TLV {
	if s.TextAttribute != nil {
		dst = append(dst, TLV{TagTextAttribute, false, s.TextAttribute})
	}
	if s.Frame != nil {
		dst = append(dst, TLV{TagFrameIdentifier, false, s.Frame})
	}
	return dst
}

// check wants a text, and one with characters beside an icon (clause 6.5.4).
func (s *shownText) check(byte) error {
	switch {
	case s.Text == nil:
		return valuesMissing("no text string")
	case s.Icon != nil && len(s.Text.Data) == 0:
		return notUnderstood("icon without a text")
	}
	return nil
}

// DisplayText shows a text (clause 6.6.1).
type DisplayText struct {
	shownText
	Immediate bool      // answer as soon as the text is shown
	Duration  *Duration // for how long
}

// NewDisplayText makes a text in the 8-bit alphabet.
func NewDisplayText(text string) *DisplayText {
	t := NewText(text)
	return &DisplayText{shownText: shownText{Text: &t}}
}

func (d *DisplayText) Type() CommandType { return TypeDisplayText }

func (d *DisplayText) setObject(t TLV, _ []TLV) (bool, error) {
	switch t.Tag {
	case TagImmediateResponse:
		if len(t.Value) != 0 {
			return true, notUnderstood("immediate response of %d octets", len(t.Value))
		}
		d.Immediate = true
	case TagDuration:
		v, err := parseDuration(t.Value)
		d.Duration = &v
		return true, err
	default:
		return d.shownText.setObject(t), nil
	}
	return true, nil
}

func (d *DisplayText) appendObjects(dst []TLV) []TLV {
	dst = d.appendHead(dst)
	if d.Immediate {
		dst = append(dst, TLV{TagImmediateResponse, false, nil})
	}
	if d.Duration != nil {
		dst = append(dst, d.Duration.tlv())
	}
	return d.appendTail(dst)
}

// SetUpIdleModeText shows a text while nothing else is shown; an empty one removes it (clause 6.6.22).
type SetUpIdleModeText struct{ shownText }

// NewSetUpIdleModeText makes a text in the 8-bit alphabet; "" removes the text.
func NewSetUpIdleModeText(text string) *SetUpIdleModeText {
	var t Text
	if text != "" {
		t = NewText(text)
	}
	return &SetUpIdleModeText{shownText{Text: &t}}
}

func (i *SetUpIdleModeText) Type() CommandType { return TypeSetUpIdleModeText }
func (i *SetUpIdleModeText) appendObjects(dst []TLV) []TLV {
	return i.appendTail(i.appendHead(dst))
}
func (i *SetUpIdleModeText) setObject(t TLV, _ []TLV) (bool, error) {
	return i.shownText.setObject(t), nil
}
