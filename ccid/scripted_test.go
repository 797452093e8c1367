package ccid

import (
	"context"
	"encoding/binary"
	"sync"

	"bipd/ccid/usbfs"
)

// tpduDescriptor is of a reader of TPDU level that needs nothing of the host.
func tpduDescriptor() Descriptor {
	return Descriptor{
		Release: 0x0110, Voltages: Volt5, Protocols: 3, DefaultClock: 4000, MaxClock: 4000, DataRate: 10752, MaxDataRate: 344086,
		MaxIFSD: 254, Features: 0xFE | levelTPDU, MaxMessage: 271, MaxBusySlots: 1,
	}
}

// scripted is a reader that is one function: it gets each message and gives the transfers that come back.
type scripted struct {
	reply func(msg []byte) [][]byte

	mu      sync.Mutex
	pending [][]byte
	ready   chan struct{}
	closed  chan struct{}
	once    sync.Once
}

func newScripted(reply func(msg []byte) [][]byte) *scripted {
	return &scripted{reply: reply, ready: make(chan struct{}, 1), closed: make(chan struct{})}
}

func (t *scripted) Send(ctx context.Context, msg []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = append(t.pending, t.reply(msg)...)
	select {
	case t.ready <- struct{}{}:
	default:
	}
	return ctx.Err()
}

// take copies the next transfer, as much as there is room for.
func (t *scripted) take(buf []byte) (int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.pending) == 0 {
		return 0, false
	}
	n := copy(buf, t.pending[0])
	if t.pending[0] = t.pending[0][n:]; len(t.pending[0]) == 0 {
		t.pending = t.pending[1:]
	}
	return n, true
}

func (t *scripted) Receive(ctx context.Context, buf []byte) (int, error) {
	for {
		if n, ok := t.take(buf); ok {
			return n, nil
		}
		select {
		case <-t.ready:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-t.closed:
			return 0, usbfs.ErrClosed
		}
	}
}

func (t *scripted) Notify(ctx context.Context, _ []byte) (int, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-t.closed:
		return 0, usbfs.ErrClosed
	}
}

func (t *scripted) Control(context.Context, uint8, uint8, uint16, []byte) (int, error) {
	return 0, usbfs.ErrStall
}

func (t *scripted) Reset(context.Context) error { return nil }

func (t *scripted) Close() error {
	t.once.Do(func() { close(t.closed) })
	return nil
}

// message makes an answer to msg.
func message(msg []byte, typ messageType, status byte, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{byte(typ)}, uint32(len(data)))
	return append(append(b, msg[5], msg[6], status, 0, 0), data...)
}

// newEcho is a reader whose card answers each command with ten octets and 9000.
func newEcho() *scripted {
	var out [][]byte
	var buf []byte
	return newScripted(func(msg []byte) [][]byte {
		var m []byte
		switch messageType(msg[0]) {
		case typePowerOn:
			m = message(msg, typeDataBlock, 0, []byte{0x3B, 0})
		case typeXfrBlock:
			buf = append(buf[:0], byte(typeDataBlock), 12, 0, 0, 0, msg[5], msg[6], 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x90, 0)
			m = buf
		default:
			m = message(msg, messageType(msg[0]).answer(), 0, nil)
		}
		out = append(out[:0], m)
		return out
	})
}
