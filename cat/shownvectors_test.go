package cat

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf16"
)

// buildShownBody makes the body that the decoded fields of a command for the user, or of a short message, describe; nil for
// any other. How a text is coded the fields do not say: that is taken from the vector's bytes.
func buildShownBody(t *testing.T, typ CommandType, v vector) Body {
	t.Helper()
	d := v.Decoded
	_, inner, err := parseTemplate(v.bytes(t))
	if err != nil {
		t.Fatal(err)
	}
	tlvs, err := ParseTLVs(inner)
	if err != nil {
		t.Fatal(err)
	}
	switch typ {
	case TypeDisplayText:
		b := &DisplayText{shownText: buildShownText(t, tlvs, d), Immediate: d.ImmediateResponse != nil}
		if d.Duration != nil {
			length := d.duration(t)
			b.Duration = &length
		}
		return b
	case TypeSetUpIdleModeText:
		return &SetUpIdleModeText{buildShownText(t, tlvs, d)}
	case TypeSetUpMenu:
		m := &SetUpMenu{buildItems(t, tlvs, d)}
		if len(d.Items) == 0 {
			m.nulls = 1
		}
		return m
	case TypeSelectItem:
		s := &SelectItem{itemList: buildItems(t, tlvs, d)}
		if d.ItemID != nil {
			s.Selected = *d.ItemID
		}
		return s
	case TypeSendShortMessage:
		b := &SendShortMessage{TPDU: unhex(t, d.TPDU), TextAttribute: optional(t, d.TextAttribute), Icon: d.icon()}
		if d.AlphaID != nil {
			b.Alpha = alphaAs(t, tlvs, TagAlphaIdentifier, 0, *d.AlphaID)
		}
		if d.Address != nil {
			a := d.address(t)
			b.Address = &a
		}
		return b
	}
	return nil
}

func buildShownText(t *testing.T, tlvs []TLV, d decoded) shownText {
	t.Helper()
	s := shownText{Text: &Text{}, TextAttribute: optional(t, d.TextAttribute), Icon: d.icon()}
	if o, _ := Find(tlvs, TagTextString); len(o.Value) > 0 {
		text, err := CodeText(o.Value[0], *d.Text)
		if err != nil {
			t.Fatal(err)
		}
		s.Text = &text
	}
	return s
}

func buildItems(t *testing.T, tlvs []TLV, d decoded) itemList {
	t.Helper()
	l := itemList{
		NextActions: optional(t, d.ItemsNextAction), Icons: optional(t, d.ItemIcons), Icon: d.icon(),
		TextAttribute: optional(t, d.TextAttribute), TextAttributes: optional(t, d.ItemTextAttributes),
	}
	if d.AlphaID != nil {
		l.Title = alphaAs(t, tlvs, TagAlphaIdentifier, 0, *d.AlphaID)
	}
	for n, i := range d.Items {
		l.Items = append(l.Items, Item{i.ID, *alphaAs(t, tlvs, TagItem, n, i.Text)})
	}
	return l
}

// alphaAs codes text in the form that the nth object with the tag has: default alphabet, or UCS2 after 80, 81 or 82.
func alphaAs(t *testing.T, tlvs []TLV, tag Tag, n int, text string) *Alpha {
	t.Helper()
	var form []byte
	for _, o := range tlvs {
		if o.Tag != tag {
			continue
		}
		if n--; n < 0 {
			form = o.Value
			break
		}
	}
	if tag == TagItem {
		form = form[1:]
	}
	if len(form) == 0 || form[0] < 0x80 {
		return NewAlpha(text)
	}
	head, base := form[:1], rune(0)
	switch form[0] {
	case 0x80:
		b := bytes.Clone(head)
		for _, u := range utf16.Encode([]rune(text)) {
			b = append(b, byte(u>>8), byte(u))
		}
		return &Alpha{b}
	case 0x81:
		head, base = form[:3], rune(form[2])<<7
	case 0x82:
		head, base = form[:4], rune(form[2])<<8|rune(form[3])
	}
	b := bytes.Clone(head)
	for _, r := range text {
		if c, err := gsmCharacters(string(r)); err == nil {
			b = append(b, c...)
		} else {
			b = append(b, 0x80|byte(r-base))
		}
	}
	return &Alpha{b}
}

func optional(t *testing.T, s string) []byte {
	t.Helper()
	if s == "" {
		return nil
	}
	return unhex(t, s)
}

func (d decoded) icon() []byte {
	if d.Icon == nil {
		return nil
	}
	return []byte{d.Icon.Qualifier, d.Icon.ID}
}

func (d decoded) address(t *testing.T) Address {
	t.Helper()
	return Address{hexByte(t, d.Address.TONNPI), d.Address.Number}
}

// checkShownMeaning compares the fields of a parsed command for the user, or of a short message, with the decoded ones.
func checkShownMeaning(t *testing.T, body Body, d decoded) {
	t.Helper()
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	octets := func(what string, got []byte, want string) {
		t.Helper()
		equal(what, strings.ToUpper(hex.EncodeToString(got)), want)
	}
	switch b := body.(type) {
	case *DisplayText:
		equal("text", b.Text.Decode(), strings.TrimSuffix(*d.Text, "\r"))
		equal("coding is known", b.Text.Known(), true)
		equal("immediate", b.Immediate, d.ImmediateResponse != nil)
		equal("has a duration", b.Duration != nil, d.Duration != nil)
		octets("text attribute", b.TextAttribute, d.TextAttribute)
	case *SetUpIdleModeText:
		equal("text", b.Text.Decode(), strings.TrimSuffix(*d.Text, "\r"))
		octets("icon", b.Icon, strings.ToUpper(hex.EncodeToString(d.icon())))
	case *SetUpMenu:
		checkItems(t, b.itemList, d)
	case *SelectItem:
		checkItems(t, b.itemList, d)
		equal("has an item selected", b.Selected != 0, d.ItemID != nil)
	case *SendShortMessage:
		equal("has an address", b.Address != nil, d.Address != nil)
		if b.Address != nil {
			equal("number", b.Address.Number, d.Address.Number)
		}
		octets("TPDU", b.TPDU, d.TPDU)
		equal("has an alpha identifier", b.Alpha != nil, d.AlphaID != nil)
		if b.Alpha != nil {
			equal("alpha identifier", b.Alpha.Decode(), *d.AlphaID)
		}
	}
}

func checkItems(t *testing.T, l itemList, d decoded) {
	t.Helper()
	if (l.Title != nil) != (d.AlphaID != nil) || l.Title != nil && l.Title.Decode() != *d.AlphaID {
		t.Errorf("title %v", l.Title)
	}
	if len(l.Items) != len(d.Items) {
		t.Fatalf("%d items, want %d", len(l.Items), len(d.Items))
	}
	for n, i := range l.Items {
		if want := d.Items[n]; i.ID != want.ID || i.Text.Decode() != want.Text {
			t.Errorf("item %d: %d %q, want %d %q", n, i.ID, i.Text.Decode(), want.ID, want.Text)
		}
	}
}
