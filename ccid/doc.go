// Package ccid drives USB smart card readers of the class CCID (USB Device Class: Smart Card CCID, release 1.1) without
// pcscd, libccid or libusb. A Device is one opened reader, and each of its Slots a uicc.Reader; a Hub keeps the readers of
// this machine as they are plugged and unplugged.
//
// The files follow the layers: descriptor.go and message.go are the codec; device.go sends commands, receive.go finds their
// answers, and recover.go brings the two into step again; slot.go is the state of a slot, watch.go how it is followed;
// power.go, parameters.go and card.go activate a card; link.go exchanges APDUs with it at the reader's level (t0.go, t1.go
// with block.go, apdu.go); hub.go, slots.go and list.go keep the readers of the machine.
package ccid
