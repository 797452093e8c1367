package ccid

import (
	"context"
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/ccidemu"
	"bipd/softuicc"
	"bipd/uicc"
)

// patient is how long a test waits for what must happen.
const patient = 30 * time.Second

// quick are shorter times for tests in which the card's time must run out. They are never asserted on; the tests that have them
// run in time of their own.
func quick() timing {
	t := defaultTiming
	t.card, t.apdu, t.rest, t.removal = time.Second, time.Second, time.Second, time.Second
	t.powerDown, t.poll, t.busy, t.retry = time.Millisecond, 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	return t
}

// unhex reads octets; spaces do not count.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a part of a test in time of its own (see package synctest), as the tests without parts do: it passes only while all that
// belongs to the test waits. So nothing comes too late however busy the machine is, what must run out costs nothing, and what
// waits in vain ends the test.
func run(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	t.Cleanup(cancel)
	return ctx
}

// emulated opens an emulated reader.
func emulated(t testing.TB, m ccidemu.Model, cfg Config) (*ccidemu.Reader, *Device) {
	t.Helper()
	r := ccidemu.New(m)
	t.Cleanup(func() { r.Close() })
	return r, openDevice(t, r, cfg)
}

func openDevice(t testing.TB, r *ccidemu.Reader, cfg Config) *Device {
	t.Helper()
	m := r.Model()
	desc, err := ParseDescriptor(m.ClassDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDevice(r.Transport(), desc, IDs{Path: "1-1", Vendor: m.Vendor, Product: m.Product, Name: m.Name, PacketSize: m.MaxPacket}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newCard(t testing.TB, cfg softuicc.Config) *softuicc.Card {
	t.Helper()
	c, err := softuicc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// insert puts a card into slot 0.
func insert(t testing.TB, r *ccidemu.Reader, c *softuicc.Card) {
	t.Helper()
	if err := r.Insert(0, c, softuicc.ContactsConfig{}); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, s *Slot) uicc.Card {
	t.Helper()
	c, err := s.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends an APDU and compares the status word and, if want is longer, the data.
func transmit(t testing.TB, c uicc.Card, capdu string) []byte {
	t.Helper()
	rapdu, err := c.Transmit(testContext(t), unhex(t, capdu))
	if err != nil {
		t.Fatalf("%s: %v", capdu, err)
	}
	return rapdu
}

// want sends an APDU and checks the status word at the end of the response.
func want(t testing.TB, c uicc.Card, capdu, sw string) []byte {
	t.Helper()
	rapdu := transmit(t, c, capdu)
	if !strings.HasSuffix(hex.EncodeToString(rapdu), strings.ToLower(sw)) {
		t.Fatalf("%s: %X, want it to end in %s", capdu, rapdu, sw)
	}
	return rapdu
}

// obedient fails the test where the emulated reader finds the driver breaking the standard.
func obedient(t testing.TB, r *ccidemu.Reader) {
	t.Helper()
	for _, v := range r.Violations() {
		t.Errorf("violation: %v", v)
	}
}

// settled waits until the driver knows the state of every slot.
func settled(t testing.TB, d *Device) {
	t.Helper()
	for _, s := range d.slots {
		for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
			if st, _, _ := s.look(); st != slotUnknown {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the state of a slot stays unknown")
			}
		}
	}
}

// next takes the next state of a watch.
func next(t testing.TB, ch <-chan uicc.SlotState) uicc.SlotState {
	t.Helper()
	select {
	case st, ok := <-ch:
		if !ok {
			t.Fatal("the watch has ended")
		}
		return st
	case <-time.After(patient):
		t.Fatal("no change of state")
	}
	panic("unreachable")
}

// until takes states until the one wanted comes.
func until(t testing.TB, ch <-chan uicc.SlotState, want uicc.SlotState) {
	t.Helper()
	for next(t, ch) != want {
	}
}
