package ccid

import (
	"testing"

	"bipd/internal/ccidemu"
	"bipd/softuicc"
)

// One APDU of five octets with an answer of twelve, through the whole driver; the emulated reader and card are part of the
// figures.
func BenchmarkTransmit(b *testing.B) {
	for _, m := range []ccidemu.Model{ccidemu.QEMU(), ccidemu.PCTwin(), ccidemu.CardMan3121()} {
		b.Run(m.Name, func(b *testing.B) {
			r, d := emulated(b, m, Config{})
			insert(b, r, newCard(b, softuicc.Config{}))
			c := connect(b, d.Slots()[0])
			defer c.Close()
			want(b, c, "00A40004022FE2", "9000")
			ctx := b.Context()
			capdu := []byte{0, 0xB0, 0, 0, 10}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Transmit(ctx, capdu); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The driver alone, over a transport that costs nothing.
func BenchmarkDriver(b *testing.B) {
	t := newEcho()
	desc := tpduDescriptor()
	d, err := NewDevice(t, desc, IDs{}, Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	c := connect(b, d.Slots()[0])
	ctx := b.Context()
	capdu := []byte{0, 0xB0, 0, 0, 10}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Transmit(ctx, capdu); err != nil {
			b.Fatal(err)
		}
	}
}
