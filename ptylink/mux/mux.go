// Package mux is the multiplexer of 3GPP TS 27.010: up to 61 byte streams (DLCs) with
// flow control of their own on one serial line. It has both roles, the basic and the
// advanced option, UIH frames and convergence layer 1. Error recovery mode (I frames)
// is not offered, as with every other implementation known.
//
// UIH carries no check over its data. For a real UART, which may change or lose octets, there is a payload check of our
// own, Config.Check; its format is told in check.go.
package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Mux is one end of the multiplexer.
//
// Two goroutines belong to it, the only reader and the only writer of the line, and
// one timer. All of them and every method work on the station, which holds the
// protocol's state, under one lock; nobody does I/O with the lock held.
type Mux struct {
	line io.ReadWriteCloser

	mu     sync.Mutex
	s      *station
	work   sync.Cond // the writer waits here
	timer  *time.Timer
	ending bool // finish has begun

	readerDone, writerDone chan struct{}
	done                   chan struct{}
}

// closeTime bounds the wait for a line whose Close does not come back or does not end
// its Read and Write.
const closeTime = time.Second

// readSize is the size of one read from the line; a pty gives no more than 12 KB.
const readSize = 16 << 10

// New starts the multiplexer on line. It owns line from now on and closes it at the
// end. Close must end a waiting Read and Write of line.
func New(line io.ReadWriteCloser, cfg Config) *Mux {
	m := &Mux{
		line:       line,
		readerDone: make(chan struct{}),
		writerDone: make(chan struct{}),
		done:       make(chan struct{}),
	}
	m.work.L = &m.mu
	m.s = newStation(cfg, sync.NewCond(&m.mu))
	m.timer = time.AfterFunc(time.Hour, m.tick)
	m.timer.Stop()
	go m.read()
	go m.write()
	return m
}

// Start opens the multiplexer. The initiator sends SABM on DLCI 0 and waits for UA;
// DM gives ErrRefused, silence ErrTimeout, and Start may be called again. The
// responder waits for the SABM.
func (m *Mux) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.unlock()
	if m.s.cfg.Role == Initiator {
		m.s.start(time.Now())
	}
	err := m.wait(ctx, func() bool {
		return m.s.state != muxStarting && (m.s.state != muxIdle || m.s.cfg.Role == Initiator)
	})
	switch {
	case m.s.state == muxOpen:
		return nil
	case m.s.state == muxClosing || m.s.state == muxEnded:
		return m.s.reason()
	case err != nil:
		if m.s.state == muxStarting {
			m.s.startFailed(err)
		}
		return fmt.Errorf("mux: start: %w", err)
	}
	return m.s.startErr
}

// Open opens DLC dlci. If the peer has opened it by itself and Accept has not given
// it out, Open gives it out. A DLC of that number that is still closing is waited
// for. Errors: ErrRefused, ErrTimeout, ErrInUse, ErrNotOpen, ErrClosed, that of ctx.
func (m *Mux) Open(ctx context.Context, dlci int) (*DLC, error) {
	m.mu.Lock()
	defer m.unlock()
	err := m.wait(ctx, func() bool {
		old := m.s.dlc(dlci)
		return old == nil || !old.shut && old.state == dlcOpen || m.s.state != muxOpen
	})
	if err != nil {
		return nil, fmt.Errorf("mux: open DLC %d: %w", dlci, err)
	}
	d, err := m.s.open(dlci, time.Now())
	if err != nil {
		return nil, err
	}
	d.m = m
	err = m.wait(ctx, func() bool {
		return d.state != dlcNegotiating && d.state != dlcOpening
	})
	switch {
	case d.opened:
		return d, nil
	case d.err != nil:
		return nil, d.err
	case err != nil:
		d.close(time.Now())
		return nil, fmt.Errorf("mux: open DLC %d: %w", dlci, err)
	}
	return nil, ErrClosed
}

// Accept gives the next DLC that the peer has opened. After the end of the
// multiplexer it gives Err or ErrClosed.
func (m *Mux) Accept(ctx context.Context) (*DLC, error) {
	m.mu.Lock()
	defer m.unlock()
	err := m.wait(ctx, func() bool {
		return len(m.s.accept) > 0 || m.s.state == muxClosing || m.s.state == muxEnded
	})
	switch {
	case len(m.s.accept) > 0:
		d := m.s.accept[0]
		m.s.accept = m.s.accept[1:]
		d.m = m
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("mux: accept: %w", err)
	}
	return nil, m.s.reason()
}

// Close ends the multiplexer: a DLC that was closed sends what it holds and DISC, one
// that is still in use is torn, as by Abort. Then CLD goes out, and if the peer does
// not answer that, DISC on DLCI 0; then the line is closed.
// Each step is bounded by T1 times N2, so it comes back whatever the peer does.
func (m *Mux) Close() error {
	m.mu.Lock()
	m.s.close(time.Now())
	m.unlock()
	<-m.done
	return nil
}

// Done is closed when the multiplexer has ended (CLD, DISC on DLCI 0, line error,
// keep-alive lost) and the line is closed.
func (m *Mux) Done() <-chan struct{} { return m.done }

// Err tells why the multiplexer ended: nil before Done and after an orderly close
// from either side.
func (m *Mux) Err() error {
	select {
	case <-m.done:
	default:
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.err
}

// Heard tells when the peer last showed life; what this end sent and the line gave back is none. A multiplexer whose peer
// is not known to answer the questions of the keep-alive does not end by silence: its user may then ask one of its own.
func (m *Mux) Heard() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.s.heard
}

// unlock gives the lock back after a change.
func (m *Mux) unlock() {
	m.settle()
	m.mu.Unlock()
}

// settle sets going what a change calls for.
func (m *Mux) settle() {
	if m.s.state == muxEnded && !m.ending {
		m.ending = true
		go m.finish()
	}
	if m.s.dirty {
		m.work.Signal()
	}
	if m.s.rearm {
		m.s.rearm = false
		if next := m.s.nextTimer(); next.IsZero() {
			m.timer.Stop()
		} else {
			m.timer.Reset(time.Until(next))
		}
	}
}

// wait waits, with the lock held, until ready or the end of ctx.
func (m *Mux) wait(ctx context.Context, ready func() bool) error {
	if ready() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.s.changed.Broadcast()
	})
	defer stop()
	for !ready() {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.settle()
		m.s.changed.Wait()
	}
	return nil
}

// read is the goroutine that reads the line.
func (m *Mux) read() {
	defer close(m.readerDone)
	buf := make([]byte, readSize)
	for {
		n, err := m.line.Read(buf)
		m.mu.Lock()
		if n > 0 && m.s.state != muxEnded {
			m.s.receive(buf[:n], time.Now())
		}
		if err != nil {
			m.s.lineEnded(lineError("read", err))
		}
		ended := m.s.state == muxEnded
		m.unlock()
		if ended {
			return
		}
	}
}

// write is the goroutine that writes to the line. It ends after it has written what
// was queued when the multiplexer ended.
func (m *Mux) write() {
	defer close(m.writerDone)
	buf := make([]byte, 0, m.s.cfg.WriteSize)
	for {
		m.mu.Lock()
		for !m.s.dirty && m.s.state != muxEnded {
			m.work.Wait()
		}
		buf = m.s.fill(buf[:0], time.Now())
		ended := m.s.state == muxEnded
		m.unlock()
		if len(buf) > 0 {
			if _, err := m.line.Write(buf); err != nil {
				m.writeFailed(err)
				return
			}
		}
		if ended {
			return
		}
	}
}

// writeFailed leaves the reader a moment to find out why: the peer may have closed
// the multiplexer in order and its CLD lie in the line's queue.
func (m *Mux) writeFailed(err error) {
	m.mu.Lock()
	grace := m.s.cfg.T1
	m.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-m.readerDone:
	case <-timer.C:
	}
	m.mu.Lock()
	m.s.lineEnded(lineError("write", err))
	m.unlock()
}

// tick is the timer.
func (m *Mux) tick() {
	m.mu.Lock()
	if m.s.state != muxEnded {
		m.s.tick(time.Now())
	}
	m.unlock()
}

// finish closes the line once the writer has sent its last, or has not within T1.
func (m *Mux) finish() {
	timer := time.NewTimer(m.s.cfg.T1)
	defer timer.Stop()
	select {
	case <-m.writerDone:
	case <-timer.C:
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := m.line.Close(); err != nil {
			m.s.cfg.Log.Debug("mux: closing the line", "error", err)
		}
		<-m.readerDone
		<-m.writerDone
	}()
	timer.Reset(closeTime)
	select {
	case <-closed:
	case <-timer.C:
		m.s.cfg.Log.Warn("mux: the line does not close")
	}
	close(m.done)
}

// lineError is the end of the line as an error. The end of the file is none to hand
// to a DLC's reader: a torn line is not an orderly end of the stream.
func lineError(op string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("mux: line %s: %w", op, err)
}

// writeError is the error of Write on a DLC that ended with err.
func writeError(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return ErrClosed
	}
	return err
}
