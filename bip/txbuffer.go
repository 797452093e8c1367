package bip

import (
	"context"
	"sync/atomic"
)

// txBuffer is what the card wants sent. SEND DATA stores into it; an immediate one hands all of it to the channel's
// writer, one slab at a time: while the far end does not take the slab, the card can store but not send more. Its
// methods are for the card's goroutine.
type txBuffer struct {
	size   int       // granted
	stored []byte    // waits for an immediate SEND DATA
	spare  []byte    // memory of the slab before
	slabs  chan slab // to the writer
	last   slab      // the newest that was taken for the writer
	taken  int       // octets of last while it is not handed over: the card has not taken the answer yet
	sent   atomic.Int64
	unsent atomic.Int64 // octets that the writer has and the connection has not taken
	broken atomic.Bool  // the connection takes no more
}

// slab is data on its way to the far end.
type slab struct {
	data    []byte
	written chan struct{} // closed when the connection has taken the data, or never will
}

func newTxBuffer(size int) *txBuffer {
	none := slab{written: make(chan struct{})}
	close(none.written)
	return &txBuffer{size: size, slabs: make(chan slab, 1), last: none}
}

// free is how many octets can be stored.
func (t *txBuffer) free() int { return t.size - len(t.stored) }

func (t *txBuffer) store(b []byte) { t.stored = append(t.stored, b...) }

// busy reports whether the writer still has a slab.
func (t *txBuffer) busy() bool {
	select {
	case <-t.last.written:
		return false
	default:
		return true
	}
}

// take empties the buffer into a slab for the writer, which must not be busy.
func (t *txBuffer) take() slab {
	s := slab{t.stored, make(chan struct{})}
	t.stored, t.spare, t.last, t.taken = t.spare[:0], t.stored, s, len(s.data)
	return s
}

// hand gives the writer the slab that was taken.
func (t *txBuffer) hand(s slab) {
	t.taken = 0
	t.unsent.Add(int64(len(s.data)))
	t.slabs <- s
}

// kept is how many octets of the card the writer was not given.
func (t *txBuffer) kept() int { return len(t.stored) + t.taken }

// wrote notes that the connection has taken n octets of a slab.
func (t *txBuffer) wrote(n int) {
	t.sent.Add(int64(n))
	t.unsent.Add(-int64(n))
}

// waitFor waits for an event, or for the context's end, which is then the error.
func waitFor(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
