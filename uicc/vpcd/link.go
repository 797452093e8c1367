package vpcd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"bipd/uicc"
)

// maxPayload is the longest payload that a length of two bytes can announce.
const maxPayload = 0xFFFF

// The one-byte payloads that the reader sends.
const (
	controlPowerOff = 0x00
	controlPowerOn  = 0x01
	controlReset    = 0x02
	controlGetATR   = 0x04
)

var (
	errUnasked = errors.New("vpcd: the card sent what nobody asked for")
	errEmpty   = errors.New("vpcd: the card sent an empty message")
)

// appendMessage appends payload, at most maxPayload bytes, behind its length.
func appendMessage(b, payload []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

// readMessage reads one message and returns its payload. No card sends an empty one, so that it is an error. io.EOF says
// that r ended before a message.
func readMessage(r io.Reader) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n == 0 {
		return nil, errEmpty
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, fmt.Errorf("vpcd: message cut short: %w", err)
	}
	return payload, nil
}

// link is the connection of a card. One goroutine runs receive; another one asks.
type link struct {
	conn    net.Conn
	replies chan []byte   // from receive; holds a late response and an ATR
	done    chan struct{} // closed by end

	// unanswered says that a response never came: it may still come, and only a reset is of use. It belongs to the one
	// who asks.
	unanswered bool

	once sync.Once
	err  error // why the link ended; set before done is closed
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, replies: make(chan []byte, 2), done: make(chan struct{})}
}

// end closes the link. The first cause counts.
func (l *link) end(cause error) {
	l.once.Do(func() {
		l.err = cause
		l.conn.Close()
		close(l.done)
	})
}

// removed is what the one who asks is told after the link has ended: uicc.ErrRemoved, with the cause where it is more
// than that the card left.
func (l *link) removed() error {
	if cause := l.cause(); cause != nil && cause != io.EOF && !errors.Is(cause, uicc.ErrRemoved) {
		return fmt.Errorf("%w: %w", uicc.ErrRemoved, cause)
	}
	return uicc.ErrRemoved
}

// cause is why the link has ended; nil before.
func (l *link) cause() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// receive reads until the link ends. It never waits for the one who asks, so that it notices at any time that the
// card leaves: a card that sends more than there can be answers outstanding is thrown out.
func (l *link) receive() {
	r := bufio.NewReader(l.conn)
	for {
		payload, err := readMessage(r)
		if err != nil {
			l.end(err)
			return
		}
		select {
		case l.replies <- payload:
		default:
			l.end(errUnasked)
			return
		}
	}
}

// send writes one message. A card that does not take it in time has got a part of it or nothing, so that the link ends.
func (l *link) send(ctx context.Context, payload []byte, timeout time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.cause() != nil {
		return l.removed()
	}
	l.conn.SetWriteDeadline(time.Now().Add(timeout))
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		l.conn.SetWriteDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	_, err := l.conn.Write(appendMessage(nil, payload))
	if !stop() {
		<-interrupted // lest it meets the next write
	}
	if err == nil {
		return nil
	}
	l.end(err)
	var late net.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &late) && late.Timeout():
		return uicc.ErrMute
	}
	return l.removed()
}

// reply waits for a message of the card.
func (l *link) reply(ctx context.Context, timeout <-chan time.Time) ([]byte, error) {
	select {
	case b := <-l.replies:
		return b, nil
	default: // what came before the link ended counts
	}
	select {
	case b := <-l.replies:
		return b, nil
	case <-l.done:
		return nil, l.removed()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout:
		return nil, uicc.ErrMute
	}
}

// discard drops what lies unread.
func (l *link) discard() {
	for {
		select {
		case <-l.replies:
		default:
			return
		}
	}
}
