package ccid

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// proprietary gives a descriptor the type FF, as some interfaces of a vendor's class have it.
func proprietary(b []byte) []byte {
	b = bytes.Clone(b)
	b[1] = 0xFF
	return b
}

// Which interfaces are driven, which are named with the reason, and which are none of ours. The ids are those of published
// readers.
func TestInterfaces(t *testing.T) {
	m := ccidemu.PCTwin()
	good := m.ClassDescriptor()
	implausible := proprietary(good)
	copy(implausible[44:], []byte{1, 0, 0, 0}) // dwMaxCCIDMessageLength
	iface := func(number, class, protocol uint8, extra []byte) usbfs.Interface {
		return usbfs.Interface{Number: number, Class: class, Protocol: protocol, Extra: extra}
	}
	for name, tc := range map[string]struct {
		vendor, product uint16
		interfaces      []usbfs.Interface
		want            []string // path, and a part of the reason where there is one
	}{
		"smart card class":        {1, 2, []usbfs.Interface{iface(0, 0x0B, 0, good)}, []string{"1-1"}},
		"two of it":               {1, 2, []usbfs.Interface{iface(0, 0x0B, 0, good), iface(1, 0x0B, 0, good)}, []string{"1-1", "1-1:1"}},
		"without a descriptor":    {1, 2, []usbfs.Interface{iface(0, 0x0B, 0, nil)}, []string{"1-1 the interface has none"}},
		"type FF in its class":    {1, 2, []usbfs.Interface{iface(0, 0x0B, 0, proprietary(good))}, []string{"1-1 the interface has none"}},
		"ICCD, version A":         {1, 2, []usbfs.Interface{iface(0, 0x0B, 1, good)}, []string{"1-1 protocol 1, ICCD"}},
		"ICCD beside a reader":    {1, 2, []usbfs.Interface{iface(0, 0x0B, 2, good), iface(1, 0x0B, 0, good)}, []string{"1-1:0 protocol 2, ICCD", "1-1"}},
		"vendor's class, known":   {0x04E6, 0xE003, []usbfs.Interface{iface(0, 0xFF, 0, good)}, []string{"1-1"}},
		"type FF, known":          {0x413C, 0x2100, []usbfs.Interface{iface(0, 0xFF, 0, proprietary(good))}, []string{"1-1"}},
		"known, ICCD":             {0x08E6, 0x2202, []usbfs.Interface{iface(0, 0xFF, 1, good)}, []string{"1-1 protocol 1, ICCD"}},
		"vendor's class, unknown": {0x076B, 0x532A, []usbfs.Interface{iface(0, 0xFF, 0, good)}, []string{"1-1 class of its vendor (FF)"}},
		"type FF, unknown":        {0x0C4B, 0x0300, []usbfs.Interface{iface(0, 0xFF, 0, proprietary(good))}, []string{"1-1 class of its vendor (FF)"}},
		"unknown beside a reader": {1, 2, []usbfs.Interface{iface(0, 0xFF, 0, good), iface(1, 0x0B, 0, good)}, []string{"1-1:0 class of its vendor (FF)", "1-1"}},
		"something else of a vendor": {0x04E6, 0xE003, []usbfs.Interface{
			iface(0, 0xFF, 0, nil), iface(1, 0xFF, 0, []byte{9, 0x21, 0, 1, 0, 1, 0x22, 0, 0}), iface(2, 0xFF, 0, implausible), iface(3, 3, 0, good),
		}, nil},
	} {
		var got []string
		for _, i := range Interfaces(usbfs.Device{Path: "1-1", Vendor: tc.vendor, Product: tc.product, Interfaces: tc.interfaces}) {
			if i.Err == nil && i.Descriptor.MaxMessage != m.MaxMessage {
				t.Errorf("%s: descriptor %+v", name, i.Descriptor)
			}
			if i.Err != nil && !errors.Is(i.Err, ErrNotDriven) {
				t.Errorf("%s: error %v", name, i.Err)
			}
			got = append(got, strings.TrimSpace(i.IDs.Path+" "+fmt.Sprint(i.Err)))
		}
		fits := len(got) == len(tc.want)
		for n := range tc.want {
			path, reason, refused := strings.Cut(tc.want[n], " ")
			fits = fits && strings.HasPrefix(got[n], path+" ") && (refused && strings.Contains(got[n], reason) || got[n] == path+" <nil>")
		}
		if !fits {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// A reader of a vendor's class that is known works; another is listed with the reason, and never opened.
func TestHubVendorClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		unknown := ccidemu.PCTwin()
		unknown.Class = 0xFF
		b.plug(t, "1-1", unknown)
		r := b.plug(t, "1-2", ccidemu.SCL010())
		h := runHub(t, b)
		events := slotsOf(t, h)
		expectEvents(t, events, "1-2.0 true")
		insert(t, r, newCard(t, softuicc.Config{ATR: atr(t, atrs()["fast"])}))
		reader := h.Reader(Selector{Path: "1-2"})
		until(t, reader.Watch(testContext(t)), uicc.SlotPresent)
		c, err := reader.Connect(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		want(t, c, selectMF, "9000")
		c.Close()
		for _, list := range [][]ReaderInfo{h.List(), scanned(t, b, "1-1")} {
			if len(list) == 0 || !errors.Is(list[0].Err, ErrNotDriven) || list[0].Name != unknown.Name || list[0].Slots != nil {
				t.Errorf("list %+v", list)
			}
		}
		if _, err := h.Reader(Selector{Path: "1-1"}).Connect(testContext(t)); !errors.Is(err, ErrNotDriven) || !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("Connect: %v", err)
		}
		time.Sleep(time.Hour) // for every attempt to open it
		if b.opens != 1 {
			t.Errorf("%d interfaces were opened", b.opens)
		}
		b.unplug("1-1")
		b.unplug("1-2")
		expectEvents(t, events, "1-2.0 false")
		obedient(t, r)
	})
}

// scanned is what ListReaders says of the readers at one path.
func scanned(t *testing.T, b *fakeBus, path string) []ReaderInfo {
	t.Helper()
	alone := newFakeBus()
	alone.plugged[path], alone.numbers[path] = b.plugged[path], 1
	list, err := ListReaders(testContext(t), Config{Bus: alone})
	if err != nil || alone.opens != 0 {
		t.Errorf("%v, %d opened", err, alone.opens)
	}
	return list
}

// The rules for udev name the readers of a vendor's class that are driven, and no others.
func TestUdevRules(t *testing.T) {
	rules, err := os.ReadFile("../systemd/60-bipd-ccid.rules")
	if err != nil {
		t.Fatal(err)
	}
	var named, driven []string
	for _, m := range regexp.MustCompile(`(?m)^ACTION!="remove", SUBSYSTEM=="usb", ENV\{DEVTYPE\}=="usb_device", `+
		`ATTR\{idVendor\}=="([0-9a-f]{4})", ATTR\{idProduct\}=="([0-9a-f]{4})", MODE="0660", GROUP="bipd"$`).FindAllStringSubmatch(string(rules), -1) {
		named = append(named, m[1]+":"+m[2])
	}
	for id := range maps.Keys(vendorClass) {
		driven = append(driven, IDs{Vendor: id[0], Product: id[1]}.VIDPID())
	}
	slices.Sort(driven)
	if !slices.Equal(named, driven) {
		t.Errorf("the rules name %v, driven are %v", named, driven)
	}
}
