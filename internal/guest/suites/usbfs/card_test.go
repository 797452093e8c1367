//go:build guest

package usbfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// Messages of the VSCard protocol, which QEMU's ccid-card-passthru speaks: type, reader and length, 4 octets each, big
// endian, and the data.
const (
	vscInit       = 1
	vscReaderAdd  = 3
	vscATR        = 5
	vscCardRemove = 6
	vscAPDU       = 7
)

// newReader is the reader's number before QEMU has given it one.
const newReader = 0xFFFFFFFF

// atr is the card's answer to reset: T=0 and eight historical characters.
var atr = []byte{0x3B, 0x68, 0x00, 0x00, 'Z', 'A', 'C', 'R', 'D', '2', '2', '3'}

// pattern is n octets whose place can be told.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

// card is the host's side of the card. To 80 10 P1 P2 it answers P1P2 octets of pattern and 9000, to 80 20 nothing until
// it is asked to, and to all else 9000.
type card struct {
	conn net.Conn
	done chan struct{}

	mu   sync.Mutex // of writing, and held
	held [][]byte
}

// insertCard connects to QEMU and inserts a card.
func insertCard(socket string) (*card, error) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	c := &card{conn: conn, done: make(chan struct{})}
	for _, m := range []struct {
		kind, reader uint32
		data         []byte
	}{
		{vscInit, newReader, []byte("VSCD\x00\x00\x00\x02\x00\x00\x00\x00")},
		{vscReaderAdd, newReader, []byte("card\x00")},
		{vscATR, 0, atr},
	} {
		if err := c.write(m.kind, m.reader, m.data); err != nil {
			conn.Close()
			return nil, err
		}
	}
	go c.serve()
	return c, nil
}

func (c *card) write(kind, reader uint32, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := binary.BigEndian.AppendUint32(nil, kind)
	b = binary.BigEndian.AppendUint32(b, reader)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	c.conn.SetWriteDeadline(time.Now().Add(patience)) // QEMU may have stopped reading
	_, err := c.conn.Write(append(b, data...))
	return err
}

// serve answers until the connection ends.
func (c *card) serve() {
	defer close(c.done)
	for {
		var head [3]uint32
		if binary.Read(c.conn, binary.BigEndian, &head) != nil {
			return
		}
		data := make([]byte, head[2])
		if _, err := io.ReadFull(c.conn, data); err != nil {
			return
		}
		if head[0] != vscAPDU {
			continue
		}
		answer := []byte{0x90, 0x00}
		switch {
		case len(data) >= 4 && bytes.HasPrefix(data, []byte{0x80, 0x10}):
			answer = append(pattern(int(binary.BigEndian.Uint16(data[2:]))), answer...)
		case bytes.HasPrefix(data, []byte{0x80, 0x20}):
			c.mu.Lock()
			c.held = append(c.held, answer)
			c.mu.Unlock()
			continue
		}
		if c.write(vscAPDU, head[1], answer) != nil {
			return
		}
	}
}

// release sends what was held back, and tells how much that is.
func (c *card) release() (int, error) {
	c.mu.Lock()
	held := c.held
	c.held = nil
	c.mu.Unlock()
	for _, answer := range held {
		if err := c.write(vscAPDU, 0, answer); err != nil {
			return 0, err
		}
	}
	return len(held), nil
}

// close ends the connection.
func (c *card) close() {
	c.conn.Close()
	<-c.done
}
