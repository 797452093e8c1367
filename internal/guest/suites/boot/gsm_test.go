//go:build guest

package boot

import (
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// nGSM is the line discipline of the kernel's 3GPP TS 27.010 (N_GSM0710, linux/tty.h).
const nGSM = 21

// gsmConfig is struct gsm_config (linux/gsmmux.h).
type gsmConfig struct {
	adaption, encapsulation, initiator, t1, t2, t3, n2, mru, mtu, k, i uint32
	_                                                                  [8]uint32
}

// The requests GSMIOC_GETCONF and GSMIOC_SETCONF of amd64.
const (
	getConf = 0x804c4700
	setConf = 0x404c4701
)

func (c *gsmConfig) ioctl(fd uintptr, request uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(c))); errno != 0 {
		return errno
	}
	return nil
}

// The kernel's multiplexer attaches to a pseudo terminal and, once it is configured, makes its nodes.
func TestInsideGSM(t *testing.T) {
	master, line, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer line.Close()
	if err := unix.IoctlSetPointerInt(int(line.Fd()), unix.TIOCSETD, nGSM); err != nil {
		t.Fatalf("line discipline: %v", err)
	}
	var c gsmConfig
	if err := c.ioctl(line.Fd(), getConf); err != nil {
		t.Fatalf("GSMIOC_GETCONF: %v", err)
	}
	c.encapsulation, c.k = 0, 0 // basic option; the kernel refuses the window that it gives itself
	if err := c.ioctl(line.Fd(), setConf); err != nil {
		t.Fatalf("GSMIOC_SETCONF: %v", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err = os.Stat("/dev/gsmtty1"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
