package softuicc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"bipd/uicc"
)

// Messages of the VSCard protocol, which QEMU's ccid-card-passthru speaks: type, reader and length, four octets each, big
// endian, and the payload.
const (
	vsInit          uint32 = 1
	vsError         uint32 = 2
	vsReaderAdd     uint32 = 3
	vsATR           uint32 = 5 // and so a card was inserted
	vsCardRemove    uint32 = 6
	vsAPDU          uint32 = 7
	vsFlush         uint32 = 8
	vsFlushComplete uint32 = 9
)

const (
	vsHeader            = 12
	vsMaxPayload        = 1 << 17 // more than any APDU has
	vsNoReader   uint32 = 0xFFFFFFFF
)

// vsHello is the payload of Init: magic, version 2, no capabilities.
var vsHello = []byte{'V', 'S', 'C', 'D', 0, 0, 0, 2, 0, 0, 0, 0}

// VSCard is the card's end of the VSCard protocol: a slot that QEMU's emulated reader shows to its guest. Cards may come
// and go while it is served, and stay from one connection to the next. Power and resets of the guest do not reach the
// card: it is reset where a connection or its insertion begins.
type VSCard struct {
	reader *Reader

	mu   sync.Mutex
	conn net.Conn  // being served; nil = none
	card uicc.Card // that the other end was told of; nil = none
}

// NewVSCard makes an empty slot.
func NewVSCard() *VSCard { return &VSCard{reader: NewReader("vscard")} }

// Insert puts a card into the slot.
func (v *VSCard) Insert(c *Card) error { return v.reader.Insert(c) }

// Remove takes the card out, also in the middle of an APDU.
func (v *VSCard) Remove() { v.reader.Remove() }

// Announce tells the other end anew that there is a reader, and a card in it if so: QEMU forgets both when its device is
// taken away, and has them back neither with a new device on the same connection.
func (v *VSCard) Announce(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn == nil {
		return net.ErrClosed
	}
	v.card = nil
	if err := v.write(vsReaderAdd, vsNoReader, []byte("softuicc\x00")); err != nil {
		return err
	}
	return v.tell(ctx)
}

// ServeVSCard serves one card that stays in its slot; see VSCard.Serve. It returns uicc.ErrRemoved once the card is removed.
func ServeVSCard(ctx context.Context, conn net.Conn, card *Card) error {
	v := NewVSCard()
	if err := v.Insert(card); err != nil {
		return err
	}
	defer v.Remove()
	card.mu.Lock()
	gone := card.gone
	card.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- v.Serve(ctx, conn) }()
	select {
	case err := <-ended:
		return err
	case <-gone:
		cancel()
		<-ended
		return uicc.ErrRemoved
	}
}

// Serve speaks on a connection until ctx ends or the other end closes it (nil), or it fails; it closes conn. A mute card
// gives no answer. A slot serves one connection at a time.
func (v *VSCard) Serve(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer func() {
		cancel()
		helpers.Wait()
	}()
	v.mu.Lock()
	if v.conn != nil {
		v.mu.Unlock()
		conn.Close()
		return errors.New("softuicc: vscard: the slot is served already")
	}
	v.conn, v.card = conn, nil
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		v.conn, v.card = nil, nil
		v.mu.Unlock()
	}()
	context.AfterFunc(ctx, func() { conn.Close() })

	messages := make(chan vsMessage)
	var failed error
	helpers.Add(1)
	go func() {
		defer helpers.Done()
		defer cancel() // also ends what the card works on
		failed = v.receive(ctx, conn, messages)
		close(messages)
	}()
	if err := v.greet(); err != nil {
		cancel()
		for range messages {
		}
		return v.outcome(ctx, failed, err)
	}
	helpers.Add(1)
	go func() {
		defer helpers.Done()
		for range v.reader.Watch(ctx) {
			v.mu.Lock()
			_ = v.tell(ctx) // a connection that failed shows when it is read
			v.mu.Unlock()
		}
	}()
	err := v.answer(ctx, messages)
	cancel()
	for range messages {
	}
	return v.outcome(ctx, failed, err)
}

// outcome is what Serve returns: failed ended the reading, err the answering.
func (v *VSCard) outcome(ctx context.Context, failed, err error) error {
	for _, e := range []error{failed, err} {
		if e == nil || errors.Is(e, io.EOF) || errors.Is(e, net.ErrClosed) || errors.Is(e, io.ErrClosedPipe) || errors.Is(e, context.Canceled) {
			continue
		}
		return fmt.Errorf("softuicc: vscard: %w", e)
	}
	return nil
}

type vsMessage struct {
	kind, reader uint32
	payload      []byte
}

// receive hands on the messages of the other end.
func (v *VSCard) receive(ctx context.Context, r io.Reader, messages chan<- vsMessage) error {
	for {
		var h [vsHeader]byte
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(h[8:])
		if n > vsMaxPayload {
			return fmt.Errorf("a message of %d octets", n)
		}
		m := vsMessage{binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:]), make([]byte, n)}
		if _, err := io.ReadFull(r, m.payload); err != nil {
			return noEOF(err)
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return nil
		}
	}
}

// answer obeys the messages of the other end.
func (v *VSCard) answer(ctx context.Context, messages <-chan vsMessage) error {
	for m := range messages {
		var err error
		switch m.kind {
		case vsInit:
			if !bytes.HasPrefix(m.payload, vsHello[:4]) {
				return fmt.Errorf("the other end says Init %X", m.payload)
			}
		case vsError:
			if len(m.payload) >= 4 && binary.BigEndian.Uint32(m.payload) != 0 {
				return fmt.Errorf("the other end reports error %d", binary.BigEndian.Uint32(m.payload))
			}
		case vsFlush:
			v.mu.Lock()
			err = v.write(vsFlushComplete, m.reader, nil)
			v.mu.Unlock()
		case vsAPDU:
			err = v.apdu(ctx, m)
		default:
			return fmt.Errorf("a message of type %d", m.kind)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apdu has the card answer. What a card that is gone or mute was asked has no answer.
func (v *VSCard) apdu(ctx context.Context, m vsMessage) error {
	v.mu.Lock()
	card := v.card
	v.mu.Unlock()
	if card == nil {
		return nil
	}
	rapdu, err := card.Transmit(ctx, m.payload)
	if err != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.write(vsAPDU, m.reader, rapdu)
}

// greet says Init and that there is a reader.
func (v *VSCard) greet() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.write(vsInit, vsNoReader, vsHello); err != nil {
		return err
	}
	return v.write(vsReaderAdd, vsNoReader, []byte("softuicc\x00"))
}

// tell tells the other end of a card that has come or gone since it was told last. The caller holds mu.
func (v *VSCard) tell(ctx context.Context) error {
	if v.card != nil {
		if old, ok := v.card.(*inserted); ok && !isClosed(old.gone) {
			return nil
		}
		v.card = nil
		if err := v.write(vsCardRemove, 0, nil); err != nil {
			return err
		}
	}
	card, err := v.reader.Connect(ctx)
	if err != nil {
		return nil // there is none
	}
	v.card = card
	return v.write(vsATR, 0, card.ATR())
}

// write sends a message. The caller holds mu.
func (v *VSCard) write(kind, reader uint32, payload []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, vsHeader+len(payload)), kind)
	b = binary.BigEndian.AppendUint32(b, reader)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	_, err := v.conn.Write(append(b, payload...))
	return err
}
