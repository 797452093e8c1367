package softuicc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
	"bipd/uicc/vpcd"
)

var errStuck = errors.New("still stuck")

// transmitting runs Transmit beside the test.
func transmitting(ctx context.Context, c uicc.Card, apdu ...byte) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := c.Transmit(ctx, apdu)
		result <- err
	}()
	return result
}

func outcome(result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-time.After(wait):
		return errStuck
	}
}

func TestReader(t *testing.T) {
	testkit.NoLeaks(t)
	r := NewReader("slot 0")
	c := newCard(t, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	states := r.Watch(ctx)
	state := func(wanted uicc.SlotState) {
		t.Helper()
		want(t, "slot state", next(t, fmt.Sprintf("slot state %v", wanted), states), wanted)
	}
	want(t, "name", r.Name(), "slot 0")
	state(uicc.SlotEmpty)
	if _, err := r.Connect(ctx); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("connect to an empty slot: %v", err)
	}
	if err := r.Insert(c); err != nil {
		t.Fatal(err)
	}
	state(uicc.SlotPresent)
	if r.Insert(newCard(t, Config{})) == nil || NewReader("slot 1").Insert(c) == nil {
		t.Error("two cards in a slot, or one in two")
	}
	if _, err := c.Transmit(ctx, []byte{0x80, 0xF2, 0, 0x0C, 0}); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("APDU before activation: %v", err)
	}
	card, err := r.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(card.ATR(), c.ATR()) {
		t.Errorf("ATR %X", card.ATR())
	}
	newTerminal(t, card).expect("80F2000C00", swOK)
	if err := card.Reset(ctx, uicc.WarmReset); err != nil {
		t.Error(err)
	}

	c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Stuck }})
	stuck := transmitting(ctx, card, 0x80, 0xF2, 0, 0x0C, 0)
	r.Remove()
	if err := outcome(stuck); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("APDU under removal: %v", err)
	}
	state(uicc.SlotEmpty)
	c.SetQuirks(Quirks{})
	if err := r.Insert(c); err != nil {
		t.Fatal(err)
	}
	state(uicc.SlotPresent)
	again, err := r.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	newTerminal(t, again).expect("80F2000C00", swOK)
	if _, err := card.Transmit(ctx, []byte{0x80, 0xF2, 0, 0x0C, 0}); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("the card of before its removal: %v", err)
	}
	if err := card.Reset(ctx, uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("reset of the card of before its removal: %v", err)
	}
	if err := card.Close(); err != nil {
		t.Error(err)
	}
	newTerminal(t, again).expect("80F2000C00", swOK) // that Close was not its own
	r.Unplug()
	got := next(t, "slot state", states)
	if got == uicc.SlotEmpty { // a slow receiver may see it or not
		got = next(t, "slot state", states)
	}
	want(t, "state", got, uicc.SlotGone)
	select {
	case _, ok := <-states:
		want(t, "Watch goes on after SlotGone", ok, false)
	case <-time.After(wait):
		t.Error("Watch does not end after SlotGone")
	}
	if err := r.Insert(c); err == nil {
		t.Error("a card went into a reader that is gone")
	}
}

func TestWatchEnds(t *testing.T) {
	testkit.NoLeaks(t)
	ctx, cancel := context.WithCancel(context.Background())
	states := NewReader("").Watch(ctx)
	cancel()
	for range states {
	}
}

func TestQuirks(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{})
	e := newTerminal(t, c)
	e.profile()
	c.SetQuirks(Quirks{Busy: 2})
	for _, sw := range []uint16{swToolkitBusy, swToolkitBusy, swOK} {
		e.envelope("D109 82028381 8B03010203")
		want(t, "ENVELOPE", e.sw, sw)
	}
	const delay = 20 * time.Millisecond
	c.SetQuirks(Quirks{Delay: delay})
	start := time.Now()
	e.expectStatus()
	if took := time.Since(start); took < delay {
		t.Errorf("slow card answered after %v", took)
	}
	c.SetQuirks(Quirks{Fault: func(apdu []byte) Fault {
		switch apdu[1] {
		case insStatus:
			return Mute
		case insSelect:
			return Stuck
		case insReadBinary:
			return Removal
		}
		return NoFault
	}})
	if _, err := c.Transmit(e.ctx, []byte{0x80, 0xF2, 0, 0x0C, 0}); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("mute card: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stuck := transmitting(ctx, c, 0x00, 0xA4, 0, 0)
	cancel()
	if err := outcome(stuck); !errors.Is(err, context.Canceled) {
		t.Errorf("stuck card: %v", err)
	}
	e.expect("0020000100", swInvalidated)
	if _, err := c.Transmit(e.ctx, []byte{0x00, 0xB0, 0, 0, 1}); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("torn out: %v", err)
	}
	if err := c.Reset(e.ctx, uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("reset of a card that is out: %v", err)
	}
	clean(t, c)
}

// TestHeldAnswerEnds interrupts an APDU that is held for a thinking applet.
func TestHeldAnswerEnds(t *testing.T) {
	testkit.NoLeaks(t)
	for name, end := range map[string]struct {
		act  func(*Card, context.CancelFunc)
		want error
	}{
		"context": {func(_ *Card, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"removal": {func(c *Card, _ context.CancelFunc) { c.Remove() }, uicc.ErrRemoved},
		"reset":   {func(c *Card, _ context.CancelFunc) { c.Reset(context.Background(), uicc.ColdReset) }, uicc.ErrMute},
	} {
		t.Run(name, func(t *testing.T) {
			thinking := make(chan struct{})
			c := newCard(t, Config{ThinkTime: time.Hour, Applets: []Applet{func(ctx context.Context, _ *Toolkit) error {
				close(thinking)
				<-ctx.Done()
				return nil
			}}})
			defer c.Close()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			held := transmitting(ctx, c, 0x80, 0x10, 0, 0, 1, 1)
			next(t, "the applet runs", thinking)
			end.act(c, cancel)
			if err := outcome(held); !errors.Is(err, end.want) {
				t.Errorf("held answer: %v, want %v", err, end.want)
			}
		})
	}
}

// vpcdPeer is the reader's end of the vpcd protocol.
type vpcdPeer struct {
	t    *testing.T
	conn net.Conn
}

func (p vpcdPeer) send(payload ...byte) {
	p.t.Helper()
	b := binary.BigEndian.AppendUint16(nil, uint16(len(payload)))
	p.conn.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.conn.Write(append(b, payload...)); err != nil {
		p.t.Fatal(err)
	}
}

func (p vpcdPeer) ask(payload ...byte) []byte {
	p.t.Helper()
	p.send(payload...)
	p.conn.SetReadDeadline(time.Now().Add(wait))
	var n [2]byte
	if _, err := io.ReadFull(p.conn, n[:]); err != nil {
		p.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

func TestVPCD(t *testing.T) {
	testkit.NoLeaks(t)
	serve := func(c *Card) (vpcdPeer, context.CancelFunc, <-chan error) {
		ctx, cancel := context.WithCancel(context.Background())
		near, far := net.Pipe()
		result := make(chan error, 1)
		go func() { result <- ServeVPCD(ctx, far, c) }()
		t.Cleanup(func() { near.Close() })
		return vpcdPeer{t, near}, cancel, result
	}
	c := newCard(t, Config{})
	p, cancel, result := serve(c)
	want(t, "ATR", toHex(p.ask(4)), toHex(c.ATR()))
	p.send(1)
	want(t, "STATUS", toHex(p.ask(unhex(t, "80F2000C00")...)), "9000")
	want(t, "SELECT", toHex(p.ask(unhex(t, "00A40004023F00")...)), "611F")
	p.send(2)
	want(t, "GET RESPONSE after reset", toHex(p.ask(unhex(t, "00C000001F")...)), "6985")
	p.send(0)
	p.send(0x42) // unknown control: no reply
	want(t, "ATR without power", toHex(p.ask(4)), toHex(c.ATR()))
	p.send(1)
	want(t, "after power on", toHex(p.ask(unhex(t, "80F2000C00")...)), "9000")
	cancel()
	if err := outcome(result); err != nil {
		t.Errorf("after the context's end: %v", err)
	}

	p, cancel, result = serve(c)
	p.conn.Write([]byte{0, 5, 1})
	p.conn.Close()
	if err := outcome(result); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut message: %v", err)
	}
	cancel()

	p, cancel, result = serve(c)
	p.conn.Close()
	if err := outcome(result); err != nil {
		t.Errorf("after the reader's end: %v", err)
	}
	cancel()

	p, cancel, result = serve(c)
	defer cancel()
	c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Removal }})
	p.send(unhex(t, "80F2000C00")...)
	if err := outcome(result); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("torn out: %v", err)
	}
	p.conn.SetReadDeadline(time.Now().Add(wait))
	if _, err := p.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection outlives the card")
	}
}

// TestVPCDReader joins the card's end of the protocol with the reader's, which was written apart from it.
func TestVPCDReader(t *testing.T) {
	testkit.NoLeaks(t)
	socket := filepath.Join(t.TempDir(), "vpcd")
	r, err := vpcd.Listen(vpcd.Config{Listen: "unix:" + socket})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		_, err := tk.DoRaw(ctx, moreTime(1))
		return err
	}}})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- ServeVPCD(ctx, conn, c) }()
	for s := range r.Watch(ctx) {
		if s == uicc.SlotPresent {
			break
		}
	}
	card, err := r.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e := newTerminal(t, card)
	e.profile()
	e.respond(e.fetch(), "830100")
	ended(t, c)
	clean(t, c)
	if err := card.Close(); err != nil {
		t.Error(err)
	}
	c.Remove()
	if err := outcome(result); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after removal: %v", err)
	}
	cancel() // ends Watch
}

// TestVPCDAcknowledges plays a reader that sends length and payload apart, as vpcd does, over a TCP connection that holds
// the second back until the first is acknowledged: a card that acknowledges late costs 40 ms an APDU, nearly each. A machine that
// is busy with other things makes some slow, too.
func TestVPCDAcknowledges(t *testing.T) {
	testkit.NoLeaks(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := peer.(*net.TCPConn).SetNoDelay(false); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- ServeVPCD(context.Background(), conn, newCard(t, Config{})) }()
	const exchanges = 50
	quick := 0
	for range exchanges {
		start := time.Now()
		peer.Write([]byte{0, 5})
		peer.Write([]byte{0x80, 0xF2, 0, 0x0C, 0})
		peer.SetReadDeadline(time.Now().Add(wait))
		if _, err := io.ReadFull(peer, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) < 20*time.Millisecond {
			quick++
		}
	}
	if quick < exchanges/4 {
		t.Errorf("%d of %d exchanges took less than 20 ms", quick, exchanges)
	}
	peer.Close()
	if err := outcome(result); err != nil {
		t.Error(err)
	}
}
