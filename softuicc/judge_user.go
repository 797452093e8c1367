package softuicc

// Objects of a menu selection (clause 9.3).
const (
	tagItemIdentifier = 0x10
	tagHelpRequest    = 0x15
)

// menuSelection judges that a user chose from the card's menu (clause 7.2).
func (j *judge) menuSelection(l *objects) {
	if !j.profile.Has(1, 4) {
		j.violate("5.2", "menu selection, which TERMINAL PROFILE does not offer (octet 1, bit 4)")
	}
	if !j.order(l, "menu selection", tagDevices, tagItemIdentifier) || !j.devices(l, 0x01) {
		return
	}
	if v := l.list[1].value; len(v) != 1 || v[0] == 0 {
		j.violate("8.10", "menu selection of item %X; identifiers are 01 to FF", v)
	}
	if v, ok := l.find(tagHelpRequest); ok && len(v) > 0 {
		j.violate("8.21", "menu selection with a help request of %d octets; it has none", len(v))
	}
}
