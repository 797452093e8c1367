//go:build guest

package ccid

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Messages of the VSCard protocol, which QEMU's ccid-card-passthru speaks: type, reader and length, four octets each, big
// endian, and the payload.
const (
	vscInit       = 1
	vscError      = 2
	vscReaderAdd  = 3
	vscATR        = 5
	vscCardRemove = 6
	vscAPDU       = 7
)

const vscNoReader = 0xFFFFFFFF

// oddATR is the odd card's answer to reset: T=0 and eight historical characters.
var oddATR = []byte{0x3B, 0x68, 0x00, 0x00, 'o', 'd', 'd', ' ', 'c', 'a', 'r', 'd'}

// fastATR is that of an odd card in specific mode (TA2) at four times the initial rate (TA1 13), so that the reader has to
// be told the rate, and no PPS is made.
const fastATR = "3B981310006F64642063617264"

// Instructions of the odd card.
const (
	insLong    = 0x10 // P1P2 octets
	insPattern = 0x12 // P2 octets that depend on P1
	insDelay   = 0x20 // an answer after P1 tenths of a second
	insHeld    = 0x21 // an answer when the test asks for it
	insSilent  = 0x30 // no answer
	insTwice   = 0x40 // two answers: 9000, and 6F01
	insError   = 0x50 // an error of the card's side
)

// pattern is n octets that depend on the seed.
func pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed ^ byte(i) ^ byte(i>>8)
	}
	return b
}

// oddCard does what no proper card does.
type oddCard struct {
	conn   net.Conn
	served chan struct{}
	late   chan struct{} // one for each delayed answer that was sent
	held   chan struct{} // one for each answer that is held

	mu sync.Mutex // of writing
}

// newOddCard inserts the card with that answer to reset; the connection is now its own.
func newOddCard(conn net.Conn, atr []byte) (*oddCard, error) {
	c := &oddCard{conn: conn, served: make(chan struct{}), late: make(chan struct{}, 16), held: make(chan struct{}, 16)}
	go c.serve()
	err := errors.Join(
		c.write(vscInit, vscNoReader, []byte("VSCD\x00\x00\x00\x02\x00\x00\x00\x00")),
		c.write(vscReaderAdd, vscNoReader, []byte("odd\x00")),
		c.write(vscATR, 0, atr),
	)
	if err != nil {
		c.close()
	}
	return c, err
}

func (c *oddCard) write(kind, reader uint32, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := binary.BigEndian.AppendUint32(nil, kind)
	b = binary.BigEndian.AppendUint32(b, reader)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	c.conn.SetWriteDeadline(time.Now().Add(patience)) // QEMU may have stopped reading
	_, err := c.conn.Write(append(b, payload...))
	return err
}

func (c *oddCard) close() {
	c.write(vscCardRemove, 0, nil)
	c.conn.Close()
	<-c.served
}

// serve answers until the connection ends.
func (c *oddCard) serve() {
	defer close(c.served)
	for {
		var h [12]byte
		if _, err := io.ReadFull(c.conn, h[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(h[8:]))
		if _, err := io.ReadFull(c.conn, payload); err != nil {
			return
		}
		if binary.BigEndian.Uint32(h[:]) == vscAPDU && len(payload) >= 4 {
			c.answer(payload)
		}
	}
}

func (c *oddCard) answer(apdu []byte) {
	ok := []byte{0x90, 0x00}
	switch ins, p1, p2 := apdu[1], apdu[2], apdu[3]; ins {
	case insLong:
		c.write(vscAPDU, 0, append(pattern(0, int(p1)<<8|int(p2)), ok...))
	case insPattern:
		c.write(vscAPDU, 0, append(pattern(p1, int(p2)), ok...))
	case insDelay:
		time.AfterFunc(time.Duration(p1)*100*time.Millisecond, func() {
			c.write(vscAPDU, 0, ok)
			c.late <- struct{}{}
		})
	case insHeld:
		c.held <- struct{}{}
	case insSilent:
	case insTwice:
		c.write(vscAPDU, 0, ok)
		c.write(vscAPDU, 0, []byte{0x6F, 0x01})
	case insError:
		c.write(vscError, 0, []byte{0, 0, 0, 1})
	default:
		c.write(vscAPDU, 0, []byte{0x6D, 0x00})
	}
}

// holds waits until an answer is held.
func (c *oddCard) holds(ctx context.Context) error {
	select {
	case <-c.held:
		c.held <- struct{}{}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lateSent waits until a delayed answer was sent, or sends one that is held.
func (c *oddCard) lateSent(ctx context.Context) error {
	select {
	case <-c.late:
		return nil
	case <-c.held:
		return c.write(vscAPDU, 0, []byte{0x90, 0x00})
	case <-ctx.Done():
		return ctx.Err()
	}
}
