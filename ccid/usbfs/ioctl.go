package usbfs

import (
	"syscall"
	"unsafe"
)

// encoding is how an architecture writes an ioctl's number: 8 bits of function, 8 bits of group, the size of the argument,
// and the direction in the bits above it (include/uapi/asm-generic/ioctl.h, and the asm/ioctl.h of the architectures).
type encoding struct {
	sizeBits          uint
	none, read, write uint // directions; "read" is an argument that the kernel writes
}

var (
	// commonEncoding is that of most architectures.
	commonEncoding = encoding{sizeBits: 14, none: 0, write: 1, read: 2}
	// olderEncoding is that of MIPS, PowerPC and SPARC.
	olderEncoding = encoding{sizeBits: 13, none: 1, read: 2, write: 4}
)

// number gives the number of a function of usbfs, whose group is 'U'.
func (e encoding) number(direction uint, function uint8, size uintptr) uint {
	return direction<<(16+e.sizeBits) | uint(size)<<16 | 'U'<<8 | uint(function)
}

// requests are the numbers of the ioctls used (include/uapi/linux/usbdevice_fs.h).
type requests struct {
	getDriver, submitURB, discardURB, reapURBNoDelay, claimInterface, releaseInterface, driverRequest, reset, connect,
	clearHalt, getCapabilities, disconnectClaim uint
}

// sizes are those of the arguments that depend on the size of a pointer, in octets.
type sizes struct{ pointer, urb, driverRequest uintptr }

// requests gives the numbers of an architecture. Several of them have the direction the wrong way round: that is how
// the header has them.
func (e encoding) requests(s sizes) requests {
	return requests{
		getDriver:        e.number(e.write, 8, unsafe.Sizeof(driverName{})),
		submitURB:        e.number(e.read, 10, s.urb),
		discardURB:       e.number(e.none, 11, 0),
		reapURBNoDelay:   e.number(e.write, 13, s.pointer),
		claimInterface:   e.number(e.read, 15, 4),
		releaseInterface: e.number(e.read, 16, 4),
		driverRequest:    e.number(e.read|e.write, 18, s.driverRequest),
		reset:            e.number(e.none, 20, 0),
		clearHalt:        e.number(e.read, 21, 4),
		connect:          e.number(e.none, 23, 0),
		getCapabilities:  e.number(e.read, 26, 4),
		disconnectClaim:  e.number(e.read, 27, unsafe.Sizeof(disconnectClaim{})),
	}
}

// nativeSizes are those of the architecture that this is built for.
var nativeSizes = sizes{
	pointer: unsafe.Sizeof(uintptr(0)), urb: unsafe.Sizeof(urb{}), driverRequest: unsafe.Sizeof(driverRequest{}),
}

// request has the numbers of the architecture that this is built for.
var request = nativeEncoding.requests(nativeSizes)

// Kinds of transfers in urb.kind.
const (
	kindInterrupt = 1
	kindControl   = 2
	kindBulk      = 3
)

// urb is struct usbdevfs_urb: one transfer asked of the kernel. The compiler pads it as C does.
type urb struct {
	kind     uint8
	endpoint uint8
	status   int32  // 0 or a negative error number; the kernel writes it when the URB is reaped
	flags    uint32 // none is used here
	// buffer is the data; of a control transfer, 8 octets of set-up packet and then the data.
	buffer     unsafe.Pointer
	length     int32 // of buffer in octets
	actual     int32 // octets of data moved; written when the URB is reaped
	startFrame int32
	packets    int32
	errorCount int32
	signal     uint32
	context    uintptr
}

// driverName is struct usbdevfs_getdriver.
type driverName struct {
	iface uint32
	name  [256]byte
}

// disconnectClaim is struct usbdevfs_disconnect_claim.
type disconnectClaim struct {
	iface  uint32
	flags  uint32
	driver [256]byte
}

// exceptDriver in disconnectClaim.flags: any driver but the one named is made to let go.
const exceptDriver = 2

// driverRequest is struct usbdevfs_ioctl: an ioctl for an interface's driver.
type driverRequest struct {
	iface   int32
	request int32
	data    unsafe.Pointer
}

// Capabilities that the transfers here need; both are always there from Linux 3.16 on.
const (
	capNoPacketSizeLimit   = 0x04 // buffers of more than 16 KiB
	capReapAfterDisconnect = 0x10 // no transfer is lost sight of when the device goes
)

// ioctl calls the kernel with a pointer. A signal that interrupts it has it done again.
func ioctl(fd uintptr, number uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, uintptr(number), uintptr(arg))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}
