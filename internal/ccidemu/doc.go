// Package ccidemu emulates USB smart card readers of the CCID class (USB Device Class: Smart Card CCID, revision 1.1), so
// that a driver can be tested against many kinds of readers, and against faults, without any of them at hand.
//
// A Reader is a device at the level of CCID messages: descriptors, bulk and interrupt transfers, class requests, and
// slots that take software UICCs. It does what its Model's exchange level and features promise and no more: at TPDU
// level without automatic PPS, for one, a driver that forgets PPS or SetParameters gets garbage from the card, as on a real
// line. It judges the driver as the software UICC judges the terminal: Violations lists what breaks the standard.
//
// It has two faces: Transport is the USB interface within one process, and ServeUSBIP is the far end of USB/IP, by which
// Linux sees the reader as a device on its virtual host controller.
package ccidemu
