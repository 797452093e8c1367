package readers

import (
	"bipd/ccid"
	"bipd/ccid/usbfs"
)

// Attached is a USB reader that is plugged in.
type Attached struct {
	ccid.IDs
	Slots int // their number
}

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
		for _, i := range ccid.Interfaces(d) {
			if i.Err == nil {
				list = append(list, Attached{IDs: i.IDs, Slots: i.Descriptor.Slots()})
			}
		}
	}
	return list, nil
}
