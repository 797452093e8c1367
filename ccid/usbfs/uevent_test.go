package usbfs

import (
	"reflect"
	"strings"
	"testing"
)

// message joins lines as the kernel does.
func message(lines ...string) []byte { return []byte(strings.Join(lines, "\x00") + "\x00") }

func TestParseUevent(t *testing.T) {
	const path = "/devices/pci0000:00/0000:00:04.0/usb1/1-1"
	got, err := parseUevent(message("add@"+path, "ACTION=add", "DEVPATH="+path, "SUBSYSTEM=usb", "MAJOR=189", "MINOR=1",
		"DEVNAME=bus/usb/001/002", "DEVTYPE=usb_device", "PRODUCT=8e6/4433/0", "TYPE=0/0/0", "BUSNUM=001", "DEVNUM=002", "SEQNUM=1234"))
	if want := (uevent{"add", path, "usb"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]byte{
		nil, {0}, []byte("add@/x"), message("add@/x"), message("add@/x", "ACTION=add", "DEVPATH=/x"),
		message("add@/x", "ACTION=remove", "DEVPATH=/x", "SUBSYSTEM=usb"),
		message("add@/y", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=usb"),
		message("add@x", "ACTION=add", "DEVPATH=x", "SUBSYSTEM=usb"),
		message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=usb", "DEVTYPE"),
		message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=usb", "=1"),
		message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=usb", ""),
		message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM="),
		[]byte("add@/x\x00ACTION=add\x00DEVPATH=/x\x00SUBSYSTEM=usb"),
		[]byte("libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00"),
	} {
		if e, err := parseUevent(bad); err == nil {
			t.Errorf("%q: %+v", bad, e)
		}
	}
}

func TestEventsThatMatter(t *testing.T) {
	for e, want := range map[uevent]bool{
		{"add", "/x", "usb"}: true, {"remove", "/x", "usb"}: true, {"change", "/x", "usb"}: true,
		{"bind", "/x", "usb"}: false, {"unbind", "/x", "usb"}: false, {"add", "/x", "usbmon"}: false, {"add", "/x", "net"}: false,
	} {
		if e.changesDevices() != want {
			t.Errorf("%+v", e)
		}
	}
}

// FuzzUevent: whatever is parsed is what a message made of it says.
func FuzzUevent(f *testing.F) {
	f.Add(message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=usb", "DEVTYPE=usb_device"))
	f.Add(message("unbind@/x/1-1:1.0", "ACTION=unbind", "DEVPATH=/x/1-1:1.0", "SUBSYSTEM=usb"))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseUevent(b)
		if err != nil {
			if e != (uevent{}) {
				t.Errorf("%+v besides %v", e, err)
			}
			return
		}
		again, err := parseUevent(message(e.action+"@"+e.path, "ACTION="+e.action, "DEVPATH="+e.path, "SUBSYSTEM="+e.subsystem))
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Errorf("%+v, again %+v, %v", e, again, err)
		}
	})
}
