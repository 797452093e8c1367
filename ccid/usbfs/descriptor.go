package usbfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Descriptor types (USB 2.0, table 9-5; USB 3.2, table 9-6).
const (
	typeDevice        = 0x01
	typeConfiguration = 0x02
	typeInterface     = 0x04
	typeEndpoint      = 0x05
	typeAssociation   = 0x0B
	typeSSCompanion   = 0x30 // follows an endpoint of a SuperSpeed device
	typeSSPCompanion  = 0x31 // the same, isochronous
)

// Lengths of descriptors in octets. A device may send longer ones, whose end is skipped.
const (
	lengthDevice        = 18
	lengthConfiguration = 9
	lengthInterface     = 9
	lengthEndpoint      = 7
)

// deviceIDs are the fields of the device descriptor that say which device it is.
type deviceIDs struct{ vendor, product, release uint16 }

// configuration is one configuration with all alternates of its interfaces, in the order of the descriptors.
type configuration struct {
	value      uint8
	interfaces []Interface
}

var errDescriptors = errors.New("usbfs: bad descriptors")

// parseDevice reads the device descriptor that b, the descriptors of a device as sysfs gives them, begins with, and
// returns what follows it.
func parseDevice(b []byte) (ids deviceIDs, rest []byte, err error) {
	if len(b) < lengthDevice || b[0] < lengthDevice || int(b[0]) > len(b) || b[1] != typeDevice {
		return ids, nil, fmt.Errorf("%w: no device descriptor", errDescriptors)
	}
	return deviceIDs{
		vendor:  binary.LittleEndian.Uint16(b[8:]),
		product: binary.LittleEndian.Uint16(b[10:]),
		release: binary.LittleEndian.Uint16(b[12:]),
	}, b[b[0]:], nil
}

// parseConfigurations reads what follows the device descriptor: for each configuration its descriptor and all that
// belongs to it. Besides an error it returns what came before.
//
// The total length that a configuration descriptor gives is not looked at: the kernel cuts off what it could not read
// without correcting it. The next configuration descriptor ends a configuration.
func parseConfigurations(b []byte) ([]configuration, error) {
	var all []configuration
	var conf *configuration // the one at hand
	var iface *Interface    // the one at hand, the place where class-specific descriptors belong; nil = none
	for at := 0; at < len(b); {
		d := b[at:]
		if len(d) < 2 || d[0] < 2 || int(d[0]) > len(d) {
			return all, fmt.Errorf("%w: length at offset %d", errDescriptors, at)
		}
		d = d[:d[0]:d[0]]
		switch kind := d[1]; kind {
		case typeConfiguration:
			if len(d) < lengthConfiguration {
				return all, fmt.Errorf("%w: configuration descriptor of %d octets at offset %d", errDescriptors, len(d), at)
			}
			all = append(all, configuration{value: d[5]})
			conf, iface = &all[len(all)-1], nil
		case typeInterface:
			if len(d) < lengthInterface || conf == nil {
				return all, fmt.Errorf("%w: interface descriptor of %d octets at offset %d", errDescriptors, len(d), at)
			}
			conf.interfaces = append(conf.interfaces, Interface{
				Number: d[2], Alternate: d[3], Class: d[5], SubClass: d[6], Protocol: d[7],
			})
			iface = &conf.interfaces[len(conf.interfaces)-1]
		case typeEndpoint:
			if len(d) < lengthEndpoint || iface == nil {
				return all, fmt.Errorf("%w: endpoint descriptor of %d octets at offset %d", errDescriptors, len(d), at)
			}
			iface.Endpoints = append(iface.Endpoints, Endpoint{
				Address: d[2], Attributes: d[3], MaxPacket: binary.LittleEndian.Uint16(d[4:]) & 0x07FF, Interval: d[6],
			})
		case typeAssociation:
			iface = nil // what follows belongs to the function, until the next interface
		case typeSSCompanion, typeSSPCompanion:
		default:
			if iface != nil {
				iface.Extra = append(iface.Extra, d...)
			}
		}
		at += len(d)
	}
	return all, nil
}

// alternate finds an alternate of an interface; nil where there is none.
func (c *configuration) alternate(number, alternate uint8) *Interface {
	for i := range c.interfaces {
		if in := &c.interfaces[i]; in.Number == number && in.Alternate == alternate {
			return in
		}
	}
	return nil
}
