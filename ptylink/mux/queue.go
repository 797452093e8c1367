package mux

// byteQueue is a first-in first-out of octets that grows as needed.
type byteQueue struct {
	buf []byte
	off int // octets of buf already taken
}

// keepCap is the capacity that an emptied queue keeps for reuse.
const keepCap = 128 << 10

func (q *byteQueue) len() int { return len(q.buf) - q.off }

func (q *byteQueue) push(p []byte) {
	if q.off > 0 && len(q.buf)+len(p) > cap(q.buf) {
		q.buf = q.buf[:copy(q.buf, q.buf[q.off:])]
		q.off = 0
	}
	q.buf = append(q.buf, p...)
}

// peek gives up to n octets without taking them, valid until the next push.
func (q *byteQueue) peek(n int) []byte {
	return q.buf[q.off : q.off+min(n, q.len())]
}

// drop takes n octets, which must be there.
func (q *byteQueue) drop(n int) {
	q.off += n
	if q.off == len(q.buf) {
		q.clear()
	}
}

func (q *byteQueue) clear() {
	q.off = 0
	q.buf = q.buf[:0]
	if cap(q.buf) > keepCap {
		q.buf = nil
	}
}
