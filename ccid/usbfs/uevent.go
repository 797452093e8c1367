package usbfs

import (
	"bytes"
	"errors"
	"strings"
)

// uevent is what the kernel tells of a device in sysfs (lib/kobject_uevent.c): a header "add@/devices/..." and then
// variables "ACTION=add", each ended by an octet 0.
type uevent struct {
	action    string // add, remove, change, move, online, offline, bind, unbind
	path      string // below /sys
	subsystem string
}

var errUevent = errors.New("usbfs: not a uevent of the kernel")

// parseUevent reads one message. Messages of udev, which use the same socket, are errors.
func parseUevent(b []byte) (uevent, error) {
	if len(b) == 0 || b[len(b)-1] != 0 {
		return uevent{}, errUevent
	}
	lines := bytes.Split(b[:len(b)-1], []byte{0})
	var e uevent
	for _, line := range lines[1:] {
		name, value, found := strings.Cut(string(line), "=")
		if !found || name == "" {
			return uevent{}, errUevent
		}
		switch name {
		case "ACTION":
			e.action = value
		case "DEVPATH":
			e.path = value
		case "SUBSYSTEM":
			e.subsystem = value
		}
	}
	if e.action == "" || !strings.HasPrefix(e.path, "/") || e.subsystem == "" || string(lines[0]) != e.action+"@"+e.path {
		return uevent{}, errUevent
	}
	return e, nil
}

// changesDevices tells whether a scan may see something new after the event. That a driver, or a program, has taken an
// interface or has let it go is left out: who opens devices upon a signal would send himself signals.
func (e uevent) changesDevices() bool {
	return e.subsystem == "usb" && e.action != "bind" && e.action != "unbind"
}
