package usbfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// FS says where sysfs and the device nodes are mounted. The zero value is the machine's own.
type FS struct {
	Sys string // "/sys" where empty
	Dev string // "/dev" where empty
}

// Device is an attached device, as it was when the scan saw it.
type Device struct {
	Path                       string // bus and ports, "1-1.2"; "usb1" for a root hub. It stays the same after a re-plug
	Bus, Number                int    // of the node /dev/bus/usb/BBB/DDD; Number changes with each plug
	Vendor, Product, Release   uint16
	Manufacturer, Name, Serial string // of the string descriptors, made printable; "" where the device has none
	Speed                      string // Mbit/s: "1.5", "12", "480", ...
	Interfaces                 []Interface
}

// Interface is one interface of the active configuration, in its active alternate.
type Interface struct {
	Number, Alternate         uint8
	Class, SubClass, Protocol uint8
	// Extra is every descriptor between this interface's and the next one that the USB standard does not define: those
	// of a class or a vendor, whole, one after the other, also those after an endpoint.
	Extra     []byte
	Endpoints []Endpoint
	Driver    string // the kernel's driver that is bound, "usbfs" for a program; "" where there is none
}

// Endpoint is an endpoint other than 0.
type Endpoint struct {
	Address    uint8  // bit 7 is the direction: 1 = to the host
	Attributes uint8  // bits 1-0 are the type: 2 = bulk, 3 = interrupt
	MaxPacket  uint16 // octets
	Interval   uint8  // of interrupt endpoints, in units that depend on the speed
}

// IDs gives vendor and product as "08e6:3437".
func (d Device) IDs() string { return fmt.Sprintf("%04x:%04x", d.Vendor, d.Product) }

// String gives path and ids.
func (d Device) String() string { return d.Path + " (" + d.IDs() + ")" }

// node is the path of the device's node.
func (f FS) node(d Device) string {
	return filepath.Join(cmp.Or(f.Dev, "/dev"), "bus/usb", fmt.Sprintf("%03d", d.Bus), fmt.Sprintf("%03d", d.Number))
}

// devices is the folder with an entry for each device and each interface.
func (f FS) devices() string { return filepath.Join(cmp.Or(f.Sys, "/sys"), "bus/usb/devices") }

// Devices scans sysfs, which needs no rights. The devices come in the order of their paths. A device that vanishes
// meanwhile, or is not yet all there, is left out; of a device with broken descriptors there is what comes before the
// break. A kernel without USB has no devices.
func (f FS) Devices() ([]Device, error) {
	entries, err := os.ReadDir(f.devices())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("usbfs: list the devices: %w", err)
	}
	var devices []Device
	for _, e := range entries {
		if strings.Contains(e.Name(), ":") {
			continue // an interface
		}
		if d, err := f.device(e.Name()); err == nil {
			devices = append(devices, d)
		}
	}
	slices.SortFunc(devices, func(a, b Device) int { return strings.Compare(a.Path, b.Path) })
	return devices, nil
}

// device reads what sysfs says of one device.
func (f FS) device(path string) (Device, error) {
	dir := filepath.Join(f.devices(), path)
	raw, err := os.ReadFile(filepath.Join(dir, "descriptors"))
	if err != nil {
		return Device{}, err
	}
	ids, rest, err := parseDevice(raw)
	if err != nil {
		return Device{}, err
	}
	configurations, _ := parseConfigurations(rest) // what comes before an error is good
	d := Device{
		Path: path, Vendor: ids.vendor, Product: ids.product, Release: ids.release,
		Manufacturer: text(dir, "manufacturer"), Name: text(dir, "product"), Serial: text(dir, "serial"),
		Speed: text(dir, "speed"),
	}
	if d.Bus, err = number(dir, "busnum"); err != nil {
		return Device{}, err
	}
	if d.Number, err = number(dir, "devnum"); err != nil {
		return Device{}, err
	}
	if active, err := number(dir, "bConfigurationValue"); err == nil { // it is empty while the device is not configured
		for _, c := range configurations {
			if int(c.value) == active {
				d.Interfaces = f.interfaces(path, &c)
				break
			}
		}
	}
	// Whatever was read so far is of one device only if that is still there.
	if n, err := number(dir, "devnum"); err != nil || n != d.Number {
		return Device{}, fmt.Errorf("usbfs: %s: replaced while it was looked at", path)
	}
	return d, nil
}

// interfaces gives the active alternates of a configuration that is active.
func (f FS) interfaces(path string, c *configuration) []Interface {
	var active []Interface
	for _, in := range c.interfaces {
		if slices.ContainsFunc(active, func(a Interface) bool { return a.Number == in.Number }) {
			continue
		}
		dir := filepath.Join(f.devices(), interfaceName(path, c.value, in.Number))
		alternate, err := strconv.ParseUint(text(dir, "bAlternateSetting"), 10, 8)
		if err != nil {
			alternate = 0 // what every interface begins with
		}
		chosen := c.alternate(in.Number, uint8(alternate))
		if chosen == nil {
			continue
		}
		chosen.Driver = driver(dir)
		active = append(active, *chosen)
	}
	return active
}

// interfaceName is the name of an interface in sysfs.
func interfaceName(path string, configuration, number uint8) string {
	if bus, root := strings.CutPrefix(path, "usb"); root {
		path = bus + "-0"
	}
	return fmt.Sprintf("%s:%d.%d", path, configuration, number)
}

// driver names the kernel's driver that is bound to an interface.
func driver(dir string) string {
	link, err := os.Readlink(filepath.Join(dir, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

// number reads an attribute that is a decimal number.
func number(dir, name string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 31)
	return int(n), err
}

// text reads an attribute for people; "" where it is missing. The device chose it: what does not print becomes a
// question mark, lest it does things to logs and terminals.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, strings.TrimRight(string(b), "\x00\n ")))
}
