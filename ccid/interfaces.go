package ccid

import (
	"errors"
	"fmt"
	"slices"

	"bipd/ccid/usbfs"
)

// Classes of the interfaces of card readers, and the protocol of those with bulk endpoints (CCID clause 4.6).
const (
	classSmartCard = 0x0B
	classVendor    = 0xFF
	protocolBulk   = 0x00
)

// ErrNotDriven says that an interface looks like a card reader's and is not one that this driver takes.
var ErrNotDriven = errors.New("ccid: not driven")

// vendorClass are the readers whose interface has the class of a vendor (FF) and that follow the CCID class all the same,
// by vendor and product. Others may do something else behind the same descriptor. The list is that of readers which
// libccid 1.5.2 takes, and whose dump in the folder readers of its sources shows the class FF; with five of them the type
// of the class descriptor is FF as well. The rules for udev name the same readers.
var vendorClass = map[[2]uint16]bool{
	{0x046A, 0x003E}: true, // Cherry SmartTerminal ST-2xxx
	{0x04E6, 0x5111}: true, // SCM SCR331-DI
	{0x04E6, 0x511A}: true, // SCM SCR3310 of NTT Communications
	{0x04E6, 0x5120}: true, // SCM SCR331-DI of NTT Communications
	{0x04E6, 0x5121}: true, // SCM SDI010
	{0x04E6, 0x512B}: true, // SCM SDI011
	{0x04E6, 0x512C}: true, // SCM SDI011
	{0x04E6, 0x5291}: true, // SCM SCL010
	{0x04E6, 0xE003}: true, // SCM SPR532
	{0x08E6, 0x1359}: true, // Verisign secure storage token; descriptor of type FF
	{0x08E6, 0x2202}: true, // Gemalto Gem e-Seal Pro; descriptor of type FF
	{0x08E6, 0xACE0}: true, // Verisign secure token; descriptor of type FF
	{0x09BE, 0x0002}: true, // MySMART MySmartPad; descriptor of type FF
	{0x413C, 0x2100}: true, // Dell keyboard SK-3106; descriptor of type FF
}

// Interface is an interface of a USB device that looks like a card reader's.
type Interface struct {
	Number     uint8
	IDs        IDs
	Descriptor Descriptor // the zero value where it cannot be read
	Err        error      // why it is not driven; nil where it is. It wraps ErrNotDriven
}

// Interfaces lists the interfaces of a device that look like a card reader's: those of the class of smart cards, and those
// of a vendor's class with a class descriptor of CCID. The first that is driven goes by the device's path, the others by
// that and their number.
func Interfaces(d usbfs.Device) (list []Interface) {
	for _, i := range d.Interfaces {
		desc, found, err := interfaceDescriptor(i)
		if !found {
			continue
		}
		r := Interface{Number: i.Number, IDs: idsOf(d, i), Descriptor: desc}
		switch {
		case i.Class == classVendor && !vendorClass[[2]uint16{d.Vendor, d.Product}]:
			err = errors.New("its interface has a class descriptor of CCID, but the class of its vendor (FF), and it is not among " +
				"those known to follow CCID all the same")
		case i.Protocol != protocolBulk:
			err = fmt.Errorf("its interface has no bulk pipes (protocol %d, ICCD)", i.Protocol)
		}
		if err != nil {
			r.Err = fmt.Errorf("%w: %w", ErrNotDriven, err)
		}
		list = append(list, r)
	}
	first := max(0, slices.IndexFunc(list, func(i Interface) bool { return i.Err == nil }))
	for n := range list {
		if n != first {
			list[n].IDs.Path = fmt.Sprintf("%s:%d", d.Path, list[n].Number)
		}
	}
	return list
}

// interfaceDescriptor reads the class descriptor of an interface; found tells whether the interface looks like a reader's.
func interfaceDescriptor(i usbfs.Interface) (d Descriptor, found bool, err error) {
	switch i.Class {
	case classSmartCard:
		d, err = FindDescriptor(i.Extra)
		return d, true, err
	case classVendor:
		d, err = findDescriptor(i.Extra, descriptorType, vendorDescriptorType)
		return d, err == nil, nil
	}
	return Descriptor{}, false, nil
}

// idsOf tells of the interface of a device.
func idsOf(d usbfs.Device, i usbfs.Interface) IDs {
	ids := IDs{
		Path: d.Path, Vendor: d.Vendor, Product: d.Product, Release: d.Release,
		Manufacturer: d.Manufacturer, Name: d.Name, Serial: d.Serial,
	}
	for _, e := range i.Endpoints {
		if e.Attributes&3 == 2 && e.Address&0x80 != 0 {
			ids.PacketSize = e.MaxPacket
			break
		}
	}
	return ids
}
