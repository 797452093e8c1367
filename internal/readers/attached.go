package readers

import (
	"fmt"

	"bipd/ccid"
	"bipd/ccid/usbfs"
)

// Attached is a USB reader that is plugged in.
type Attached struct {
	ccid.IDs
	Slots int // their number
}

// The class of CCID readers that speak over bulk endpoints (CCID clause 4.6).
const (
	classSmartCard = 0x0B
	protocolBulk   = 0x00
)

// Bus is where USB devices are listed, without opening them.
type Bus interface {
	Devices() ([]usbfs.Device, error)
}

// Scan finds the readers that are plugged in, in the order of their paths, without opening them.
func Scan(bus Bus) ([]Attached, error) {
	devices, err := bus.Devices()
	if err != nil {
		return nil, err
	}
	var list []Attached
	for _, d := range devices {
		first := true
		for _, i := range d.Interfaces {
			if i.Class != classSmartCard || i.Protocol != protocolBulk {
				continue
			}
			desc, err := ccid.FindDescriptor(i.Extra)
			if err != nil {
				continue // not one to be driven
			}
			ids := idsOf(d)
			if !first { // a further reader in one device: package ccid names it so too
				ids.Path = fmt.Sprintf("%s:%d", d.Path, i.Number)
			}
			first = false
			list = append(list, Attached{IDs: ids, Slots: desc.Slots()})
		}
	}
	return list, nil
}

func idsOf(d usbfs.Device) ccid.IDs {
	return ccid.IDs{Path: d.Path, Vendor: d.Vendor, Product: d.Product, Release: d.Release,
		Manufacturer: d.Manufacturer, Name: d.Name, Serial: d.Serial}
}
