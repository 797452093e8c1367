package usbfs

import (
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// fakeKernel is the kernel's side of the transfers: it holds each URB until the test or a discard ends it.
type fakeKernel struct {
	t         *testing.T
	submitted chan *urb   // each URB, as it comes
	ready     chan ending // to be reaped
	stop      chan struct{}

	mu        sync.Mutex
	refuse    syscall.Errno // of every submit
	unplugged bool
	held      map[*urb]bool
	partly    int32 // octets that a transfer has moved when it is discarded
	reaped    int
}

// ending is how an URB ends.
type ending struct {
	urb    *urb
	status syscall.Errno
	actual int32
}

func newFake(t *testing.T) *fakeKernel {
	return &fakeKernel{t: t, submitted: make(chan *urb, 1000), ready: make(chan ending, 1000), stop: make(chan struct{}),
		held: make(map[*urb]bool)}
}

func (k *fakeKernel) submit(u *urb) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.refuse != 0:
		return k.refuse
	case k.unplugged:
		return syscall.ENODEV
	case k.held[u]:
		k.t.Error("an URB was submitted twice")
	}
	k.held[u] = true
	k.submitted <- u
	return nil
}

// finish ends an URB with octets of IN data, or n octets of OUT data gone out; false where it has ended already.
func (k *fakeKernel) finish(u *urb, status syscall.Errno, n int32, data string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.held[u] {
		return false
	}
	delete(k.held, u)
	copy(unsafe.Slice((*byte)(u.buffer), u.length), data)
	k.ready <- ending{u, status, n + int32(len(data))}
	return true
}

func (k *fakeKernel) discard(u *urb) error {
	k.mu.Lock()
	partly, unplugged := k.partly, k.unplugged
	k.mu.Unlock()
	if unplugged {
		return syscall.ENODEV
	}
	if !k.finish(u, syscall.ENOENT, partly, "") {
		return syscall.EINVAL
	}
	return nil
}

// unplug ends everything, as the kernel does.
func (k *fakeKernel) unplug() {
	k.mu.Lock()
	k.unplugged = true
	var held []*urb
	for u := range k.held {
		held = append(held, u)
	}
	k.mu.Unlock()
	for _, u := range held {
		k.finish(u, syscall.ENOENT, 0, "")
	}
}

func (k *fakeKernel) reap(ended func(uintptr)) error {
	for {
		select {
		case e := <-k.ready:
			e.urb.status, e.urb.actual = -int32(e.status), e.actual
			k.mu.Lock()
			k.reaped++
			k.mu.Unlock()
			ended(uintptr(unsafe.Pointer(e.urb)))
		case <-k.stop:
			return ErrClosed
		}
	}
}

func (k *fakeKernel) gone(time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.unplugged
}

func (k *fakeKernel) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.held)+len(k.ready) > 0 {
		k.t.Errorf("closed with %d URBs held and %d not reaped", len(k.held), len(k.ready))
	}
	close(k.stop)
	return nil
}

// next is the next URB that comes.
func (k *fakeKernel) next() *urb {
	k.t.Helper()
	select {
	case u := <-k.submitted:
		return u
	case <-time.After(patience):
		k.t.Fatal("no transfer was submitted")
		return nil
	}
}

// data is what an OUT URB carries.
func data(u *urb) []byte { return unsafe.Slice((*byte)(u.buffer), u.length) }
