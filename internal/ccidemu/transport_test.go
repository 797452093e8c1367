package ccidemu

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"bipd/ccid/usbfs"
	"bipd/softuicc"
)

// notified makes one interrupt IN transfer.
func (h *host) notified() string {
	h.t.Helper()
	buf := make([]byte, 8)
	n, err := h.tr.Notify(h.ctx, buf)
	if err != nil {
		h.t.Fatal(err)
	}
	return tohex(buf[:n])
}

func (h *host) notifies(want string) {
	h.t.Helper()
	if got := h.notified(); got != want {
		h.t.Errorf("notification %s, want %s", got, want)
	}
}

func TestNotifications(t *testing.T) {
	h := newHost(t, MultiSlot(5))
	waiting := make(chan string, 1)
	go func() {
		buf := make([]byte, 8)
		n, err := h.tr.Notify(h.ctx, buf)
		if err != nil {
			t.Error(err)
		}
		waiting <- tohex(buf[:n])
	}()
	card := h.insert(4, "", softuicc.ContactsConfig{})
	if got := <-waiting; got != "500003" {
		t.Errorf("notification %s", got)
	}
	card.Remove() // it leaves by itself
	h.notifies("500002")

	// What nobody reads is kept, and only the last state of it.
	h.insert(0, "", softuicc.ContactsConfig{})
	h.insert(1, "", softuicc.ContactsConfig{})
	h.r.Remove(1)
	h.notifies("500B00")
	h.r.Remove(0)
	h.insert(0, "", softuicc.ContactsConfig{})
	h.notifies("500300")

	if err := h.tr.Reset(h.ctx); err != nil {
		t.Fatal(err)
	}
	h.notifies("500300") // the cards that are there
	silent := New(Manual())
	defer silent.Unplug()
	if _, err := silent.Transport().Notify(h.ctx, make([]byte, 8)); !errors.Is(err, usbfs.ErrNoEndpoint) {
		t.Errorf("a reader without interrupt endpoint: %v", err)
	}
}

func TestInsertRefused(t *testing.T) {
	h := newHost(t, SCR3310())
	card := h.insert(0, "", softuicc.ContactsConfig{})
	if h.r.Insert(1, newCard(t, softuicc.Config{}), softuicc.ContactsConfig{}) == nil {
		t.Error("a card went into a slot that there is not")
	}
	if h.r.Insert(0, newCard(t, softuicc.Config{}), softuicc.ContactsConfig{}) == nil {
		t.Error("two cards in a slot")
	}
	card.Remove()
	h.insert(0, "", softuicc.ContactsConfig{})
	h.r.Unplug()
	h.r.Unplug()
	if err := h.r.Insert(0, card, softuicc.ContactsConfig{}); !errors.Is(err, usbfs.ErrGone) {
		t.Errorf("insertion into a reader that is gone: %v", err)
	}
}

// waits starts a Receive that waits, and gives its outcome.
func (h *host) waits(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := h.tr.Receive(ctx, make([]byte, 64))
		result <- err
	}()
	for {
		h.r.mu.Lock()
		n := len(h.r.bulkIn.requests)
		h.r.mu.Unlock()
		if n > 0 || len(result) > 0 {
			return result
		}
	}
}

func TestReceiveEnds(t *testing.T) {
	h := newHost(t, SCR3310())
	ctx, cancel := context.WithCancel(h.ctx)
	result := h.waits(ctx)
	cancel()
	if err := ended(t, result); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
	result = h.waits(h.ctx)
	if err := h.tr.Reset(h.ctx); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, result); !errors.Is(err, usbfs.ErrAborted) {
		t.Errorf("after a reset: %v", err)
	}
	result = h.waits(h.ctx)
	h.tr.Close()
	h.tr.Close()
	if err := ended(t, result); !errors.Is(err, usbfs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := h.tr.Send(h.ctx, nil); !errors.Is(err, usbfs.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
	h.tr = h.r.Transport()
	result = h.waits(h.ctx)
	h.r.Unplug()
	if err := ended(t, result); !errors.Is(err, usbfs.ErrGone) {
		t.Errorf("after the reader was unplugged: %v", err)
	}
	_, control := h.tr.Control(h.ctx, typeClassIn, requestDataRates, 0, nil)
	for _, err := range []error{h.tr.Send(h.ctx, []byte{1}), h.tr.Reset(h.ctx), ended(t, h.waits(h.ctx)), control} {
		if !errors.Is(err, usbfs.ErrGone) {
			t.Errorf("a reader that is gone: %v", err)
		}
	}
}

// TestReceiveKeeps has a transfer that is cancelled in the middle of a message.
func TestReceiveKeeps(t *testing.T) {
	h := newHost(t, SCR3310())
	h.r.mu.Lock()
	h.r.transmit(make([]byte, 64), false)
	h.r.mu.Unlock()
	ctx, cancel := context.WithCancel(h.ctx)
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		for {
			h.r.mu.Lock()
			taken := len(h.r.bulkIn.requests) == 1 && len(h.r.bulkIn.requests[0].got) == 64
			h.r.mu.Unlock()
			if taken || h.ctx.Err() != nil {
				cancel()
				return
			}
		}
	}()
	if n, err := h.tr.Receive(ctx, make([]byte, 256)); n != 64 || err != nil {
		t.Errorf("%d octets, %v", n, err)
	}
	<-cancelled
	h.r.mu.Lock()
	h.r.transmit(make([]byte, 20), true)
	h.r.mu.Unlock()
	if _, err := h.tr.Receive(h.ctx, make([]byte, 16)); !errors.Is(err, usbfs.ErrOverflow) {
		t.Errorf("too little room: %v", err)
	}
}

// TestMessageInPieces sends messages in transfers of full packets, and with and without a packet of nothing behind them.
func TestMessageInPieces(t *testing.T) {
	h := newHost(t, SCR3310())
	h.insert(0, atrOne, softuicc.ContactsConfig{})
	h.expect(msgIccPowerOn, 0, "000000", "", active+" "+atrOne)
	block := append([]byte{0, 0, 126 - 4}, make([]byte, 122)...)
	block = append(block, 126-4) // what the sum comes to
	c := h.command(msgXfrBlock, 0, "000000", block)
	for len(c) > 64 {
		h.send(c[:64])
		c = c[64:]
	}
	h.send(c)
	h.receive()
	c = h.command(msgXfrBlock, 0, "000000", append([]byte{0, 0, 50}, append(make([]byte, 50), 50)...))
	if len(c) != 64 {
		t.Fatal(len(c))
	}
	h.send(c)
	h.send(nil)
	h.receive()
	h.expect(msgGetSlotStatus, 0, "000000", "", active)
	for _, v := range h.r.Violations() {
		if v.Clause != "(ISO/IEC 7816-3 11.3.2)" {
			t.Errorf("violation: %v", v)
		}
	}
}

func TestClassRequests(t *testing.T) {
	h := newHost(t, PCTwin())
	buf := make([]byte, 64)
	n, err := h.tr.Control(h.ctx, typeClassIn, requestDataRates, 0, buf)
	if err != nil || n != 32 || binary.LittleEndian.Uint32(buf) != 10753 {
		t.Errorf("data rates %X, %v", buf[:n], err)
	}
	if n, err = h.tr.Control(h.ctx, typeClassIn, requestClockFrequency, 0, buf[:2]); err != nil || n != 2 {
		t.Errorf("clock frequencies %X, %v", buf[:n], err)
	}
	h.clean()
	if _, err = h.tr.Control(h.ctx, typeClassIn, 9, 0, buf); !errors.Is(err, usbfs.ErrStall) {
		t.Errorf("unknown request: %v", err)
	}
	h.breaches("a class request that there is not")
}

// FuzzBulkOut sends anything in transfers of any length. The reader does not panic, and each of its answers is one: of a known
// type and with the length that it says.
func FuzzBulkOut(f *testing.F) {
	add := func(messages ...string) {
		var b []byte
		for _, m := range messages {
			raw := unhex(f, m)
			b = append(append(b, byte(len(raw))), raw...)
		}
		for model := range Models() {
			f.Add(byte(model), b)
		}
	}
	add("62000000000000010000", "6F05000000000100000080F2000C00", "6F07000000000200000000A40004023F00")
	add("62000000000000000000", "6107000000000101000018100000002000", "6F04000000000200000000C00000")
	add("6F02000000000000010000A4", "6F00000000000100100000", "72000000000002000000", "730800000000030000000000000000000000")
	f.Fuzz(func(t *testing.T, model byte, script []byte) {
		r := New(Models()[int(model)%len(Models())])
		defer r.Unplug()
		card, err := softuicc.New(softuicc.Config{ATR: unhex(t, atrBoth), ThinkTime: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer card.Close()
		if err := r.Insert(0, card, softuicc.ContactsConfig{T0: softuicc.T0Config{AckOne: 1}}); err != nil {
			t.Fatal(err)
		}
		sent := 0
		for len(script) > 0 {
			n := min(int(script[0]), len(script)-1)
			b := script[1 : 1+n]
			script = script[1+n:]
			if len(b) > 2 && b[0] == 0x21 {
				_, _ = r.classRequest(b[0], b[1], uint16(b[2]))
				continue
			}
			_ = r.send(b)
			sent++
			r.working.Wait()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		var m []byte
		answers := 0
		for _, p := range r.bulkIn.packets {
			m = append(m, p.data...)
			if len(p.data) == r.bulkIn.size && !p.last {
				continue
			}
			if len(m) == 0 {
				continue
			}
			answers++
			if len(m) < headerLength || m[0] < msgDataBlock || m[0] > msgDataRate {
				t.Fatalf("answer %X", m)
			}
			if n := int(binary.LittleEndian.Uint32(m[1:])); n != len(m)-headerLength && !r.model.Verbatim {
				t.Fatalf("answer %X of %d octets", m, len(m))
			}
			m = nil
		}
		if answers > 20*sent {
			t.Fatalf("%d answers to %d transfers", answers, sent)
		}
	})
}
