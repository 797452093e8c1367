package softuicc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"bipd/uicc"

	"golang.org/x/sys/unix"
)

// Control messages of vpcd: messages of one octet.
const (
	vpcdPowerOff = 0x00
	vpcdPowerOn  = 0x01
	vpcdReset    = 0x02
	vpcdATR      = 0x04
)

// ServeVPCD is the card's end of the protocol of vsmartcard's virtual reader (vpcd): each message is two octets of
// length, big endian, and the payload; a payload of one octet is a control, any other an APDU. It serves until ctx ends
// (nil), the card is removed (uicc.ErrRemoved) or conn fails; it closes conn, which takes the card out of the reader. A
// mute card gives no reply.
func ServeVPCD(ctx context.Context, conn net.Conn, card *Card) error {
	card.mu.Lock()
	gone := card.gone
	card.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		select {
		case <-ctx.Done():
		case <-gone:
		}
		conn.Close()
	}()
	defer func() {
		cancel()
		<-closed
	}()
	err := serveVPCD(ctx, conn, card, gone)
	switch {
	case isClosed(gone):
		return uicc.ErrRemoved
	case ctx.Err() != nil, errors.Is(err, io.EOF):
		return nil
	}
	return fmt.Errorf("softuicc: vpcd: %w", err)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func serveVPCD(ctx context.Context, conn net.Conn, card *Card, gone <-chan struct{}) error {
	var length [2]byte
	buf := make([]byte, 0xFFFF)
	for {
		ackAtOnce(conn)
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return err
		}
		b := buf[:binary.BigEndian.Uint16(length[:])]
		if _, err := io.ReadFull(conn, b); err != nil {
			return noEOF(err)
		}
		reply, err := answerVPCD(ctx, card, gone, b)
		switch {
		case errors.Is(err, uicc.ErrMute):
			continue
		case err != nil:
			return err
		case reply == nil:
			continue
		}
		out := binary.BigEndian.AppendUint16(make([]byte, 0, len(reply)+2), uint16(len(reply)))
		if _, err := conn.Write(append(out, reply...)); err != nil {
			return err
		}
	}
}

// ackAtOnce spares each APDU 40 ms: vpcd sends length and payload apart, and its kernel holds the payload back until the
// length is acknowledged. The kernel forgets the option (tcp(7), TCP_QUICKACK), so that it is set for each message.
func ackAtOnce(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // the connection has ended; the read to come says so
	}
	// Without the option the card is slow, not wrong.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}

// noEOF tells an end in the middle of a message from one between messages.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// answerVPCD returns what to reply to one message; nil for nothing.
func answerVPCD(ctx context.Context, card *Card, gone <-chan struct{}, b []byte) ([]byte, error) {
	if len(b) != 1 {
		return card.transmit(ctx, gone, b)
	}
	switch b[0] {
	case vpcdPowerOff:
		return nil, card.Close()
	case vpcdPowerOn:
		return nil, card.Reset(ctx, uicc.ColdReset)
	case vpcdReset:
		return nil, card.Reset(ctx, uicc.WarmReset)
	case vpcdATR:
		return card.ATR(), nil
	}
	return nil, nil
}
