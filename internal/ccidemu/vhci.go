package ccidemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// vhci is where the first virtual host controller of Linux (module vhci-hcd) takes devices.
const vhci = "/sys/devices/platform/vhci_hcd.0"

// Attachment is a reader on the virtual host controller.
type Attachment struct {
	port   int
	stop   context.CancelFunc
	served chan struct{} // closed when err is set
	err    error
	once   sync.Once
}

// Attach plugs the reader into a port, from 0, of this machine's virtual host controller, which takes root and the
// module vhci-hcd. The kernel enumerates the device some time later. Detach it after use.
func (r *Reader) Attach(port int) (*Attachment, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ccidemu: attach: %w", err)
	}
	near, far := os.NewFile(uintptr(pair[0]), "usbip"), pair[1]
	conn, err := net.FileConn(near)
	near.Close()
	if err != nil {
		unix.Close(far)
		return nil, fmt.Errorf("ccidemu: attach: %w", err)
	}
	speed := 2
	if r.model.HighSpeed {
		speed = 3
	}
	// The kernel takes the socket by its number in this process, and a reference of its own.
	line := fmt.Sprintf("%d %d %d %d", port, far, 1<<16|port+1, speed)
	err = os.WriteFile(filepath.Join(vhci, "attach"), []byte(line), 0)
	unix.Close(far)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ccidemu: attach: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Attachment{port: port, stop: stop, served: make(chan struct{})}
	go func() {
		defer close(a.served)
		a.err = r.ServeUSBIP(ctx, conn)
	}()
	return a, nil
}

// Detach unplugs the reader, also in the middle of a transfer. The Reader and its cards remain, and may be attached anew.
// Only the first call does anything.
func (a *Attachment) Detach() (err error) {
	a.once.Do(func() {
		err = os.WriteFile(filepath.Join(vhci, "detach"), []byte(strconv.Itoa(a.port)), 0)
		a.stop()
		<-a.served
		if err == nil {
			err = a.err
		}
		if err != nil {
			err = fmt.Errorf("ccidemu: detach: %w", err)
		}
	})
	return err
}
