package usbfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"
)

// Descriptors of QEMU's reader: full speed, one configuration, one interface.
var (
	qemuDevice        = hx("12 01 1001 00 00 00 40 e608 3344 0000 01 02 03 01")
	qemuConfiguration = hx("09 02 5d00 01 01 00 e0 32")
	qemuInterface     = hx("09 04 00 00 03 0b 00 00 04")
	qemuClass         = hx("36 21 1001 00 07 01000000 a00f0000 00000100 00 80250000 00c20100 00 fe000000 00000000 00000000 fe040100" +
		"12000100 ff ff 0000 01 01")
	qemuEndpoints = hx("07 05 81 03 4000 ff  07 05 82 02 4000 00  07 05 03 02 4000 00")
)

// qemuReader is the reader's descriptors as sysfs gives them.
func qemuReader() []byte {
	return slices.Concat(qemuDevice, qemuConfiguration, qemuInterface, qemuClass, qemuEndpoints)
}

// wantQEMU is what they mean.
func wantQEMU() Interface {
	return Interface{Class: 0x0B, Extra: qemuClass, Endpoints: []Endpoint{
		{Address: 0x81, Attributes: 3, MaxPacket: 64, Interval: 255},
		{Address: 0x82, Attributes: 2, MaxPacket: 64},
		{Address: 0x03, Attributes: 2, MaxPacket: 64},
	}}
}

func TestParseQEMUReader(t *testing.T) {
	ids, rest, err := parseDevice(qemuReader())
	if err != nil || ids != (deviceIDs{vendor: 0x08E6, product: 0x4433}) {
		t.Errorf("%+v, %v", ids, err)
	}
	got, err := parseConfigurations(rest)
	if err != nil {
		t.Error(err)
	}
	if want := []configuration{{value: 1, interfaces: []Interface{wantQEMU()}}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

// A device with all that real ones have: two configurations, the first cut short by the kernel; an interface association;
// alternates; SuperSpeed companions; descriptors of a class before, between and after endpoints, of a vendor, and longer
// than they need be.
func TestParseDescriptorsWithEverything(t *testing.T) {
	class, later, vendor := hx("04 21 aabb"), hx("05 24 010203"), hx("03 41 cc")
	b := slices.Concat(
		hx("09 02 ff00 02 01 00 80 32"), // says 255 octets
		hx("09 04 00 00 00 0b 00 00 00"), class,
		hx("09 02 4000 03 02 00 80 32"), class, // of no interface
		hx("08 0b 00 02 02 02 01 00"), later, // of the function
		hx("09 04 00 00 01 ff 01 02 00"), class, hx("07 05 82 02 0002 00"), hx("06 30 00 00 0000"), later,
		hx("09 04 00 01 01 ff 01 03 00"), hx("09 05 83 0f 0014 01 0000"), hx("08 31 00 00 00000000"), vendor, later,
		hx("0b 04 01 00 00 0b 00 00 00 0000"), class,
	)
	got, err := parseConfigurations(b)
	if err != nil {
		t.Error(err)
	}
	want := []configuration{
		{value: 1, interfaces: []Interface{{Class: 0x0B, Extra: class}}},
		{value: 2, interfaces: []Interface{
			{Class: 0xFF, SubClass: 1, Protocol: 2, Extra: slices.Concat(class, later),
				Endpoints: []Endpoint{{Address: 0x82, Attributes: 2, MaxPacket: 512}}},
			{Alternate: 1, Class: 0xFF, SubClass: 1, Protocol: 3, Extra: slices.Concat(vendor, later),
				Endpoints: []Endpoint{{Address: 0x83, Attributes: 0x0F, MaxPacket: 1024, Interval: 1}}},
			{Number: 1, Class: 0x0B, Extra: class},
		}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

func TestParseBadDescriptors(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, qemuDevice[:17], append([]byte{17}, qemuDevice[1:]...), append([]byte{19}, qemuDevice[1:]...),
		qemuConfiguration, bytes.Repeat([]byte{0xFF}, 64)} {
		if _, _, err := parseDevice(b); !errors.Is(err, errDescriptors) {
			t.Errorf("device %x: %v", b, err)
		}
	}
	for _, b := range [][]byte{
		{0x09}, {0x00, 0x02}, {0x01, 0x02}, {0x02}, hx("08 02 0900 01 01 00 80"), qemuInterface,
		append(slices.Clone(qemuConfiguration), hx("07 05 82 02 4000 00")...),                        // endpoint of no interface
		append(slices.Clone(qemuConfiguration), hx("08 04 00 00 00 0b 00 00")...),                    // short interface
		slices.Concat(qemuConfiguration, qemuInterface, hx("06 05 82 02 4000")),                      // short endpoint
		slices.Concat(qemuConfiguration, qemuInterface, hx("36 21 1001")),                            // beyond the end
		slices.Concat(qemuConfiguration, qemuInterface, qemuClass, qemuEndpoints, hx("00 00 00 00")), // padding
	} {
		if _, err := parseConfigurations(b); !errors.Is(err, errDescriptors) {
			t.Errorf("%x: %v", b, err)
		}
	}
	// Cut anywhere, what comes before the cut is there.
	whole := slices.Concat(qemuConfiguration, qemuInterface, qemuClass, qemuEndpoints)
	for n := range whole {
		got, _ := parseConfigurations(whole[:n])
		want := 0
		if n >= 18 {
			want = 1
		}
		if len(got) != 0 && len(got[0].interfaces) != want || want == 1 && len(got) != 1 {
			t.Errorf("the first %d octets: %+v", n, got)
		}
	}
}

// FuzzDescriptors: no descriptors make the parser read beyond them, everything it returns stands there, in this order,
// and what it returns of them written out again is parsed to the same.
func FuzzDescriptors(f *testing.F) {
	f.Add(qemuReader())
	f.Add(slices.Concat(qemuDevice, qemuConfiguration, hx("08 0b 00 02 02 02 01 00"), qemuInterface, qemuEndpoints, qemuClass))
	f.Add(slices.Concat(qemuDevice, qemuConfiguration, qemuConfiguration, qemuInterface, hx("02 30"), qemuInterface))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, rest, err := parseDevice(b)
		if err != nil {
			return
		}
		got, err := parseConfigurations(rest)
		var again []byte
		for _, c := range got {
			again = append(again, 9, typeConfiguration, 0, 0, 0, c.value, 0, 0, 0)
			for _, in := range c.interfaces {
				again = append(again, 9, typeInterface, in.Number, in.Alternate, 0, in.Class, in.SubClass, in.Protocol, 0)
				again = append(again, in.Extra...)
				for _, e := range in.Endpoints {
					again = append(again, 7, typeEndpoint, e.Address, e.Attributes)
					again = binary.LittleEndian.AppendUint16(again, e.MaxPacket)
					again = append(again, e.Interval)
				}
			}
		}
		if len(again) > len(rest) {
			t.Fatalf("%d octets of descriptors from %d", len(again), len(rest))
		}
		second, err2 := parseConfigurations(again)
		if err2 != nil || !reflect.DeepEqual(second, got) {
			t.Errorf("%+v (%v), again %+v (%v)", got, err, second, err2)
		}
	})
}
