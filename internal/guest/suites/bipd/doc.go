// Package bipd tests the whole terminal with a USB reader that the kernel knows: in a guest with QEMU's CCID reader run bipd
// and apd, each in its network namespace, and a web server in a third one. The card is a software UICC on the host.
//
//	host                     guest
//	UICC -- VSCard socket -- usb-ccid = xHCI = usbfs = bipd (cp) ==line== apd (ap)
//	                                             |  method 1         |  method 2
//	                                             '---- web server (internet)
package bipd
