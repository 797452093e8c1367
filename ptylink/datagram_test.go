package ptylink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"bipd/internal/testkit"
)

func TestDatagramConn(t *testing.T) {
	testkit.NoLeaks(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	n := NewDatagramConn(a)
	go func() { _, _ = b.Write([]byte("\x00\x03abc\x00\x00\x00\x05hello\x00\x02xy\x00\x09short")); b.Close() }()
	buf := make([]byte, 5)
	for _, want := range []string{"abc", "", "hello"} {
		if k, err := n.Read(buf); err != nil || string(buf[:k]) != want {
			t.Errorf("%q %v, want %q", buf[:k], err, want)
		}
	}
	if k, err := n.Read(buf[:1]); k != 1 || buf[0] != 'x' || err != io.ErrShortBuffer {
		t.Error(k, err)
	}
	if k, err := n.Read(buf); k != 0 || err != io.ErrUnexpectedEOF {
		t.Error(k, err)
	}
	if _, err := n.Write(make([]byte, MaxDatagram+1)); err == nil {
		t.Error("a datagram longer than its length field was taken")
	}
}

// Deadlines on both sides in the middle of a datagram lose and split nothing.
func TestDatagramDeadlines(t *testing.T) {
	testkit.NoLeaks(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	n := NewDatagramConn(a)
	expired := func(f func([]byte) (int, error), p []byte) {
		t.Helper()
		if _, err := f(p); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
	}
	go func() { _, _ = b.Write([]byte("\x00\x06ab")) }()
	_ = n.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	expired(n.Read, make([]byte, 9))
	_ = n.SetReadDeadline(time.Time{})
	go func() { _, _ = b.Write([]byte("cdef\x00\x01z")) }()
	buf := make([]byte, 9)
	for _, want := range []string{"abcdef", "z"} {
		if k, err := n.Read(buf); err != nil || string(buf[:k]) != want {
			t.Errorf("%q %v", buf[:k], err)
		}
	}

	head := make([]byte, 4)
	read := make(chan error, 1)
	go func() { _, err := io.ReadFull(b, head); read <- err }() // half of the first datagram
	_ = n.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if k, err := n.Write([]byte("first")); k != 5 || err != nil {
		t.Error(k, err) // its rest is kept
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	expired(n.Write, []byte("not taken")) // the rest does not go out yet
	_ = n.SetWriteDeadline(time.Time{})
	rest := make(chan []byte, 1)
	go func() {
		p := make([]byte, 3+2+6)
		_, _ = io.ReadFull(b, p)
		rest <- p
	}()
	if k, err := n.Write([]byte("second")); k != 6 || err != nil {
		t.Error(k, err)
	}
	if got := append(head, <-rest...); string(got) != "\x00\x05first\x00\x06second" {
		t.Errorf("%q", got)
	}
}

// chunks is a net.Conn's reading side that gives octets in pieces.
type chunks struct {
	net.Conn
	data []byte
	n    int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	k := copy(p, c.data[:min(c.n, len(c.data))])
	c.data = c.data[k:]
	return k, nil
}

// sink is a net.Conn's writing side.
type sink struct {
	net.Conn
	bytes.Buffer
}

func (s *sink) Read(p []byte) (int, error)  { return s.Buffer.Read(p) }
func (s *sink) Write(p []byte) (int, error) { return s.Buffer.Write(p) }

// FuzzDatagrams asserts that any stream is cut as its length fields say, however it is split, that what was read and
// written again is the same stream, and that a torn end is told.
func FuzzDatagrams(f *testing.F) {
	f.Add([]byte("\x00\x03abc\x00\x00\x00\x05hello"), uint8(1))
	f.Add([]byte("\x00"), uint8(1))
	f.Add([]byte("\xff\xff..."), uint8(9))
	f.Fuzz(func(t *testing.T, stream []byte, split uint8) {
		in := NewDatagramConn(&chunks{data: bytes.Clone(stream), n: int(split)%64 + 1})
		out := &sink{}
		back := NewDatagramConn(out)
		buf := make([]byte, MaxDatagram)
		read := 0
		var err error
		for {
			var n int
			if n, err = in.Read(buf); err != nil {
				break
			}
			if want := int(binary.BigEndian.Uint16(stream[read:])); n != want {
				t.Fatalf("datagram of %d, want %d", n, want)
			}
			read += 2 + n
			if _, err := back.Write(buf[:n]); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(out.Bytes(), stream[:read]) {
			t.Fatalf("%x, want %x", out.Bytes(), stream[:read])
		}
		left := stream[read:]
		torn := len(left) == 1 || len(left) >= 2 && int(binary.BigEndian.Uint16(left)) > len(left)-2
		if torn != (err == io.ErrUnexpectedEOF) || !torn && (err != io.EOF || len(left) != 0) {
			t.Fatalf("%d octets left: %v", len(left), err)
		}
	})
}
