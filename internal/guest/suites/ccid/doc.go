// Package ccid tests the CCID driver against a reader and host controllers that are not ours, QEMU's, with the kernel's
// usbfs between them: a session with the software UICC, each of the reader's known quirks, and plugging.
package ccid
