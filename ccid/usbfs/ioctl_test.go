package usbfs

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The numbers as the kernel's headers give them to a C compiler for each kind of machine.
func TestRequests(t *testing.T) {
	size64, size32 := sizes{pointer: 8, urb: 56, driverRequest: 16}, sizes{pointer: 4, urb: 44, driverRequest: 12}
	for _, tc := range []struct {
		name      string
		got, want requests
	}{
		{"amd64, arm64, riscv64", commonEncoding.requests(size64), requests{
			getDriver: 0x41045508, submitURB: 0x8038550a, discardURB: 0x550b, reapURBNoDelay: 0x4008550d,
			claimInterface: 0x8004550f, releaseInterface: 0x80045510, driverRequest: 0xc0105512, reset: 0x5514, connect: 0x5517,
			clearHalt: 0x80045515, getCapabilities: 0x8004551a, disconnectClaim: 0x8108551b,
		}},
		{"arm, 386", commonEncoding.requests(size32), requests{
			getDriver: 0x41045508, submitURB: 0x802c550a, discardURB: 0x550b, reapURBNoDelay: 0x4004550d,
			claimInterface: 0x8004550f, releaseInterface: 0x80045510, driverRequest: 0xc00c5512, reset: 0x5514, connect: 0x5517,
			clearHalt: 0x80045515, getCapabilities: 0x8004551a, disconnectClaim: 0x8108551b,
		}},
		{"mips, mipsle", olderEncoding.requests(size32), requests{
			getDriver: 0x81045508, submitURB: 0x402c550a, discardURB: 0x2000550b, reapURBNoDelay: 0x8004550d,
			claimInterface: 0x4004550f, releaseInterface: 0x40045510, driverRequest: 0xc00c5512, reset: 0x20005514,
			connect: 0x20005517, clearHalt: 0x40045515, getCapabilities: 0x4004551a, disconnectClaim: 0x4108551b,
		}},
		{"mips64, mips64le", olderEncoding.requests(size64), requests{
			getDriver: 0x81045508, submitURB: 0x4038550a, discardURB: 0x2000550b, reapURBNoDelay: 0x8008550d,
			claimInterface: 0x4004550f, releaseInterface: 0x40045510, driverRequest: 0xc0105512, reset: 0x20005514,
			connect: 0x20005517, clearHalt: 0x40045515, getCapabilities: 0x4004551a, disconnectClaim: 0x4108551b,
		}},
	} {
		if tc.got != tc.want {
			t.Errorf("%s:\n%#x, want\n%#x", tc.name, tc.got, tc.want)
		}
	}
}

// On the machine that the test runs on: the encoding is that of its other ioctls, and structures are laid out as in C.
func TestNativeLayout(t *testing.T) {
	direction := uint(unix.NS_GET_USERNS) >> (16 + nativeEncoding.sizeBits)
	if direction != nativeEncoding.none {
		t.Errorf("direction %d of an ioctl without argument, the machine has %d", nativeEncoding.none, direction)
	}
	const pointer = unsafe.Sizeof(uintptr(0))
	want := sizes{pointer: 8, urb: 56, driverRequest: 16}
	buffer, length, context := uintptr(16), uintptr(24), uintptr(48)
	if pointer == 4 {
		want = sizes{pointer: 4, urb: 44, driverRequest: 12}
		buffer, length, context = 12, 16, 40
	}
	if nativeSizes != want {
		t.Errorf("sizes %+v, want %+v", nativeSizes, want)
	}
	var u urb
	for _, f := range []struct {
		name      string
		got, want uintptr
	}{
		{"endpoint", unsafe.Offsetof(u.endpoint), 1},
		{"status", unsafe.Offsetof(u.status), 4},
		{"flags", unsafe.Offsetof(u.flags), 8},
		{"buffer", unsafe.Offsetof(u.buffer), buffer},
		{"length", unsafe.Offsetof(u.length), length},
		{"actual", unsafe.Offsetof(u.actual), length + 4},
		{"context", unsafe.Offsetof(u.context), context},
		{"data of a driver's request", unsafe.Offsetof(driverRequest{}.data), 8},
	} {
		if f.got != f.want {
			t.Errorf("%s at %d, want %d", f.name, f.got, f.want)
		}
	}
}
