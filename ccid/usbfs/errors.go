package usbfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// Errors of transfers, to be found with errors.Is. The errors that wrap them name the operation.
var (
	// ErrGone: the device is not there any more. Every later call says so too; the Handle is only good for Close.
	ErrGone = errors.New("the device is gone")
	// ErrStall: the device refused the transfer by a stall of the endpoint. The next transfer can be made at once.
	ErrStall = errors.New("the device stalled the transfer")
	// ErrOverflow: the device sent more than there was room for. What it sent is lost.
	ErrOverflow = errors.New("the device sent more than asked for")
	// ErrProtocol: device and host controller did not understand each other on the wire, in spite of the hardware's
	// repetitions: no answer, a bad checksum. What was sent may or may not have arrived.
	ErrProtocol = errors.New("transfer error on the wire")
	// ErrAborted: the kernel ended the transfer though the device is there: it was reset or suspended, or another
	// program took the interface.
	ErrAborted = errors.New("the kernel ended the transfer: the device was reset or suspended, or another program took it")
	// ErrNoEndpoint: the interface has no endpoint for such a transfer.
	ErrNoEndpoint = errors.New("the interface has no such endpoint")
	// ErrClosed: the Handle is closed. It wraps fs.ErrClosed.
	ErrClosed = fmt.Errorf("usbfs: the handle is closed: %w", fs.ErrClosed)
)

// meanings are the errors of this package that the kernel's error numbers mean. ENOENT, ECONNRESET and ESHUTDOWN, with
// which the kernel ends transfers by itself, mean ErrGone or ErrAborted: see transferError.
var meanings = map[syscall.Errno]error{
	syscall.ENODEV:    ErrGone,
	syscall.EPIPE:     ErrStall,
	syscall.EOVERFLOW: ErrOverflow,
	syscall.EPROTO:    ErrProtocol, // bit stuffing, no answer, unknown
	syscall.EILSEQ:    ErrProtocol, // checksum, no answer, unknown
	syscall.ETIME:     ErrProtocol, // no answer
	syscall.ECOMM:     ErrProtocol, // controller could not keep up, IN
	syscall.ENOSR:     ErrProtocol, // controller could not keep up, OUT
}

// explain wraps an error of the kernel in its meaning, where it has one.
func explain(op string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if meaning := meanings[errno]; meaning != nil {
			return fmt.Errorf("usbfs: %s: %w (%w)", op, meaning, errno)
		}
	}
	return fmt.Errorf("usbfs: %s: %w", op, err)
}

// Process is a running program.
type Process struct {
	PID  int
	Name string // as the kernel knows it, at most 15 octets
}

// InUseError says that another program or driver has the interface.
type InUseError struct {
	Device    string    // path and ids of the device
	Interface uint8     // its number
	Driver    string    // the kernel's driver that has the interface; "usbfs" where it is another program, as a rule
	Holders   []Process // the processes that have the device open and that this process may see
}

func (e *InUseError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "usbfs: interface %d of %s is in use", e.Interface, e.Device)
	pcscd := false
	for i, p := range e.Holders {
		b.WriteString(map[bool]string{true: " by ", false: ", "}[i == 0])
		fmt.Fprintf(&b, "%s (process %d)", p.Name, p.PID)
		pcscd = pcscd || p.Name == "pcscd"
	}
	switch {
	case pcscd:
		b.WriteString(`: stop it (systemctl stop pcscd.socket pcscd.service), or use the reader through it, as reader "pcsc:<name>"`)
	case len(e.Holders) > 0:
		b.WriteString(": end it first")
	case e.Driver == usbfsDriver:
		b.WriteString(" by a program that this user may not see: pcscd perhaps, or a virtual machine")
	case e.Driver != "":
		b.WriteString(" by the kernel's driver " + e.Driver)
	}
	return b.String()
}
