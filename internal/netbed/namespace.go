package netbed

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// onThread runs f on an operating system thread which nothing else uses and which ends with it, so that f may move
// the thread into another namespace. It returns when f has returned or has ended its goroutine.
func onThread(f func() error) error {
	err := errors.New("netbed: the function ended its goroutine instead of returning")
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread never ends, and /proc/self shows its namespaces. While it is locked here, the
			// goroutine below is on another one.
			defer runtime.UnlockOSThread()
			defer close(done)
			err = onThread(f)
			return
		}
		// No unlock: the thread ends with this goroutine.
		defer close(done)
		err = f()
	}()
	<-done
	return err
}

// newNamespace makes a network namespace with the loopback interface up. It lives as long as the file is open, or a
// socket or process is in it.
func newNamespace() (*os.File, error) {
	var ns *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// inode identifies the namespace that an open file or a path of /proc stands for.
type inode struct{ dev, ino uint64 }

func inodeOf(stat func(*unix.Stat_t) error) (inode, error) {
	var st unix.Stat_t
	if err := stat(&st); err != nil {
		return inode{}, err
	}
	return inode{uint64(st.Dev), st.Ino}, nil // Dev is narrower on some architectures
}
