package ccidemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"bipd/ccid"
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

// session are commands of every case, with answers short and long, and those that T=0 has to be asked for twice.
var session = []string{
	"00A40004023F00",                                                     // SELECT MF: FCP
	"00A4000C022F05",                                                     // no data
	"00B0000000", "00B0000002", "00B0000003", "00B0010001", "00B000FF01", // READ BINARY
	"00A40004022F00", "00B2010430", "00B2010400", "00B2020430", "00B2030430", // READ RECORD
	"00A4040410A0000000871002FFFFFFFF8903020000", "00A404040BA0000000871002FFFFFFFF00", // SELECT USIM
	"80F2000C00", "80F2000000", "80F2000C", "80F20001", // STATUS
	"00D6000001FF", "00A4000C", "0070000001", // refused
	"8010000020FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", // TERMINAL PROFILE
	"80C20000FF" + longEnvelope, // 255 octets of data
	"8012000000",
}

var longEnvelope = func() string {
	b := []byte{0xD1, 0x81, 0xFC, 0x82, 2, 0x83, 0x81, 0x8B, 0x81, 0xF5}
	return tohex(append(b, bytes.Repeat([]byte{0x5A}, 255-len(b))...))
}()

// applet asks for commands of many lengths.
func applet(ctx context.Context, tk *softuicc.Toolkit) error {
	for _, n := range []int{0, 1, 30, 46, 47, 48, 110, 200, 230} { // MORE TIME with an object that no terminal knows
		c := []byte{0xD0, 0x81, 0, 0x81, 3, 1, 2, 0, 0x82, 2, 0x81, 0x82, 0x7F, 0x81, byte(n)}
		c = append(c, bytes.Repeat([]byte{byte(n)}, n)...)
		c[2] = byte(len(c) - 3)
		if _, err := tk.DoRaw(ctx, c); err != nil {
			return nil
		}
	}
	return nil
}

// play plays the session and then all proactive commands, and returns what came back, line by line.
func play(ctx context.Context, card uicc.Card) (lines []string, err error) {
	ask := func(capdu []byte) (uicc.StatusWord, error) {
		rapdu, err := card.Transmit(ctx, capdu)
		if err != nil {
			return 0, fmt.Errorf("%X: %w", capdu, err)
		}
		lines = append(lines, fmt.Sprintf("%X: %X", capdu, rapdu))
		_, sw, err := uicc.SplitResponse(rapdu)
		return sw, err
	}
	var sw uicc.StatusWord
	for _, text := range session {
		if sw, err = ask(unhexBytes(text)); err != nil {
			return lines, err
		}
	}
	for range 20 {
		n, ok := sw.Proactive()
		if !ok {
			break
		}
		if _, err = ask([]byte{0x80, 0x12, 0, 0, byte(n)}); err != nil {
			return lines, err
		}
		response := []byte{0x80, 0x14, 0, 0, 12, 0x81, 3, 1, 2, 0, 0x82, 2, 0x82, 0x81, 0x83, 1, 0}
		if sw, err = ask(response); err != nil {
			return lines, err
		}
	}
	return lines, nil
}

func unhexBytes(s string) []byte {
	var b []byte
	fmt.Sscanf(s, "%X", &b)
	return b
}

// oracle is what the card itself answers to the session.
func oracle(t testing.TB, cfg softuicc.Config) []string {
	t.Helper()
	cfg.Applets = []softuicc.Applet{applet}
	lines, err := play(context.Background(), uicc.Settle(newCard(t, cfg)))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestDriver plays a session through every model with every kind of card, by the project's own driver: it hears what the card says, and
// nobody finds anything wrong with it.
func TestDriver(t *testing.T) {
	noLeaks(t)
	want := oracle(t, softuicc.Config{})
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
			t.Run(m.Name+"/"+name, func(t *testing.T) {
				r := New(m)
				defer r.Unplug()
				d := drive(t, r)
				defer d.Close()
				for i, slot := range d.Slots() {
					c := softuicc.Config{Applets: []softuicc.Applet{applet}}
					if tc.atr != "" {
						c.ATR = unhex(t, tc.atr)
					}
					soft := newCard(t, c)
					if err := r.Insert(i, soft, tc.cfg); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					for s := range slot.Watch(ctx) {
						if s == uicc.SlotPresent {
							break
						}
					}
					card, err := slot.Connect(ctx)
					if err != nil {
						t.Fatal(err)
					}
					lines, err := play(ctx, card)
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
