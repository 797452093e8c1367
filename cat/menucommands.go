package cat

// Qualifier bits of SET UP MENU and SELECT ITEM (clause 8.6).
const (
	MenuSoftKey   byte = 0x01 // SET UP MENU: selection by soft key preferred
	MenuHelp      byte = 0x80 // help information is available
	SelectSoftKey byte = 0x04 // SELECT ITEM: selection by soft key preferred
)

// Item is one entry of a menu (clause 8.9).
type Item struct {
	ID   byte // 1..255
	Text Alpha
}

// NewItem makes an item with a text in the GSM default alphabet.
func NewItem(id byte, text string) Item { return Item{id, *NewAlpha(text)} }

// itemList is what SET UP MENU and SELECT ITEM have in common: a title and items. Next actions, icons and attributes are
// kept as they are.
type itemList struct {
	Title          *Alpha
	Items          []Item
	NextActions    []byte // clause 8.24, one octet an item
	Icon           []byte // clause 8.31, 2 octets
	Icons          []byte // clause 8.32: qualifier, then one octet an item
	TextAttribute  []byte // clause 8.72
	TextAttributes []byte // clause 8.73, 4 octets an item
	Frame          []byte // clause 8.80, 1 octet

	nulls int // items without a value
}

func (l *itemList) setObject(t TLV) (bool, error) {
	switch t.Tag {
	case TagAlphaIdentifier:
		l.Title = &Alpha{t.Value}
	case TagItem:
		switch {
		case len(t.Value) == 0:
			l.nulls++
		case t.Value[0] == 0:
			return true, notUnderstood("item with identifier 0")
		default:
			l.Items = append(l.Items, Item{t.Value[0], Alpha{t.Value[1:]}})
		}
	case TagItemsNextAction:
		l.NextActions = t.Value
	case TagIconIdentifier:
		l.Icon = t.Value
	case TagItemIconList:
		l.Icons = t.Value
	case TagTextAttribute:
		l.TextAttribute = t.Value
	case TagItemTextAttributes:
		l.TextAttributes = t.Value
	case TagFrameIdentifier:
		l.Frame = t.Value
	default:
		return false, nil
	}
	return true, nil
}

// appendTo appends the objects in the order of clauses 6.6.7 and 6.6.8; selected, where it is not 0, is SELECT ITEM's preselected item.
func (l *itemList) appendTo(dst []TLV, selected byte) []TLV {
	if l.Title != nil {
		dst = append(dst, l.Title.tlv(true))
	}
	for _, i := range l.Items {
		dst = append(dst, TLV{TagItem, true, append([]byte{i.ID}, i.Text.Data...)})
	}
	for range l.nulls {
		dst = append(dst, TLV{TagItem, true, nil})
	}
	optional := func(tag Tag, v []byte) {
		if v != nil {
			dst = append(dst, TLV{tag, false, v})
		}
	}
	optional(TagItemsNextAction, l.NextActions)
	if selected != 0 {
		dst = append(dst, ItemIdentifierObject(selected))
	}
	optional(TagIconIdentifier, l.Icon)
	optional(TagItemIconList, l.Icons)
	optional(TagTextAttribute, l.TextAttribute)
	optional(TagItemTextAttributes, l.TextAttributes)
	optional(TagFrameIdentifier, l.Frame)
	return dst
}

// ItemIdentifierObject names an item (clause 8.10).
func ItemIdentifierObject(id byte) TLV { return TLV{TagItemIdentifier, true, []byte{id}} }

// SetUpMenu replaces the card's menu (clause 6.6.7). Without items it removes it.
type SetUpMenu struct{ itemList }

// NewSetUpMenu makes a menu; without items, the command that removes the menu.
func NewSetUpMenu(title string, items ...Item) *SetUpMenu {
	m := &SetUpMenu{itemList{Title: NewAlpha(title), Items: items}}
	if len(items) == 0 {
		m.nulls = 1 // the one item without a value that stands for none
	}
	return m
}

func (m *SetUpMenu) Type() CommandType                      { return TypeSetUpMenu }
func (m *SetUpMenu) setObject(t TLV, _ []TLV) (bool, error) { return m.itemList.setObject(t) }
func (m *SetUpMenu) appendObjects(dst []TLV) []TLV          { return m.appendTo(dst, 0) }

func (m *SetUpMenu) check(byte) error {
	switch {
	case m.Title == nil:
		return valuesMissing("menu without a title")
	case len(m.Items) == 0 && m.nulls == 0:
		return valuesMissing("menu without items")
	case m.nulls > 1, m.nulls == 1 && len(m.Items) > 0:
		return notUnderstood("menu with an item without a value")
	}
	return nil
}

// SelectItem asks the user to choose (clause 6.6.8).
type SelectItem struct {
	itemList
	Selected byte // identifier of the item to begin with; 0 = none
}

// NewSelectItem makes a list to choose from.
func NewSelectItem(title string, items ...Item) *SelectItem {
	return &SelectItem{itemList: itemList{Title: NewAlpha(title), Items: items}}
}

func (s *SelectItem) Type() CommandType             { return TypeSelectItem }
func (s *SelectItem) appendObjects(dst []TLV) []TLV { return s.appendTo(dst, s.Selected) }

func (s *SelectItem) setObject(t TLV, _ []TLV) (bool, error) {
	if t.Tag != TagItemIdentifier {
		return s.itemList.setObject(t)
	}
	var err error
	s.Selected, err = parseByte(t.Value, "item identifier")
	return true, err
}

func (s *SelectItem) check(byte) error {
	switch {
	case s.nulls > 0:
		return notUnderstood("list with an item without a value")
	case len(s.Items) == 0:
		return valuesMissing("list without items")
	}
	return nil
}
