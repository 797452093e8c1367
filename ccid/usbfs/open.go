package usbfs

import (
	"errors"
	"fmt"
	"syscall"
)

// usbfsDriver is the kernel's name for the driver of interfaces that programs have claimed.
const usbfsDriver = "usbfs"

var errOldKernel = errors.New("the kernel is too old: Linux 3.16 is needed")

// Open opens the device and claims the interface. A kernel driver that has the interface is detached until Close; another
// program keeps it.
//
// Errors: *InUseError where another program has the interface; ErrGone where the device is not there any more;
// fs.ErrPermission, with what to do about it.
func (f FS) Open(d Device, iface uint8) (*Handle, error) {
	in := d.find(iface)
	if in == nil {
		return nil, fmt.Errorf("usbfs: open %v: it has no interface %d", d, iface)
	}
	n, err := openNode(f.node(d), d)
	if err != nil {
		return nil, err
	}
	driver, err := take(n, iface)
	if err != nil {
		n.close()
		if errors.Is(err, syscall.EBUSY) { // only now, lest this very node counts as a holder's
			return nil, &InUseError{Device: d.String(), Interface: iface, Driver: driver, Holders: f.Holders(d)}
		}
		return nil, explain("open "+d.String(), err)
	}
	return &Handle{
		iface:     iface,
		node:      n,
		detached:  driver != "" && driver != usbfsDriver,
		in:        in.endpoint(attributeBulk, directionIn),
		out:       in.endpoint(attributeBulk, 0),
		notify:    in.endpoint(attributeInterrupt, directionIn),
		transfers: newTransfers(n),
	}, nil
}

// take claims the interface, and names the driver that has it or had to let go.
func take(n *node, iface uint8) (driver string, err error) {
	caps, err := n.capabilities()
	if err != nil {
		return "", err
	}
	if caps&capReapAfterDisconnect == 0 || caps&capNoPacketSizeLimit == 0 {
		return "", errOldKernel
	}
	driver = n.driver(iface)
	if err = n.take(iface); err != nil {
		driver = n.driver(iface) // the one that is in the way
	}
	return driver, err
}

// find finds an interface by its number; nil where there is none.
func (d Device) find(number uint8) *Interface {
	for i := range d.Interfaces {
		if d.Interfaces[i].Number == number {
			return &d.Interfaces[i]
		}
	}
	return nil
}

// endpoint finds the first endpoint of a type and direction; nil where there is none.
func (in *Interface) endpoint(attribute, direction uint8) *Endpoint {
	for i := range in.Endpoints {
		if e := &in.Endpoints[i]; e.Attributes&attributeMask == attribute && e.Address&directionIn == direction {
			return e
		}
	}
	return nil
}
