package terminal

import (
	"slices"
	"strings"
	"testing"

	"bipd/ccid"
	"bipd/internal/config"
	"bipd/internal/readers"
)

// usbCards makes checked cards of "name selector" lines.
func usbCards(t *testing.T, lines ...string) []config.Card {
	t.Helper()
	var cards []config.Card
	for _, l := range lines {
		name, selector, _ := strings.Cut(l, " ")
		c := config.Card{Name: name, Reader: selector}
		if text, ok := strings.CutPrefix(selector, "ccid:"); ok {
			sel, err := ccid.ParseSelector(text)
			if err != nil {
				t.Fatal(err)
			}
			c.USB = &sel
		}
		cards = append(cards, c)
	}
	return cards
}

var (
	twin  = ccid.IDs{Path: "1-1.2", Vendor: 0x08E6, Product: 0x3437, Name: "PC Twin Reader"}
	twin2 = ccid.IDs{Path: "1-1.3", Vendor: 0x08E6, Product: 0x3437, Name: "PC Twin Reader", Serial: "2"}
	scr   = ccid.IDs{Path: "2-1", Vendor: 0x04E6, Product: 0x5116, Name: "SCR33xx"}
)

// names are those of entries.
func names(entries []*entry) (list []string) {
	for _, e := range entries {
		list = append(list, e.card.Name)
	}
	return list
}

// TestChoose plugs slots in, in their order; each want is "card" or "card > cards without".
func TestChoose(t *testing.T) {
	type plug struct {
		ids  ccid.IDs
		slot int
		want string
	}
	for name, tc := range map[string]struct {
		cards []string
		plugs []plug
	}{
		"every slot":                   {[]string{"* ccid:*"}, []plug{{twin, 0, "*"}, {twin, 1, "*"}, {scr, 0, "*"}}},
		"named before every":           {[]string{"* ccid:*", "a ccid:path=1-1.2"}, []plug{{twin, 0, "a"}, {twin, 1, "*"}, {twin2, 0, "*"}}},
		"by slot":                      {[]string{"a ccid:path=1-1.2,slot=1"}, []plug{{twin, 0, ""}, {twin, 1, "a"}}},
		"by serial":                    {[]string{"a ccid:serial=2"}, []plug{{twin, 0, ""}, {twin2, 0, "a"}}},
		"by name":                      {[]string{"a ccid:name=pc twin"}, []plug{{scr, 0, ""}, {twin, 0, "a"}}},
		"two of a kind":                {[]string{"a ccid:id=08e6:3437", "b ccid:id=08e6:3437"}, []plug{{twin, 0, "a > b"}, {twin2, 0, "b"}, {scr, 0, ""}}},
		"first in the file":            {[]string{"a ccid:id=08e6:3437", "b ccid:path=1-1.2"}, []plug{{twin, 0, "a > b"}, {twin2, 0, ""}}},
		"second, where the first has":  {[]string{"a ccid:id=08e6:3437", "b ccid:path=1-1.3"}, []plug{{twin, 0, "a"}, {twin2, 0, "b"}}},
		"a third of a kind":            {[]string{"a ccid:id=08e6:3437", "* ccid:*"}, []plug{{twin, 0, "a"}, {twin2, 0, "*"}}},
		"every slot but second slots":  {[]string{"x* ccid:*,slot=0", "y* ccid:*,slot=1"}, []plug{{twin, 0, "x*"}, {twin, 1, "y*"}, {twin, 2, ""}}},
		"first of two for every slot":  {[]string{"x* ccid:*,slot=0", "* ccid:*"}, []plug{{twin, 0, "x*"}, {twin, 1, "*"}}},
		"no card in a USB reader":      {[]string{"p pcsc:X"}, []plug{{twin, 0, ""}}},
		"others beside":                {[]string{"p pcsc:X", "a ccid:path=2-1"}, []plug{{scr, 0, "a"}}},
		"nothing of another's is told": {[]string{"a ccid:path=1-1.2", "* ccid:*"}, []plug{{twin, 0, "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlan(usbCards(t, tc.cards...))
			for _, plug := range tc.plugs {
				e, inVain := p.choose(plug.ids, plug.slot)
				got := ""
				if e != nil {
					got = e.card.Name
					if e.seat != nil {
						e.seat.set(plug.ids.SlotID(plug.slot), nil)
					}
				}
				if len(inVain) > 0 {
					got += " > " + strings.Join(names(inVain), " ")
				}
				if got != plug.want {
					t.Errorf("%s: got %q, want %q", plug.ids.SlotName(plug.slot), got, plug.want)
				}
			}
		})
	}
}

// A slot that has gone is another card's to take, and its card's to have again.
func TestLeave(t *testing.T) {
	p := newPlan(usbCards(t, "a ccid:id=08e6:3437", "b ccid:id=08e6:3437"))
	take := func(ids ccid.IDs, want string) {
		t.Helper()
		e, _ := p.choose(ids, 0)
		if e == nil || e.card.Name != want {
			t.Fatalf("%v goes to %+v, want %s", ids, e, want)
		}
		e.seat.set(ids.SlotID(0), nil)
	}
	take(twin, "a")
	take(twin2, "b")
	p.leave("1-1.2.0")
	if !p.of("a").seat.empty() || p.of("b").seat.id() != "1-1.3.0" {
		t.Error("leave took the wrong slot")
	}
	take(twin, "a")
	p.leave("1-1.3.0")
	p.leave("9-9.0")
	take(twin2, "b")
}

func TestDescribe(t *testing.T) {
	cards := usbCards(t, "a ccid:path=1-1.2", "p pcsc:X", "z ccid:serial=9", "usb-* ccid:*,slot=0")
	var b strings.Builder
	Describe(&b, cards, []readers.Attached{{IDs: twin, Slots: 2}, {IDs: scr, Slots: 1}})
	want := `card a: ccid:path=1-1.2
   now in PC Twin Reader [1-1.2] slot 0
card p: pcsc:X
card z: ccid:serial=9
   now nowhere: no USB reader is there for it
card usb-*: ccid:*,slot=0
   now usb-2-1.0 in SCR33xx [2-1] slot 0
not served: PC Twin Reader [1-1.2] slot 1
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	if list := names(newPlan(cards)); !slices.Equal(list, []string{"a", "z", "usb-*"}) {
		t.Errorf("the plan has %v", list)
	}
}
