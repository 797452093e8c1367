// Package usbfs finds USB devices and talks to their interfaces through Linux alone: sysfs says what is attached
// (Devices), kernel uevents when that changes (Watch), and the usbfs node below /dev/bus/usb carries the transfers
// (Open, Handle). It uses neither cgo nor libusb, and needs Linux 3.16 or newer.
//
// It knows transfers, not smart cards: package ccid is built upon it. An interface that another program uses is left to
// that program, an interface that a kernel driver uses is given back to the driver at the end.
package usbfs
