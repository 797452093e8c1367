package usbfs

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

// tree is a sysfs tree and device nodes of a test's own.
type tree struct {
	FS
	t *testing.T
}

func newTree(t *testing.T) tree {
	t.Helper()
	f := tree{FS{Sys: t.TempDir(), Dev: t.TempDir()}, t}
	if err := os.MkdirAll(f.devices(), 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

// add writes the attributes of a device or an interface.
func (f tree) add(name string, attributes map[string]string) {
	f.t.Helper()
	dir := filepath.Join(f.devices(), name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	for a, value := range attributes {
		if err := os.WriteFile(filepath.Join(dir, a), []byte(value), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
}

// bind gives an interface a driver.
func (f tree) bind(name, driver string) {
	f.t.Helper()
	if err := os.Symlink("../../../drivers/"+driver, filepath.Join(f.devices(), name, "driver")); err != nil {
		f.t.Fatal(err)
	}
}

// qemuAttributes are what sysfs says of QEMU's reader.
func qemuAttributes() map[string]string {
	return map[string]string{
		"descriptors": string(qemuReader()), "busnum": "1\n", "devnum": "2\n", "speed": "12\n", "bConfigurationValue": "1\n",
		"manufacturer": "QEMU\n", "product": "QEMU USB CCID\n", "serial": "1-0000:00:04.0-1\n",
	}
}

// scan gives the devices.
func (f tree) scan() []Device {
	f.t.Helper()
	devices, err := f.Devices()
	if err != nil {
		f.t.Fatal(err)
	}
	return devices
}

func TestDevices(t *testing.T) {
	f := newTree(t)
	f.add("usb1", map[string]string{ // a root hub
		"descriptors": string(slices.Concat(hx("12 01 0002 09 00 01 40 6b1d 0200 0106 03 02 01 01"),
			hx("09 02 1900 01 01 00 e0 00"), hx("09 04 00 00 01 09 00 00 00"), hx("07 05 81 03 0400 0c"))),
		"busnum": "1\n", "devnum": "1\n", "speed": "480\n", "bConfigurationValue": "1\n",
	})
	f.add("1-0:1.0", map[string]string{"bInterfaceNumber": "00\n"})
	f.bind("1-0:1.0", "hub")
	f.add("1-1", qemuAttributes())
	f.add("1-1:1.0", map[string]string{"bAlternateSetting": " 0\n"})
	f.bind("1-1:1.0", "usbfs")

	reader := wantQEMU()
	reader.Driver = "usbfs"
	want := []Device{
		{Path: "1-1", Bus: 1, Number: 2, Vendor: 0x08E6, Product: 0x4433, Manufacturer: "QEMU", Name: "QEMU USB CCID",
			Serial: "1-0000:00:04.0-1", Speed: "12", Interfaces: []Interface{reader}},
		{Path: "usb1", Bus: 1, Number: 1, Vendor: 0x1D6B, Product: 2, Release: 0x0601, Speed: "480", Interfaces: []Interface{
			{Class: 9, Driver: "hub", Endpoints: []Endpoint{{Address: 0x81, Attributes: 3, MaxPacket: 4, Interval: 12}}}}},
	}
	if got := f.scan(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
}

func TestDevicesWithoutUSB(t *testing.T) {
	if devices, err := (FS{Sys: t.TempDir()}).Devices(); devices != nil || err != nil {
		t.Errorf("%v, %v", devices, err)
	}
	f := FS{Sys: t.TempDir()}
	if err := os.MkdirAll(filepath.Dir(f.devices()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.devices(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Devices(); err == nil {
		t.Error("a file in place of the folder is no error")
	}
}

// Of several alternates the active one counts, and only the active configuration does.
func TestActiveAlternateAndConfiguration(t *testing.T) {
	second := hx("09 04 00 01 00 0b 00 00 00")
	a := qemuAttributes()
	a["descriptors"] = string(slices.Concat(qemuDevice, qemuConfiguration, hx("09 04 07 00 00 03 00 00 00"),
		hx("09 02 2d00 03 05 00 e0 32"), hx("09 04 00 00 00 ff 00 00 00"), second, hx("09 04 02 00 00 0b 00 00 00")))
	f := newTree(t)
	for _, tc := range []struct {
		name, configuration, alternate string
		want                           []Interface
	}{
		{"first configuration", "1\n", "", []Interface{{Number: 7, Class: 3}}},
		{"first alternate", "5\n", " 0\n", []Interface{{Class: 0xFF}, {Number: 2, Class: 0x0B}}},
		{"second alternate", "5\n", " 1\n", []Interface{{Alternate: 1, Class: 0x0B}, {Number: 2, Class: 0x0B}}},
		{"an alternate that is not there", "5\n", " 9\n", []Interface{{Number: 2, Class: 0x0B}}},
		{"no word of the alternate", "5\n", "", []Interface{{Class: 0xFF}, {Number: 2, Class: 0x0B}}},
		{"not configured", "\n", "", nil},
		{"a configuration that is not there", "4\n", "", nil},
	} {
		a["bConfigurationValue"] = tc.configuration
		f.add("1-1", a)
		f.add("1-1:5.0", map[string]string{"bAlternateSetting": tc.alternate})
		if got := f.scan(); len(got) != 1 || !reflect.DeepEqual(got[0].Interfaces, tc.want) {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// A device that is half there or half gone is left out, and hides no other.
func TestDevicesThatVanish(t *testing.T) {
	f := newTree(t)
	f.add("2-4", qemuAttributes())
	if err := os.Symlink("gone", filepath.Join(f.devices(), "1-2")); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]string){
		"1-3": func(a map[string]string) { delete(a, "descriptors") },
		"1-4": func(a map[string]string) { delete(a, "busnum") },
		"1-5": func(a map[string]string) { delete(a, "devnum") },
		"1-6": func(a map[string]string) { a["devnum"] = "-1\n" },
		"1-7": func(a map[string]string) { a["descriptors"] = "" },
	} {
		a := qemuAttributes()
		change(a)
		f.add(name, a)
	}
	if got := f.scan(); len(got) != 1 || got[0].Path != "2-4" {
		t.Errorf("%+v, want 2-4 alone", got)
	}
}

// Broken descriptors after good ones take nothing away.
func TestDeviceWithBrokenEnd(t *testing.T) {
	a := qemuAttributes()
	a["descriptors"] += "\x00\x00"
	f := newTree(t)
	f.add("1-1", a)
	if got := f.scan(); len(got) != 1 || !reflect.DeepEqual(got[0].Interfaces, []Interface{wantQEMU()}) {
		t.Errorf("%+v", got)
	}
}

// What a device calls itself can do nothing to a terminal.
func TestStringsArePrintable(t *testing.T) {
	a := qemuAttributes()
	a["product"], a["serial"] = "A\x1b[2J\nB é\n", " \xff\u202e1 \n"
	delete(a, "manufacturer")
	f := newTree(t)
	f.add("1-1", a)
	got := f.scan()
	if len(got) != 1 || got[0].Name != "A?[2J?B é" || got[0].Serial != "??1" || got[0].Manufacturer != "" {
		t.Errorf("%+v", got)
	}
}
