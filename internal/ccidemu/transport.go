package ccidemu

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"bipd/ccid/usbfs"
)

// Transport is the USB interface of a reader within one process, as a driver opens it: the twin of usbfs.Handle. Send,
// Receive, Notify and Control may be called beside each other.
type Transport struct {
	r      *Reader
	once   sync.Once
	closed chan struct{}
}

// Transport opens the reader's interface.
func (r *Reader) Transport() *Transport {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq = -1 // of another driver
	return &Transport{r: r, closed: make(chan struct{})}
}

func (t *Transport) usable(ctx context.Context) error {
	select {
	case <-t.closed:
		return usbfs.ErrClosed
	default:
		return ctx.Err()
	}
}

// Send makes one bulk OUT transfer.
func (t *Transport) Send(ctx context.Context, msg []byte) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	return wrap("bulk OUT", t.r.send(slices.Clone(msg)))
}

// Receive makes one bulk IN transfer. The end of ctx returns what has arrived, and ctx's error where nothing has.
func (t *Transport) Receive(ctx context.Context, buf []byte) (int, error) {
	n, err := t.in(ctx, &t.r.bulkIn, buf)
	return n, wrap("bulk IN", err)
}

// Notify makes one interrupt IN transfer; usbfs.ErrNoEndpoint where the reader has none.
func (t *Transport) Notify(ctx context.Context, buf []byte) (int, error) {
	if t.r.model.InterruptIn == 0 {
		return 0, usbfs.ErrNoEndpoint
	}
	n, err := t.in(ctx, &t.r.interrupt, buf)
	return n, wrap("interrupt IN", err)
}

func (t *Transport) in(ctx context.Context, p *pipe, buf []byte) (int, error) {
	if err := t.usable(ctx); err != nil {
		return 0, err
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	q := &request{room: len(buf), done: func(data []byte, err error) { done <- result{data, err} }}
	t.r.mu.Lock()
	t.r.submit(p, q)
	t.r.mu.Unlock()
	var late error
	select {
	case res := <-done:
		return copy(buf, res.data), res.err
	case <-ctx.Done():
		late = ctx.Err()
	case <-t.closed:
		late = usbfs.ErrClosed
	}
	t.r.mu.Lock()
	waiting := p.cancel(q)
	t.r.mu.Unlock()
	if !waiting {
		res := <-done
		return copy(buf, res.data), res.err
	}
	if n := copy(buf, q.got); n > 0 {
		return n, nil
	}
	return 0, late
}

// Control makes a class request to the interface.
func (t *Transport) Control(ctx context.Context, requestType, request uint8, value uint16, data []byte) (int, error) {
	if err := t.usable(ctx); err != nil {
		return 0, err
	}
	b, err := t.r.classRequest(requestType, request, value)
	if err != nil {
		return 0, wrap("control", err)
	}
	return copy(data, b), nil
}

// Reset makes a USB reset.
func (t *Transport) Reset(ctx context.Context) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	t.r.mu.Lock()
	gone := t.r.gone
	t.r.mu.Unlock()
	if gone {
		return wrap("reset", usbfs.ErrGone)
	}
	t.r.reset()
	return nil
}

// Close gives the interface back.
func (t *Transport) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("ccidemu: %s: %w", op, err)
}
