package usbfs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pollInterval is the time between two signals where the kernel may not tell of changes.
	pollInterval = 2 * time.Second
	// ueventSize is the room for one message; the kernel's are 2 KiB at most with a header of another 2 KiB.
	ueventSize = 8192
	// kernelGroup is the multicast group of the kernel's own uevents; udev uses 2.
	kernelGroup = 1
)

// Watch signals that a scan may find something new: at once, and after each event by which a USB device or interface
// comes, goes or changes, until ctx ends; then the channel is closed. Signals that nobody has taken yet become one.
//
// An interface that another program lets go, and a node that gets its access rights from udev after the device has come,
// are no events: who waits for those tries again by itself. Where the kernel's events do not come, in a sandbox or in some
// containers, there is a signal every 2 s, and the log says so.
func (f FS) Watch(ctx context.Context, log *slog.Logger) <-chan struct{} {
	return watch(ctx, log, openUevents, pollInterval)
}

// watch is Watch with the socket that open opens, and with an interval of its own.
func watch(ctx context.Context, log *slog.Logger, open func() (*os.File, error), interval time.Duration) <-chan struct{} {
	signals := make(chan struct{}, 1)
	signal := func() {
		select {
		case signals <- struct{}{}:
		default:
		}
	}
	signal()
	events, err := open() // before Watch returns: what happens from now on is not missed
	go func() {
		defer close(signals)
		if err == nil {
			err = followUevents(ctx, events, signal)
		}
		if ctx.Err() == nil {
			log.Warn("the kernel does not tell of USB devices here, so they are looked for", "every", interval, "error", err)
			poll(ctx, signal, interval)
		}
	}()
	return signals
}

// poll signals at intervals until ctx ends.
func poll(ctx context.Context, signal func(), interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			signal()
		case <-ctx.Done():
			return
		}
	}
}

// openUevents opens a socket that hears the kernel's uevents. It is an error if they may not come.
func openUevents() (*os.File, error) {
	if err := ueventsReach(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// followUevents signals for each event that matters, until the socket fails or ctx ends, and closes the socket.
func followUevents(ctx context.Context, events *os.File, signal func()) error {
	defer events.Close()
	defer context.AfterFunc(ctx, func() { events.Close() })()
	raw, err := events.SyscallConn()
	if err != nil {
		return err
	}
	b := make([]byte, ueventSize)
	for {
		var n int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			n, from, rerr = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
			return rerr != unix.EAGAIN
		})
		switch {
		case err != nil:
			return err
		case errors.Is(rerr, unix.ENOBUFS): // there were more than the socket holds
			signal()
		case rerr != nil:
			return os.NewSyscallError("recvfrom", rerr)
		default:
			if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
				continue // not the kernel
			}
			if e, err := parseUevent(b[:n]); err == nil && e.changesDevices() {
				signal()
			}
		}
	}
}

// initialUserNamespace is the inode of the user namespace that the kernel begins with (PROC_USER_INIT_INO).
const initialUserNamespace = 0xEFFFFFFD

// ueventsReach returns nil where the kernel sends uevents to this process's network namespace, which it does where that
// belongs to the initial user namespace, and else why they may not come.
func ueventsReach() error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if errors.Is(err, syscall.EPERM) {
		return errors.New("no uevents may come: the network namespace belongs to a user namespace that cannot be seen from here")
	}
	if err != nil {
		return os.NewSyscallError("ioctl NS_GET_USERNS", err)
	}
	defer unix.Close(owner)
	var st unix.Stat_t
	if err := unix.Fstat(owner, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Ino != initialUserNamespace {
		return errors.New("no uevents come: the network namespace belongs to a user namespace other than the first")
	}
	return nil
}
