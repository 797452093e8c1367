package readers

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/control"
	"bipd/uicc"
)

func descriptor(t *testing.T, m ccidemu.Model) ccid.Descriptor {
	t.Helper()
	d, err := ccid.ParseDescriptor(m.ClassDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestUSB(t *testing.T) {
	ids := ccid.IDs{Path: "1-1.2", Vendor: 0x08E6, Product: 0x3437, Release: 0x0210, Name: "Three Slots", Manufacturer: "Nobody", Serial: "7"}
	got := USB([]ccid.ReaderInfo{{IDs: ids, Speed: "480", Descriptor: descriptor(t, ccidemu.MultiSlot(3)), Slots: []ccid.SlotInfo{
		{State: uicc.SlotPresent, ATR: []byte{0x3B, 0x00}}, {State: uicc.SlotEmpty}, {State: uicc.SlotPresent, Err: uicc.ErrMute},
	}}})
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	slots := []control.ReaderSlot{
		{ID: "1-1.2.0", Number: 0, State: "card", ATR: "3B00", Card: DecodeATR([]byte{0x3B, 0x00}), Config: `reader = "ccid:path=1-1.2"`},
		{ID: "1-1.2.1", Number: 1, State: "empty", Config: `reader = "ccid:path=1-1.2,slot=1"`},
		{ID: "1-1.2.2", Number: 2, State: "card", Problem: uicc.ErrMute.Error(), Config: `reader = "ccid:path=1-1.2,slot=2"`},
	}
	if !reflect.DeepEqual(got[0].Slots, slots) {
		t.Errorf("slots\n%+v\nwant\n%+v", got[0].Slots, slots)
	}
	r := got[0]
	if r.Driver != "ccid" || r.ID != "08e6:3437" || r.Release != "2.10" || r.Speed != "480" || r.Serial != "7" || r.Manufacturer != "Nobody" ||
		!reflect.DeepEqual(r.Protocols, []string{"T=0", "T=1"}) || r.Problem != "" || r.Hint != "" || r.MaxMessage == 0 || r.Voltages == "" || r.Level == "" {
		t.Errorf("reader %+v", r)
	}
	if list := USB(nil); list == nil || len(list) != 0 {
		t.Errorf("no readers: %#v, which is no empty JSON list", list)
	}
}

// Why a reader cannot be used, and what to do.
func TestProblem(t *testing.T) {
	held := func(processes ...usbfs.Process) error {
		return fmt.Errorf("open: %w", &usbfs.InUseError{Device: "x", Driver: "usbfs", Holders: processes})
	}
	for name, tc := range map[string]struct {
		err        error
		what, hint string
		holders    int
	}{
		"pcscd":              {held(usbfs.Process{PID: 812, Name: "pcscd"}), "in use by pcscd (process 812)", "systemctl stop pcscd.socket", 1},
		"pcscd and more":     {held(usbfs.Process{PID: 7, Name: "qemu"}, usbfs.Process{PID: 812, Name: "pcscd"}), "in use by qemu (process 7), pcscd (process 812)", "pcscd.socket", 2},
		"another bipd":       {held(usbfs.Process{PID: 9, Name: "bipd"}), "in use by bipd (process 9)", "--socket", 1},
		"something":          {held(usbfs.Process{PID: 9, Name: "gpg"}), "in use by gpg (process 9)", "End that program", 1},
		"nobody to see":      {held(), "in use", "as root", 0},
		"no rights":          {fmt.Errorf("open: %w", fs.ErrPermission), "this user may not open", "60-bipd-ccid.rules", 0},
		"something else":     {errors.New("broken"), "broken", "", 0},
		"character level":    {fmt.Errorf("%w: it works at character level", ccid.ErrNotSupported), "character level", "", 0},
		"a stall on the way": {usbfs.ErrStall, "stall", "", 0},
	} {
		r := USB([]ccid.ReaderInfo{{Descriptor: descriptor(t, ccidemu.PCTwin()), Err: tc.err}})[0]
		if !strings.Contains(r.Problem, tc.what) || !strings.Contains(r.Hint, tc.hint) || (tc.hint == "") != (r.Hint == "") || len(r.Holders) != tc.holders {
			t.Errorf("%s: problem %q, hint %q, holders %v", name, r.Problem, r.Hint, r.Holders)
		}
		if len(r.Slots) != 1 || r.Slots[0].State != "unknown" || r.Slots[0].Config == "" {
			t.Errorf("%s: slots %+v", name, r.Slots)
		}
	}
}

// A reader that is not driven is named with the reason, and promises neither slots nor abilities.
func TestNotDriven(t *testing.T) {
	err := fmt.Errorf("%w: for a reason", ccid.ErrNotDriven)
	list := USB([]ccid.ReaderInfo{{IDs: ccid.IDs{Path: "1-1", Name: "Foreign"}, Descriptor: descriptor(t, ccidemu.PCTwin()), Err: err}})
	if r := list[0]; r.Slots != nil || r.Level != "" || r.MaxMessage != 0 || r.Path != "1-1" || r.Problem != err.Error() {
		t.Errorf("%+v", r)
	}
	var page strings.Builder
	if err := Write(&page, list); err != nil || !strings.Contains(page.String(), "PROBLEM: ccid: not driven: for a reason") || strings.Contains(page.String(), "reader =") {
		t.Errorf("%v\n%s", err, page.String())
	}
}

// list is a bus of these devices.
type list []usbfs.Device

func (l list) Devices() ([]usbfs.Device, error) {
	if l == nil {
		return nil, errors.New("no USB")
	}
	return l, nil
}

func TestScan(t *testing.T) {
	one, two := ccidemu.PCTwin(), ccidemu.MultiSlot(2)
	reader := func(number uint8, extra []byte) usbfs.Interface {
		return usbfs.Interface{Number: number, Class: 0x0B, Extra: extra}
	}
	got, err := Scan(list{
		{Path: "1-1", Interfaces: []usbfs.Interface{{Class: 3}}}, // a keyboard
		{Path: "1-2", Vendor: 1, Product: 2, Name: "both", Serial: "s", Interfaces: []usbfs.Interface{{Class: 3}, reader(1, one.ClassDescriptor()), reader(2, two.ClassDescriptor())}},
		{Path: "1-3", Interfaces: []usbfs.Interface{reader(0, []byte{1, 2, 3})}},                               // no descriptor
		{Path: "1-4", Interfaces: []usbfs.Interface{{Class: 0x0B, Protocol: 1, Extra: one.ClassDescriptor()}}}, // control pipe only
		{Path: "1-5", Interfaces: []usbfs.Interface{reader(0, one.ClassDescriptor())}},
		{Path: "1-6", Vendor: 0x04E6, Product: 0xE003, Interfaces: []usbfs.Interface{{Class: 0xFF, Extra: one.ClassDescriptor()}}}, // driven by its id
		{Path: "1-7", Interfaces: []usbfs.Interface{{Class: 0xFF, Extra: one.ClassDescriptor()}}},                                  // not
	})
	want := []Attached{
		{ccid.IDs{Path: "1-2", Vendor: 1, Product: 2, Name: "both", Serial: "s"}, 1},
		{ccid.IDs{Path: "1-2:2", Vendor: 1, Product: 2, Name: "both", Serial: "s"}, 2},
		{ccid.IDs{Path: "1-5"}, 1},
		{ccid.IDs{Path: "1-6", Vendor: 0x04E6, Product: 0xE003}, 1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := Scan(list(nil)); err == nil {
		t.Error("a bus that cannot be listed")
	}
}
