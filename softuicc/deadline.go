package softuicc

import (
	"context"
	"os"
	"sync"
	"time"
)

// deadline is a time that can be moved while others wait for it.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed when the time has come; nil before it was first needed
}

// set moves the deadline; the zero time means never. A time that has passed expires at once.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.expired == nil || isClosed(d.expired) {
		d.expired = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	if until := time.Until(t); until > 0 {
		expired := d.expired
		d.timer = time.AfterFunc(until, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.expired == expired && !isClosed(expired) {
				close(expired)
			}
		})
		return
	}
	close(d.expired)
}

// wait returns a channel that is closed at the deadline.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		d.expired = make(chan struct{})
	}
	return d.expired
}

// context is a context that ends at the present deadline.
func (d *deadline) context(parent context.Context) context.Context {
	return deadlineContext{parent, d.wait()}
}

type deadlineContext struct {
	context.Context
	expired <-chan struct{}
}

func (c deadlineContext) Done() <-chan struct{} { return c.expired }

func (c deadlineContext) Err() error {
	if isClosed(c.expired) {
		return os.ErrDeadlineExceeded
	}
	return c.Context.Err()
}
