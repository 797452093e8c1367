package bip

import "sync"

// rxBuffer is what a channel received and the card has not read yet. For a byte stream it is a ring of the granted
// size; for datagrams it holds one, whole, and the next only when the card has read it, so that two are never joined.
// The channel's reader fills it, the card's goroutine empties it.
type rxBuffer struct {
	mu        sync.Mutex
	buf       []byte
	start     int // of the unread bytes
	n         int // unread bytes
	datagram  bool
	due       bool  // the card is to be told of data
	ended     bool  // nothing more comes
	err       error // why, where the end was no orderly one
	abandoned bool  // nobody will read: what comes is dropped
	room      chan struct{}
}

// maxDatagram is the largest UDP payload over IPv4.
const maxDatagram = 65507

func newRxBuffer(size int, datagram bool) *rxBuffer {
	if datagram {
		size = maxDatagram // the card reads a datagram in pieces, however small the buffer it asked for
	}
	return &rxBuffer{buf: make([]byte, size), datagram: datagram, room: make(chan struct{}, 1)}
}

// space returns where the reader may put bytes: nothing where there is no room. Only the reader calls it.
func (b *rxBuffer) space() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n == 0 {
		b.start = 0
	}
	end := b.start + b.n
	switch {
	case b.datagram && b.n > 0:
		return nil
	case end >= len(b.buf):
		return b.buf[end-len(b.buf) : b.start]
	}
	return b.buf[end:]
}

// filled takes over n bytes that the reader put into space. It reports whether the card is to be told: the buffer was empty before.
// Nobody can read the bytes before tell has been called, nor miss them after.
func (b *rxBuffer) filled(n int, tell func()) (edge bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	tell()
	if b.abandoned {
		return false
	}
	edge = b.n == 0 && n > 0
	b.n += n
	b.due = b.due || edge
	return edge
}

// end says that nothing more comes; err is nil where the far end closed in good order.
func (b *rxBuffer) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.err = true, err
}

// abandon drops what is there and what will come.
func (b *rxBuffer) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned, b.n = true, 0
	b.signalRoom()
}

// read takes at most len(p) bytes out and returns how many are left.
func (b *rxBuffer) read(p []byte) (n, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n < len(p) && b.n > 0 {
		end := min(b.start+b.n, len(b.buf))
		k := copy(p[n:], b.buf[b.start:end])
		n, b.n = n+k, b.n-k
		if b.start += k; b.start == len(b.buf) {
			b.start = 0
		}
	}
	if n > 0 && 2*b.n <= len(b.buf) { // not for every few octets: a reader that waits costs a wake-up and a system call
		b.signalRoom()
	}
	return n, b.n
}

func (b *rxBuffer) signalRoom() {
	select {
	case b.room <- struct{}{}:
	default:
	}
}

// pending returns how many bytes wait, and whether the card is to be told of them.
func (b *rxBuffer) pending() (n int, due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n, b.due && b.n > 0
}

// tell sets or clears whether the card is to be told of the waiting bytes.
func (b *rxBuffer) tell(due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.due = due
}

// finished returns whether nothing more comes, whether all was read, and why it ended.
func (b *rxBuffer) finished() (ended, drained bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended, b.n == 0, b.err
}
