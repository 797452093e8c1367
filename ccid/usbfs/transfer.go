package usbfs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// unplugGrace is how long the kernel may take to notice that a device is gone whose transfers fail on the wire: hubs
// tell of a removal every 256 ms.
const unplugGrace = 500 * time.Millisecond

// kernel is what transfers need of a node.
type kernel interface {
	submit(*urb) error
	discard(*urb) error
	reap(ended func(address uintptr)) error
	gone(wait time.Duration) bool
	close() error
}

// transfers makes the transfers of one node. Each caller submits its own URB and waits for the one reaper to tell it of
// the end; nobody returns while the kernel still has the URB, for its memory is used again.
type transfers struct {
	kernel kernel
	pool   sync.Pool      // of *transfer
	calls  sync.WaitGroup // of run
	reaper sync.WaitGroup

	closing chan struct{} // closed by close: every call ends its transfer

	mu      sync.Mutex
	closed  bool
	pending map[uintptr]*transfer // by the URB's address; written before the submission, as the end may come at once
}

// transfer is an URB with its buffer.
type transfer struct {
	urb   urb
	buf   []byte
	ended chan struct{} // one signal for each end
}

func newTransfers(k kernel) *transfers {
	t := &transfers{
		kernel:  k,
		closing: make(chan struct{}),
		pending: make(map[uintptr]*transfer),
	}
	t.reaper.Go(func() { k.reap(t.end) })
	return t
}

// close ends every transfer, waits until none is left, calls last, and closes the node. A second call does nothing.
func (t *transfers) close(last func() error) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.mu.Unlock()
	close(t.closing)
	t.calls.Wait()
	err := errors.Join(last(), t.kernel.close())
	t.reaper.Wait()
	return err
}

// enter counts a call in, unless the node is closed.
func (t *transfers) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	t.calls.Add(1)
	return nil
}

// get gives a transfer with a buffer of n octets.
func (t *transfers) get(n int) *transfer {
	x, _ := t.pool.Get().(*transfer)
	if x == nil {
		x = &transfer{ended: make(chan struct{}, 1)}
	}
	if cap(x.buf) < n {
		x.buf = make([]byte, n)
	}
	x.buf = x.buf[:n]
	return x
}

// put takes a transfer back that is over.
func (t *transfers) put(x *transfer) { t.pool.Put(x) }

// end tells the owner of the URB at an address that it has ended.
func (t *transfers) end(address uintptr) {
	t.mu.Lock()
	x := t.pending[address]
	delete(t.pending, address)
	t.mu.Unlock()
	if x != nil {
		x.ended <- struct{}{}
	}
}

// run makes one transfer with x.buf and returns the number of octets that moved, also besides an error. The end of ctx
// ends it; a transfer that was complete or had brought data by then is a success.
func (t *transfers) run(ctx context.Context, op string, kind, endpoint uint8, x *transfer) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := t.enter(); err != nil {
		return 0, err
	}
	defer t.calls.Done()

	x.urb = urb{kind: kind, endpoint: endpoint, buffer: unsafe.Pointer(unsafe.SliceData(x.buf)), length: int32(len(x.buf))}
	var pins runtime.Pinner
	pins.Pin(&x.urb)
	if cap(x.buf) > 0 {
		pins.Pin(unsafe.SliceData(x.buf))
	}
	defer pins.Unpin()

	address := uintptr(unsafe.Pointer(&x.urb))
	t.mu.Lock()
	t.pending[address] = x
	t.mu.Unlock()
	if err := t.kernel.submit(&x.urb); err != nil {
		t.mu.Lock()
		delete(t.pending, address)
		t.mu.Unlock()
		return 0, t.outcome(op, err, nil)
	}
	cause := t.wait(ctx, x)
	n := int(x.urb.actual)
	if cause != nil && n > 0 && endpoint&directionIn != 0 {
		return n, nil
	}
	if x.urb.status == 0 {
		return n, nil
	}
	return n, t.outcome(op, syscall.Errno(-x.urb.status), cause)
}

// wait waits until x has ended. Where it had to be ended, that is for the error returned.
func (t *transfers) wait(ctx context.Context, x *transfer) (cause error) {
	select {
	case <-x.ended:
		return nil
	case <-ctx.Done():
		cause = ctx.Err()
	case <-t.closing:
		cause = ErrClosed
	}
	// It ends at once, also where this fails: then it has ended by itself, or the device is gone and the kernel ends
	// what it left.
	t.kernel.discard(&x.urb)
	<-x.ended
	return cause
}

// outcome is what it means that a transfer was not taken or ended with an error of the kernel; cause is why this side
// ended it, nil where it did not.
func (t *transfers) outcome(op string, err, cause error) error {
	switch err {
	case syscall.ENOENT, syscall.ECONNRESET, syscall.ESHUTDOWN: // ended by this side or by the kernel
		if cause != nil {
			return cause
		}
		if t.kernel.gone(0) {
			return fmt.Errorf("usbfs: %s: %w (%w)", op, ErrGone, err)
		}
		return fmt.Errorf("usbfs: %s: %w (%w)", op, ErrAborted, err)
	case syscall.EPROTO, syscall.EILSEQ, syscall.ETIME: // so end transfers of a device that was just pulled
		if t.kernel.gone(unplugGrace) {
			return fmt.Errorf("usbfs: %s: %w (%w)", op, ErrGone, err)
		}
	}
	return explain(op, err)
}
