package ccid

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSelector is wrapped by every error of ParseSelector.
var ErrSelector = errors.New("ccid: bad reader selector")

// AllSlots is the Slot of a Selector that means every slot.
const AllSlots = -1

// Selector names readers and a slot of them, as the configuration does:
//
//   - every slot of every reader
//     path=1-1.2         the reader at this place (bus and ports)
//     id=08e6:3437       a reader of this vendor and product
//     serial=21120822    the reader of this serial number
//     name=PC Twin       a reader whose product name contains this, regardless of case
//
// Each may be followed by ",slot=N", the number of the slot from 0. Without it "*" means all slots and the others slot 0.
// Where more than one reader fits, the first by path is taken. A field that is empty does not restrict.
type Selector struct {
	Path            string
	Vendor, Product uint16
	Serial          string
	Name            string
	Slot            int // from 0, or AllSlots
}

// ParseSelector reads the text of a selector. Every error wraps ErrSelector.
func ParseSelector(text string) (Selector, error) {
	what, number, hasSlot := text, "", false
	if i := strings.LastIndex(text, ",slot="); i >= 0 {
		what, number, hasSlot = text[:i], text[i+len(",slot="):], true
	}
	s, err := parseCriterion(what)
	if err != nil {
		return Selector{}, err
	}
	if what == "*" {
		s.Slot = AllSlots
	}
	if hasSlot {
		n, err := strconv.ParseUint(number, 10, 8)
		if err != nil {
			return Selector{}, fmt.Errorf("%w %q: slot %q is not a number from 0 to 255", ErrSelector, text, number)
		}
		s.Slot = int(n)
	}
	return s, nil
}

// parseCriterion reads what precedes the slot.
func parseCriterion(text string) (s Selector, err error) {
	key, value, _ := strings.Cut(text, "=")
	switch {
	case text == "*":
	case value == "":
		err = fmt.Errorf("%w %q: it is *, path=1-1.2, id=08e6:3437, serial=... or name=..., and may end in ,slot=N", ErrSelector, text)
	case key == "path":
		s.Path = value
	case key == "id":
		s.Vendor, s.Product, err = parseVIDPID(value)
	case key == "serial":
		s.Serial = value
	case key == "name":
		s.Name = value
	default:
		err = fmt.Errorf("%w: unknown key %q; there are path, id, serial and name", ErrSelector, key)
	}
	return s, err
}

// parseVIDPID reads vendor and product, each four hexadecimal digits, "08e6:3437".
func parseVIDPID(text string) (vendor, product uint16, err error) {
	v, p, _ := strings.Cut(text, ":")
	vid, errV := strconv.ParseUint(v, 16, 16)
	pid, errP := strconv.ParseUint(p, 16, 16)
	if len(v) != 4 || len(p) != 4 || errV != nil || errP != nil || vid == 0 {
		return 0, 0, fmt.Errorf("%w: id %q is not of the form 08e6:3437", ErrSelector, text)
	}
	return uint16(vid), uint16(pid), nil
}

// String gives the text that ParseSelector reads.
func (s Selector) String() string {
	text, slot := "*", AllSlots
	switch {
	case s.Path != "":
		text, slot = "path="+s.Path, 0
	case s.Vendor != 0:
		text, slot = fmt.Sprintf("id=%04x:%04x", s.Vendor, s.Product), 0
	case s.Serial != "":
		text, slot = "serial="+s.Serial, 0
	case s.Name != "":
		text, slot = "name="+s.Name, 0
	}
	if s.Slot != slot {
		text += fmt.Sprintf(",slot=%d", s.Slot)
	}
	return text
}

// Matches tells whether the reader fits; it does not look at the slot.
func (s Selector) Matches(ids IDs) bool {
	return (s.Path == "" || s.Path == ids.Path) &&
		(s.Vendor == 0 || s.Vendor == ids.Vendor && s.Product == ids.Product) &&
		(s.Serial == "" || s.Serial == ids.Serial) &&
		(s.Name == "" || strings.Contains(strings.ToLower(ids.Name), strings.ToLower(s.Name)))
}
