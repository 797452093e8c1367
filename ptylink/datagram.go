package ptylink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// MaxDatagram is the longest datagram in octets that the length field of the line can tell.
const MaxDatagram = 65535

// datagramConn keeps the boundaries of datagrams on a byte stream.
type datagramConn struct {
	net.Conn

	rd sync.Mutex
	r  *bufio.Reader // holds a whole datagram

	wr      sync.Mutex
	pending []byte // rest of a datagram that a write deadline cut
}

// NewDatagramConn carries datagrams over c, a UDP channel's DLC: each behind its length in two octets, most significant
// first. One Write is one datagram of at most MaxDatagram octets, one Read gives one datagram. A Read with less room than
// the datagram needs gets what fits and io.ErrShortBuffer, the rest is dropped. A datagram of no octets is one. The end
// of c within a datagram is io.ErrUnexpectedEOF. A deadline never breaks the framing: a Read continues where the one
// before stopped; a Write of which a part went out counts as done, and its rest goes out before the next.
func NewDatagramConn(c net.Conn) net.Conn {
	return &datagramConn{Conn: c, r: bufio.NewReaderSize(c, 2+MaxDatagram)}
}

func (d *datagramConn) Read(p []byte) (int, error) {
	d.rd.Lock()
	defer d.rd.Unlock()
	head, err := d.peek(2)
	if err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint16(head))
	datagram, err := d.peek(2 + size)
	if err != nil {
		return 0, err
	}
	n := copy(p, datagram[2:])
	_, _ = d.r.Discard(2 + size) // it is in the buffer
	if n < size {
		return n, io.ErrShortBuffer
	}
	return n, nil
}

// peek waits for n octets and leaves them in the buffer.
func (d *datagramConn) peek(n int) ([]byte, error) {
	b, err := d.r.Peek(n)
	if errors.Is(err, io.EOF) && len(b) > 0 {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func (d *datagramConn) Write(p []byte) (int, error) {
	if len(p) > MaxDatagram {
		return 0, fmt.Errorf("ptylink: datagram of %d octets, %d are possible", len(p), MaxDatagram)
	}
	d.wr.Lock()
	defer d.wr.Unlock()
	if len(d.pending) > 0 {
		n, err := d.Conn.Write(d.pending)
		d.pending = d.pending[n:]
		if err != nil {
			return 0, err
		}
	}
	b := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(p)), uint16(len(p))), p...)
	n, err := d.Conn.Write(b)
	if err != nil {
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		d.pending = b[n:]
	}
	return len(p), nil
}
