package usbfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// node is an open device node. Its descriptor is in the runtime's poller, so that waiting takes no thread; every call
// holds it open until it returns.
type node struct {
	file *os.File
	raw  syscall.RawConn
}

// openNode opens the node of a device.
func openNode(name string, d Device) (*node, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err, name, d)
	}
	file := os.NewFile(uintptr(fd), name)
	raw, err := file.SyscallConn()
	if err == nil {
		err = file.SetDeadline(time.Time{}) // fails where the poller did not take it
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("usbfs: open %v: %s is no usbfs node: %w", d, name, err)
	}
	return &node{file, raw}, nil
}

// openError says why a node cannot be opened and what to do.
func openError(err error, name string, d Device) error {
	err = fmt.Errorf("usbfs: open %v: %s: %w", d, name, err)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %w", err, ErrGone)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf(`%w; let this program's group use the device by a udev rule: `+
			`SUBSYSTEM=="usb", ATTR{idVendor}=="%04x", ATTR{idProduct}=="%04x", MODE="0660", GROUP="<group>"`, err, d.Vendor, d.Product)
	}
	return err
}

// ioctl calls the kernel; see there.
func (n *node) ioctl(number uint, arg unsafe.Pointer) error {
	var err error
	if cerr := n.raw.Control(func(fd uintptr) { err = ioctl(fd, number, arg) }); cerr != nil {
		return ErrClosed
	}
	return err
}

// capabilities are what the kernel can do with this device.
func (n *node) capabilities() (uint32, error) {
	var caps uint32
	err := n.ioctl(request.getCapabilities, unsafe.Pointer(&caps))
	return caps, err
}

// driver names the driver that has the interface; "" where none has.
func (n *node) driver(iface uint8) string {
	d := driverName{iface: uint32(iface)}
	if err := n.ioctl(request.getDriver, unsafe.Pointer(&d)); err != nil {
		return "" // ENODATA: no driver; else the claim will say what is wrong
	}
	name, _, _ := bytes.Cut(d.name[:], []byte{0})
	return string(name)
}

// take claims the interface, and detaches a driver that has it, unless that is another program.
func (n *node) take(iface uint8) error {
	d := disconnectClaim{iface: uint32(iface), flags: exceptDriver}
	copy(d.driver[:], usbfsDriver)
	return n.ioctl(request.disconnectClaim, unsafe.Pointer(&d))
}

// claim claims the interface; it is no error to have it already.
func (n *node) claim(iface uint8) error {
	i := uint32(iface)
	return n.ioctl(request.claimInterface, unsafe.Pointer(&i))
}

// release gives the interface back.
func (n *node) release(iface uint8) error {
	i := uint32(iface)
	return n.ioctl(request.releaseInterface, unsafe.Pointer(&i))
}

// attach has the kernel look for a driver for the interface.
func (n *node) attach(iface uint8) error {
	r := driverRequest{iface: int32(iface), request: int32(request.connect)}
	return n.ioctl(request.driverRequest, unsafe.Pointer(&r))
}

// reset makes a USB reset. It lasts until the device is there again or the kernel gives up, which takes seconds.
func (n *node) reset() error { return n.ioctl(request.reset, nil) }

// clearHalt ends the stall of an endpoint.
func (n *node) clearHalt(endpoint uint8) error {
	e := uint32(endpoint)
	return n.ioctl(request.clearHalt, unsafe.Pointer(&e))
}

// submit hands the kernel a transfer. The kernel takes OUT data now; it writes IN data and the outcome at the reap. Until
// then the URB and its buffer stay where they are.
func (n *node) submit(u *urb) error { return n.ioctl(request.submitURB, unsafe.Pointer(u)) }

// discard has the kernel end a transfer, which must still be reaped. An error says that it has ended already.
func (n *node) discard(u *urb) error { return n.ioctl(request.discardURB, unsafe.Pointer(u)) }

// reap calls ended with the address of each URB that has ended, as they end, until the node is closed.
func (n *node) reap(ended func(address uintptr)) error {
	return n.raw.Write(func(fd uintptr) bool { // the kernel says "writable" where there is something to reap
		for {
			var address uintptr
			if ioctl(fd, request.reapURBNoDelay, unsafe.Pointer(&address)) != nil {
				// EAGAIN: nothing has ended. ENODEV: the same, and the device is gone; what it leaves pending ends soon.
				return false
			}
			ended(address)
		}
	})
}

// gone tells whether the device has been unplugged, and waits at most so long for that.
func (n *node) gone(wait time.Duration) bool {
	hungUp := false
	n.raw.Control(func(fd uintptr) {
		end := time.Now().Add(wait)
		for {
			fds := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR are always asked for
			left := max(time.Until(end), 0).Round(time.Millisecond)
			k, err := unix.Poll(fds, int(left.Milliseconds()))
			if err == unix.EINTR && left > 0 {
				continue
			}
			hungUp = k > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
			return
		}
	})
	return hungUp
}

// close closes the node, which ends reap, and returns when no call uses it any more.
func (n *node) close() error { return n.file.Close() }
