package ccidemu

import (
	"context"
	"errors"
	"strings"
	"testing"

	"bipd/ccid"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

var _ ccid.Transport = (*Transport)(nil)

// drive opens the reader with the project's own driver.
func drive(t testing.TB, r *Reader) *ccid.Device {
	t.Helper()
	m := r.Model()
	desc, err := ccid.ParseDescriptor(m.ClassDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ccid.NewDevice(r.Transport(), desc, ccid.IDs{Path: "1-1", Vendor: m.Vendor, Product: m.Product, Name: m.Name, PacketSize: m.MaxPacket}, ccid.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// oracle is what the card itself answers to the session.
func oracle(t testing.TB) []string {
	t.Helper()
	lines, err := PlaySession(context.Background(), uicc.Settle(newCard(t, SessionConfig())))
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) < 40 {
		t.Fatalf("the session has %d lines", len(lines))
	}
	return lines
}

// TestDriver plays a session through every model with every kind of card, by the project's own driver: it hears what the card says, and
// nobody finds anything wrong with it.
func TestDriver(t *testing.T) {
	testkit.NoLeaks(t)
	want := oracle(t)
	for _, m := range Models() {
		for name, tc := range map[string]struct {
			atr string
			cfg softuicc.ContactsConfig
		}{
			"T0":          {"", softuicc.ContactsConfig{}},
			"T0 one":      {"", softuicc.ContactsConfig{T0: softuicc.T0Config{AckOne: -1, Nulls: 1}}},
			"T0 fast":     {atrSpeed, softuicc.ContactsConfig{}},
			"T0 refuses":  {atrSpeed, softuicc.ContactsConfig{Line: softuicc.LineConfig{RefuseSpeed: true}}},
			"T0 specific": {atrSpecific, softuicc.ContactsConfig{}},
			"T1":          {atrOne, softuicc.ContactsConfig{}},
			"T1 CRC":      {atrCRC, softuicc.ContactsConfig{}},
			"T1 slow":     {atrOne, softuicc.ContactsConfig{T1: softuicc.T1Config{WTX: 2, AskIFS: 100}}},
			"T1 noisy":    {atrOne, softuicc.ContactsConfig{T1: softuicc.T1Config{Fault: noise}}},
			"both":        {atrBoth, softuicc.ContactsConfig{}},
			"inverse":     {atrInverse, softuicc.ContactsConfig{}},
		} {
			if m.level() == 0 || m.Verbatim && tc.atr != "" {
				continue // the driver has no character level; QEMU's reader has no line
			}
			if m.Protocols == 1 && strings.HasPrefix(name, "T1") || m.Name == SIMHUB().Name && name == "T0 specific" {
				continue // the reader has no T=1, or is slower than the card
			}
			t.Run(m.Name+"/"+name, func(t *testing.T) {
				r := New(m)
				defer r.Unplug()
				d := drive(t, r)
				defer d.Close()
				for i, slot := range d.Slots() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					states := slot.Watch(ctx)
					if m.InterruptIn != 0 && <-states != uicc.SlotEmpty { // so that the driver hears of the card by the interrupt alone
						t.Fatal("a card is in already")
					}
					c := SessionConfig()
					if tc.atr != "" {
						c.ATR = unhex(t, tc.atr)
					}
					soft := newCard(t, c)
					if err := r.Insert(i, soft, tc.cfg); err != nil {
						t.Fatal(err)
					}
					for s := range states {
						if s == uicc.SlotPresent {
							break
						}
					}
					card, err := slot.Connect(ctx)
					if err != nil {
						t.Fatal(err)
					}
					lines, err := PlaySession(ctx, card)
					if err != nil {
						t.Fatalf("after %d lines: %v", len(lines), err)
					}
					compare(t, lines, want)
					if err := card.Close(); err != nil && !errors.Is(err, uicc.ErrRemoved) {
						t.Error(err)
					}
				}
				for _, v := range r.Violations() {
					t.Errorf("violation: %v", v)
				}
			})
		}
	}
}

func compare(t testing.TB, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Errorf("line %d: %s, want %s", i, got[i], want[i])
			return
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
}

// noise damages some blocks, but never two in a row.
func noise(n int, _ []byte) softuicc.T1Fault {
	switch n % 11 {
	case 3:
		return softuicc.T1BadEDC
	case 6:
		return softuicc.T1Deaf
	case 9:
		return softuicc.T1Lost
	}
	return softuicc.T1NoFault
}
