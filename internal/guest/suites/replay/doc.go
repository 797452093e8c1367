// Package replay tests the CCID driver against readers that this machine does not have: each model of the emulated readers is
// attached to the guest's virtual USB host controller (vhci_hcd), so that driver and reader meet through the kernel and its
// usbfs. The same card sessions through pcscd and libccid, which others wrote, are the measure of the emulated readers.
package replay
