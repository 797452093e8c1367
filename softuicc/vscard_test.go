package softuicc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

// vsPeer is QEMU's end of the protocol.
type vsPeer struct {
	t    testing.TB
	conn net.Conn
}

func (p vsPeer) send(kind, reader uint32, payload ...byte) {
	p.t.Helper()
	b := binary.BigEndian.AppendUint32(nil, kind)
	b = binary.BigEndian.AppendUint32(b, reader)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	p.conn.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.conn.Write(append(b, payload...)); err != nil {
		p.t.Fatal(err)
	}
}

// want reads a message: its type, reader and payload in hex.
func (p vsPeer) want(kind, reader uint32, payload string) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(wait))
	var h [12]byte
	if _, err := io.ReadFull(p.conn, h[:]); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(h[8:]))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatal(err)
	}
	if k, r := binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint32(h[4:]); k != kind || r != reader || toHex(b) != payload {
		p.t.Fatalf("message %d of reader %X: %X, want %d of %X: %s", k, r, b, kind, reader, payload)
	}
}

func (p vsPeer) greeting() {
	p.t.Helper()
	p.want(vsInit, vsNoReader, "56534344"+"00000002"+"00000000")
	p.send(vsInit, 0, vsHello...)
	p.want(vsReaderAdd, vsNoReader, toHex([]byte("softuicc\x00")))
	p.send(vsError, 0, 0, 0, 0, 0)
}

// vsServe serves a slot until the peer or the test ends it.
func vsServe(t *testing.T, v *VSCard) (vsPeer, context.CancelFunc, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	near, far := net.Pipe()
	result := make(chan error, 1)
	go func() { result <- v.Serve(ctx, far) }()
	t.Cleanup(func() {
		cancel()
		near.Close()
	})
	return vsPeer{t, near}, cancel, result
}

func TestVSCard(t *testing.T) {
	testkit.NoLeaks(t)
	v := NewVSCard()
	p, cancel, result := vsServe(t, v)
	p.greeting()
	p.send(vsAPDU, 0, 0x80, 0xF2, 0, 0x0C, 0) // without a card: no answer
	p.send(vsFlush, 0)
	p.want(vsFlushComplete, 0, "")

	c := newCard(t, Config{})
	atr := toHex(c.ATR())
	if err := v.Insert(c); err != nil {
		t.Fatal(err)
	}
	p.want(vsATR, 0, atr)
	p.send(vsError, 0, 0, 0, 0, 0)
	p.send(vsAPDU, 0, unhex(t, "00A40004023F00")...)
	p.want(vsAPDU, 0, "611F")

	// A card that leaves in the middle of an APDU, and another one.
	working := make(chan bool, 1)
	c.SetQuirks(Quirks{Fault: func([]byte) Fault { working <- true; return Stuck }})
	p.send(vsAPDU, 0, 0x80, 0xF2, 0, 0x0C, 0)
	next(t, "the card is asked", working)
	v.Remove()
	p.want(vsCardRemove, 0, "")
	if err := v.Insert(newCard(t, Config{})); err != nil {
		t.Fatal(err)
	}
	p.want(vsATR, 0, atr)
	p.send(vsAPDU, 0, 0x00, 0xC0, 0, 0, 0x1F)
	p.want(vsAPDU, 0, "6985") // it is another card

	// The device of the other end is new, the connection is not.
	announced := make(chan error, 1)
	go func() { announced <- v.Announce(context.Background()) }()
	p.want(vsReaderAdd, vsNoReader, toHex([]byte("softuicc\x00")))
	p.want(vsATR, 0, atr)
	if err := outcome(announced); err != nil {
		t.Error(err)
	}
	cancel()
	if err := outcome(result); err != nil {
		t.Errorf("after the context's end: %v", err)
	}

	// The card waits for the next connection.
	p, _, result = vsServe(t, v)
	p.greeting()
	p.want(vsATR, 0, atr)
	p.conn.Close()
	if err := outcome(result); err != nil {
		t.Errorf("after the other end's: %v", err)
	}
	if err := v.Announce(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Announce without a connection: %v", err)
	}
}

func TestVSCardFaults(t *testing.T) {
	testkit.NoLeaks(t)
	for name, bad := range map[string]func(p vsPeer){
		"error":     func(p vsPeer) { p.send(vsError, 0, 0, 0, 0, 3) },
		"magic":     func(p vsPeer) { p.send(vsInit, 0, 1, 2, 3, 4) },
		"type":      func(p vsPeer) { p.send(42, 0) },
		"length":    func(p vsPeer) { p.conn.Write([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0xFF, 0, 0, 0}) },
		"truncated": func(p vsPeer) { p.conn.Write([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 1}); p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p, _, result := vsServe(t, NewVSCard())
			p.greeting()
			bad(p)
			if err := outcome(result); err == nil || errors.Is(err, errStuck) {
				t.Errorf("outcome %v, want an error", err)
			}
		})
	}
	v := NewVSCard()
	p, _, _ := vsServe(t, v)
	p.greeting()
	near, far := net.Pipe()
	if err := v.Serve(context.Background(), far); err == nil {
		t.Error("a slot serves two connections")
	}
	near.Close()
}

func TestServeVSCard(t *testing.T) {
	testkit.NoLeaks(t)
	near, far := net.Pipe()
	defer near.Close()
	c := newCard(t, Config{})
	result := make(chan error, 1)
	go func() { result <- ServeVSCard(context.Background(), far, c) }()
	p := vsPeer{t, near}
	p.greeting()
	p.want(vsATR, 0, toHex(c.ATR()))
	c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Mute }})
	p.send(vsAPDU, 0, 0x80, 0xF2, 0, 0x0C, 0)
	p.send(vsFlush, 0)
	p.want(vsFlushComplete, 0, "") // and no APDU before it
	go io.Copy(io.Discard, near)
	c.Remove()
	if err := outcome(result); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after removal: %v", err)
	}
}

// FuzzVSCard sends any octets: the card's end neither panics nor stays when the connection ends.
func FuzzVSCard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0x80, 0xF2, 0, 0x0C, 0})
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 'V', 'S', 'C', 'D', 0, 0, 0, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		near, far := net.Pipe()
		result := make(chan error, 1)
		go func() { result <- ServeVSCard(context.Background(), far, c) }()
		go io.Copy(io.Discard, near)
		near.SetWriteDeadline(time.Now().Add(wait))
		near.Write(b)
		near.Close()
		if err := outcome(result); errors.Is(err, errStuck) {
			t.Error("the connection has ended, and the card goes on")
		}
	})
}
