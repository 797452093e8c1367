package vpcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

// leaveSocketFile leaves the socket file of a process that is gone.
func leaveSocketFile(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
}

// short is the exchange timeout of tests in which it must pass.
const short = 50 * time.Millisecond

func TestMuteCard(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	mute := true
	p := insertPeer(t, r, func(payload []byte) []byte {
		if len(payload) > 1 && mute {
			mute = false
			return nil
		}
		return well(atrT0, always("9000"))(payload)
	})
	l, err := r.borrow()
	if err != nil {
		t.Fatal(err)
	}
	c := &card{reader: r, link: l, timeout: patience} // as Connect makes it, but for the time, which one exchange alone is to use up
	if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	c.timeout = short
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrMute) {
		t.Fatalf("%v", err)
	}
	c.timeout = patience
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, errUnanswered) {
		t.Errorf("before the reset: %v", err)
	}
	if err := c.Reset(testContext(t), uicc.WarmReset); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Transmit(testContext(t), hx("80F2000C00")); err != nil || !bytes.Equal(b, hx("9000")) {
		t.Errorf("after the reset: %X, %v", b, err)
	}
	p.leave(t)
}

// A response that comes late is taken neither for the answer to reset, which it may look like, nor for another response.
func TestLateResponseIsNotTakenForAnother(t *testing.T) {
	for _, late := range []string{"AAAA9000", "3B009000", "3B800180"} {
		t.Run(late, func(t *testing.T) { lateResponse(t, late) })
	}
}

func lateResponse(t *testing.T, late string) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	asked, release := make(chan struct{}), make(chan struct{})
	answer := sync.OnceFunc(func() { close(release) })
	defer answer()
	n := 0
	insertPeer(t, r, well(atrT0, func([]byte) string {
		if n++; n == 1 {
			close(asked)
			<-release
			return late
		}
		return "BBBB9000"
	}))
	c := connect(t, r)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	go func() {
		select {
		case <-asked:
			cancel()
		case <-ctx.Done():
		}
	}()
	if _, err := c.Transmit(ctx, hx("80F2000002")); err != context.Canceled {
		t.Fatalf("%v", err)
	}
	answer() // the response comes before the ATR
	if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.ATR(), atrT0) {
		t.Errorf("ATR %X", c.ATR())
	}
	if b, err := c.Transmit(testContext(t), hx("80F2000002")); err != nil || !bytes.Equal(b, hx("BBBB9000")) {
		t.Errorf("%X, %v", b, err)
	}
}

// A message that nobody asked for is not the answer to the next command.
func TestUnaskedMessageIsDropped(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	n := 0
	insertPeer(t, r, func(payload []byte) []byte {
		if len(payload) == 1 {
			return well(atrT0, nil)(payload)
		}
		if n++; n == 1 {
			return append(appendMessage(nil, hx("AAAA9000")), appendMessage(nil, hx("CCCC9000"))...)
		}
		return appendMessage(nil, hx("BBBB9000"))
	})
	l, err := r.borrow()
	if err != nil {
		t.Fatal(err)
	}
	c := &card{reader: r, link: l, timeout: patience}
	if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"AAAA9000", "BBBB9000"} {
		if b, err := c.Transmit(testContext(t), hx("80F2000002")); err != nil || !bytes.Equal(b, hx(want)) {
			t.Errorf("%X, %v, want %s", b, err, want)
		}
		for end := time.Now().Add(patience); i == 0 && len(l.replies) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the second message does not come")
			}
		}
	}
}

// A card that is closed after it has left the slot does not free the next one.
func TestCloseAfterExchange(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	first := insertPeer(t, r, well(atrT0, always("9000")))
	old := connect(t, r)
	first.leave(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	await(t, r.Watch(ctx), uicc.SlotEmpty)
	insertPeer(t, r, well(atrT0, always("9000")))
	connect(t, r)
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Connect(testContext(t)); !errors.Is(err, ErrInUse) {
		t.Errorf("the second of two that connect: %v", err)
	}
}

func TestCancelledBefore(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	p := insertPeer(t, r, well(atrT0, always("9000")))
	c := connect(t, r)
	p.log()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Transmit(ctx, hx("80F2000C00")); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if err := c.Reset(ctx, uicc.ColdReset); err != context.Canceled {
		t.Errorf("%v", err)
	}
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); err != nil || p.log() != "80F2000C00" {
		t.Errorf("nothing was sent, and yet: %v", err)
	}
}

// TestBadCards: each of them is put out of the slot, and the next card finds it free.
func TestBadCards(t *testing.T) {
	inATR := func(b []byte) func([]byte) []byte {
		return func(payload []byte) []byte {
			if payload[0] == controlGetATR {
				return b
			}
			return nil
		}
	}
	inAPDU := func(b []byte) func([]byte) []byte {
		return func(payload []byte) []byte {
			if len(payload) > 1 {
				return b
			}
			return well(atrT0, nil)(payload)
		}
	}
	tests := []struct {
		name     string
		answer   func([]byte) []byte
		connects bool
		want     error
	}{
		{"no ATR", inATR(nil), false, uicc.ErrMute},
		{"ATR is garbage", inATR(appendMessage(nil, hx("DEADBEEF"))), false, uicc.ErrATR},
		{"ATR of no bytes", inATR(hx("0000")), false, uicc.ErrRemoved},
		{"half an ATR", inATR(hx("00163B9F")), false, uicc.ErrMute},
		{"response of one byte", inAPDU(hx("000190")), true, uicc.ErrRemoved},
		{"response too long", inAPDU(appendMessage(nil, make([]byte, maxResponse+1))), true, uicc.ErrRemoved},
		{"response of no bytes", inAPDU(hx("0000")), true, uicc.ErrRemoved},
		{"messages nobody asked for", inAPDU(bytes.Repeat(hx("00029000"), 50)), true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testkit.NoLeaks(t)
			timeout := patience
			if tt.want == uicc.ErrMute {
				timeout = short
			}
			r := listenAt(t, Config{ExchangeTimeout: timeout})
			p := insertPeer(t, r, tt.answer)
			c, err := r.Connect(testContext(t))
			if tt.connects {
				if err != nil {
					t.Fatal(err)
				}
				_, err = c.Transmit(testContext(t), hx("80F2000C00"))
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			select {
			case <-p.done:
			case <-time.After(patience):
				t.Fatal("the card stays in the slot")
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			await(t, r.Watch(ctx), uicc.SlotEmpty)
			r.cfg.ExchangeTimeout = patience
			insertPeer(t, r, well(atrT0, always("9000")))
			connect(t, r)
		})
	}
}

func TestFlawedATRIsForgiven(t *testing.T) {
	wrong := bytes.Clone(atrT1)
	wrong[len(wrong)-1] ^= 0xFF
	for name, atr := range map[string][]byte{
		"wrong TCK": wrong, "octets behind": append(bytes.Clone(atrT0), 0, 0), "TCK of T=0": hx("3B800080"),
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			r := listenAt(t, Config{})
			insertPeer(t, r, well(atr, always("9000")))
			if c := connect(t, r); !bytes.Equal(c.ATR(), atr) {
				t.Errorf("ATR %X", c.ATR())
			}
		})
	}
}

func TestCardLeavesDuringExchange(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	leave := make(chan struct{})
	p := insertPeer(t, r, func(payload []byte) []byte {
		if len(payload) > 1 {
			close(leave)
			return hx("00") // half a length
		}
		return well(atrT0, nil)(payload)
	})
	c := connect(t, r)
	go func() {
		select {
		case <-leave:
			p.conn.Close()
		case <-t.Context().Done():
		}
	}()
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("%v", err)
	}
}

func TestCloseDuringExchange(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	asked := make(chan struct{})
	insertPeer(t, r, func(payload []byte) []byte {
		if len(payload) > 1 {
			close(asked)
			return nil
		}
		return well(atrT0, nil)(payload)
	})
	c := connect(t, r)
	go func() {
		select {
		case <-asked:
			r.Close()
		case <-t.Context().Done():
		}
	}()
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("%v", err)
	}
}

func TestCardThatTakesNothing(t *testing.T) {
	testkit.NoLeaks(t)
	ours, theirs := net.Pipe() // a pipe holds no bytes: each write waits for a reader
	defer theirs.Close()
	l := newLink(ours)
	if err := l.send(testContext(t), hx("00A4"), short); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("%v", err)
	}
	if err := l.send(testContext(t), hx("00A4"), short); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after a write that got stuck: %v", err)
	}
	ours, theirs = net.Pipe()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	if err := newLink(ours).send(ctx, hx("00A4"), patience); err != context.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}

// FuzzReadMessage: a payload that was read gives the same bytes when appended, and no byte is lost or made up.
func FuzzReadMessage(f *testing.F) {
	f.Add(hx("000104"))                                    // get ATR
	f.Add(hx("00029000" + "00026102"))                     // two responses
	f.Add(hx("0000"))                                      // empty
	f.Add(hx("FFFF00"))                                    // cut short
	f.Add(append(hx("FFFF"), make([]byte, maxPayload)...)) // the longest
	f.Fuzz(func(t *testing.T, stream []byte) {
		in := bytes.NewReader(stream)
		var again []byte
		for {
			payload, err := readMessage(in)
			if err != nil {
				if err == io.EOF && len(again) != len(stream) {
					t.Fatalf("end after %d of %d bytes", len(again), len(stream))
				}
				break
			}
			if len(payload) == 0 || len(payload) > maxPayload {
				t.Fatalf("payload of %d bytes", len(payload))
			}
			again = appendMessage(again, payload)
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatalf("%X gave %X", stream, again)
		}
	})
}
