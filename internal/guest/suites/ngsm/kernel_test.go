//go:build guest

package ngsm

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nGSM is the line discipline of the kernel's multiplexer (N_GSM0710, linux/tty.h), nTTY the usual one.
const (
	nTTY = 0
	nGSM = 21
)

// gsmConfig is struct gsm_config (linux/gsmmux.h).
type gsmConfig struct {
	adaption, encapsulation, initiator, t1, t2, t3, n2, mru, mtu, k, i uint32
	_                                                                  [8]uint32
}

// The requests GSMIOC_GETCONF, GSMIOC_SETCONF and GSMIOC_GETFIRST of amd64.
const (
	getConf  = 0x804c4700
	setConf  = 0x404c4701
	getFirst = 0x80044704
)

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) { _, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)) })
	if errno != 0 {
		return errno
	}
	return err
}

// kernelMux is the kernel's multiplexer on a line.
type kernelMux struct {
	t     *testing.T
	line  *os.File
	first uint32 // number of the node of DLC 0, which has none
}

// attach gives a terminal to the kernel's multiplexer.
func attach(t *testing.T, path string, initiator, advanced bool, n1 int) *kernelMux {
	t.Helper()
	line, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernelMux{t: t, line: line}
	makeRaw(t, line)
	k.discipline(nGSM)
	var c gsmConfig
	if err := ioctl(line, getConf, unsafe.Pointer(&c)); err != nil {
		t.Fatalf("GSMIOC_GETCONF: %v", err)
	}
	c.encapsulation, c.initiator = flag(advanced), flag(initiator)
	c.mru, c.mtu = uint32(n1), uint32(n1)
	c.t1, c.t2, c.n2 = 10, 100, 30 // T1 and T2 in hundredths of a second; N2 for a loaded machine
	c.k = 0                        // the kernel refuses the window that it gives itself
	if err := ioctl(line, setConf, unsafe.Pointer(&c)); err != nil {
		t.Fatalf("GSMIOC_SETCONF: %v", err)
	}
	if err := ioctl(line, getFirst, unsafe.Pointer(&k.first)); err != nil {
		t.Fatalf("GSMIOC_GETFIRST: %v", err)
	}
	return k
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func (k *kernelMux) discipline(n int32) {
	k.t.Helper()
	if err := ioctl(k.line, unix.TIOCSETD, unsafe.Pointer(&n)); err != nil {
		k.t.Fatalf("line discipline %d: %v", n, err)
	}
}

// detach takes the line from the kernel's multiplexer, which ends it.
func (k *kernelMux) detach() {
	k.t.Helper()
	k.discipline(nTTY)
	k.line.Close()
}

// open opens the node of a DLC and sets it raw. Without O_NONBLOCK it would wait for the peer's DV, and a signal in between, of
// which Go's runtime has many, has the kernel begin anew and forget a DV that came already.
func (k *kernelMux) open(dlci int) (*os.File, error) {
	path := fmt.Sprintf("/dev/gsmtty%d", int(k.first)+dlci-1)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err == nil {
			makeRaw(k.t, f)
			return f, nil
		}
		if time.Now().After(end) {
			return nil, err
		}
	}
}

// discard drops what a terminal has still to send.
func discard(f *os.File) {
	raw, err := f.SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCOFLUSH) })
	}
}

// makeRaw turns off every translation and echo.
func makeRaw(t *testing.T, f *os.File) {
	t.Helper()
	var c unix.Termios
	if err := ioctl(f, unix.TCGETS, unsafe.Pointer(&c)); err != nil {
		t.Errorf("%s: %v", f.Name(), err)
	}
	c.Iflag, c.Oflag, c.Lflag = 0, 0, 0
	c.Cflag = c.Cflag&^(unix.CSIZE|unix.PARENB|unix.CBAUD) | unix.CS8 | unix.CREAD | unix.CRTSCTS | unix.B115200
	c.Cc[unix.VMIN], c.Cc[unix.VTIME] = 1, 0
	if err := ioctl(f, unix.TCSETS, unsafe.Pointer(&c)); err != nil {
		t.Errorf("%s: %v", f.Name(), err)
	}
}
