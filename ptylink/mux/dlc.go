package mux

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// DLC is a data link connection: one byte stream each way. It is a net.Conn; its
// methods may be called at the same time. A Write may be cut into several frames and
// several Writes may share one, as with TCP.
type DLC struct {
	m    *Mux
	s    *station
	dlci int

	// All below is guarded by the multiplexer's lock.
	state  dlcState
	opened bool          // was open at some time
	shut   bool          // closed from this side
	err    error         // why it ended, for Read and Write; io.EOF after the peer's DISC
	done   chan struct{} // closed when it has ended
	n1     int           // longest information field sent

	rx        byteQueue
	fc        bool // the peer was told to stop
	overrunAt int  // with fc: more than this in rx is an overrun
	readable  sync.Cond
	reads     deadline

	tx        byteQueue
	writable  sync.Cond
	writes    deadline
	sent      time.Time // in dlcDraining: when something went out last
	lingerDue time.Time // in dlcDraining: when to look whether the rest is given up
	holdUntil time.Time // no data before; see hold

	opening      uint32 // number of the opening
	txSum, rxSum uint32 // of the payload check
	rxEnded      bool   // the check of the peer's end was there
	tellDue      time.Time
	tellWait     time.Duration // before tellDue

	used        bool // the peer has shown that it has the DLC open
	peerSignals byte
	peerRTR     bool // the peer has set RTR at least once
	peerStop    bool // the peer cannot receive

	retry retry // SABM or DISC
	owed  int   // answers still due to SABMs sent more than once, or given up
}

var _ net.Conn = (*DLC)(nil)

// DLCI gives the number of the DLC, 1..61.
func (d *DLC) DLCI() int { return d.dlci }

// Read takes received octets and waits for the first. When the peer has closed the
// DLC with DISC it gives all octets sent before, then io.EOF. After any other end it
// gives what was received, then an error: ErrReset, ErrOverrun, ErrTimeout, ErrClosed
// (also after an own Close, at once, and after the peer closed the whole multiplexer
// without closing the DLC) or the line's error. After the read deadline it gives
// os.ErrDeadlineExceeded and takes nothing.
func (d *DLC) Read(p []byte) (int, error) {
	d.m.mu.Lock()
	defer d.m.unlock()
	for {
		switch {
		case d.shut:
			return 0, ErrClosed
		case d.reads.passed:
			return 0, os.ErrDeadlineExceeded
		case d.rx.len() > 0:
			n := copy(p, d.rx.peek(len(p)))
			d.rx.drop(n)
			d.s.taken(d, time.Now())
			return n, nil
		case d.err != nil:
			return 0, d.err
		case len(p) == 0:
			return 0, nil
		}
		d.readable.Wait()
	}
}

// Write queues p for the line, and waits while the queue is full: because the line
// is slow or because the peer has stopped the DLC (MSC with FC, or FCoff). On an
// error it has queued the first n octets; see Read for the errors, where the peer's
// DISC gives ErrClosed.
func (d *DLC) Write(p []byte) (n int, err error) {
	d.m.mu.Lock()
	defer d.m.unlock()
	for {
		switch {
		case d.shut:
			return n, ErrClosed
		case d.state != dlcOpen:
			return n, writeError(d.err)
		case d.writes.passed:
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if room := d.s.queueSize() - d.tx.len(); room > 0 {
			taken := min(room, len(p))
			d.tx.push(p[:taken])
			n += taken
			p = p[taken:]
			d.s.dirty = true
			continue
		}
		d.m.settle()
		d.writable.Wait()
	}
}

// Flush waits until what Write took is on its way: whatever is sent after it, on any
// DLC, reaches the peer behind it. It fails as Write does, or with ctx.
func (d *DLC) Flush(ctx context.Context) error {
	d.m.mu.Lock()
	defer d.m.unlock()
	stop := context.AfterFunc(ctx, func() {
		d.m.mu.Lock()
		defer d.m.mu.Unlock()
		d.writable.Broadcast()
	})
	defer stop()
	for {
		switch {
		case d.shut:
			return ErrClosed
		case d.state != dlcOpen:
			return writeError(d.err)
		case d.tx.len() == 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("mux: flush DLC %d: %w", d.dlci, context.Cause(ctx))
		}
		d.m.settle()
		d.writable.Wait()
	}
}

// Unsent is how many octets Write took that are not on their way yet.
func (d *DLC) Unsent() int {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.tx.len()
}

// Done is closed when the DLC has ended, by whichever side: nothing more is received.
// What was received before can still be read, unless this side has closed the DLC.
func (d *DLC) Done() <-chan struct{} { return d.done }

// Err tells why the DLC ended, nil before Done: io.EOF where the peer closed it in
// order, ErrClosed after an own Close, else as Read tells it.
func (d *DLC) Err() error {
	select {
	case <-d.done:
	default:
		return nil
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.err
}

// Abort closes the DLC as Close does, but tears it: what Write took and is not sent yet
// is dropped, and the peer sees ErrReset, no orderly end. It also tears a DLC whose
// Close still has data to send.
func (d *DLC) Abort() error {
	d.m.mu.Lock()
	defer d.m.unlock()
	if d.state == dlcOpen || d.state == dlcDraining {
		d.s.abort(d, ErrClosed, time.Now())
	}
	if d.shut {
		return ErrClosed
	}
	d.close(time.Now())
	d.reads.stop()
	d.writes.stop()
	return nil
}

// Close closes the DLC: Read and Write fail from now on, what Write took is sent in
// the background, then DISC. If nothing of it goes out for 5 s, or for three hours where
// the peer has stopped the DLC, the peer sees it torn (DM), not ended. It never waits.
func (d *DLC) Close() error {
	d.m.mu.Lock()
	defer d.m.unlock()
	if d.shut {
		return ErrClosed
	}
	d.close(time.Now())
	d.reads.stop()
	d.writes.stop()
	return nil
}

// SetDeadline sets both deadlines.
func (d *DLC) SetDeadline(t time.Time) error {
	return d.setDeadline(t, true, true)
}

// SetReadDeadline makes Read fail with os.ErrDeadlineExceeded from t on; the zero
// time is never. It applies to a Read that waits already.
func (d *DLC) SetReadDeadline(t time.Time) error {
	return d.setDeadline(t, true, false)
}

// SetWriteDeadline is the same for Write.
func (d *DLC) SetWriteDeadline(t time.Time) error {
	return d.setDeadline(t, false, true)
}

func (d *DLC) setDeadline(t time.Time, read, write bool) error {
	d.m.mu.Lock()
	defer d.m.unlock()
	if d.shut {
		return ErrClosed
	}
	if read {
		d.reads.set(t, &d.readable)
	}
	if write {
		d.writes.set(t, &d.writable)
	}
	return nil
}

// Addr names a DLC as a net.Addr.
type Addr int

// Network gives "27.010".
func (Addr) Network() string { return "27.010" }

func (a Addr) String() string { return "dlc " + strconv.Itoa(int(a)) }

// LocalAddr gives the Addr of the DLC; the number is the same at both ends.
func (d *DLC) LocalAddr() net.Addr { return Addr(d.dlci) }

// RemoteAddr gives the same as LocalAddr.
func (d *DLC) RemoteAddr() net.Addr { return Addr(d.dlci) }
