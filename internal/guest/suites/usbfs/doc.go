// Package usbfs tests ccid/usbfs against the kernel and QEMU's devices: its smart card reader, with a card that the host
// plays, and its keyboard, which a kernel driver has.
package usbfs
