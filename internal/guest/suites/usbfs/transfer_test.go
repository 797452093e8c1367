//go:build guest

package usbfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/guest"
)

func TestInsideTransfers(t *testing.T) {
	h, _ := open(t)
	status(t, h, 1)
	send(t, h, command(powerOn, 2))
	if got := receive(t, h, 512); !bytes.Equal(got[headLength:], atr) {
		t.Errorf("power on: %x", got)
	}
	if got := apdu(t, h, 3, 512, hx("00a40400023f00")...); !bytes.Equal(got, hx("9000")) {
		t.Errorf("SELECT: %x", got)
	}
	// Messages that just do not fill a packet, that do, and that begin another; into buffers that fit packets and that do
	// not. A message that is cut by the buffer goes on in the next transfer.
	number := byte(4)
	for _, size := range []int{64, 128, 512, 65600} {
		for _, n := range []int{0, 1, 51, 52, 53, 115, 116, 117, 180, 256, 300} {
			want := append(pattern(n), 0x90, 0x00)
			if got := apdu(t, h, number, size, 0x80, 0x10, byte(n>>8), byte(n), 0); !bytes.Equal(got, want) {
				t.Fatalf("%d octets in buffers of %d: %x", n, size, got)
			}
			number++
		}
	}
	// The buffer is no longer than the message: no octet may be lost to the end of a packet.
	send(t, h, command(slotStatus, number))
	if got := receive(t, h, headLength); len(got) != headLength || got[6] != number {
		t.Errorf("status in a buffer of 10 octets: %x", got)
	}
	send(t, h, command(slotStatus, number))
	if n, err := h.Receive(testContext(t), make([]byte, 9)); n != 9 || !errors.Is(err, usbfs.ErrOverflow) {
		t.Errorf("status in a buffer of 9 octets: %d, %v", n, err)
	}
	// A long command goes out whole.
	if got := apdu(t, h, 7, 512, append(hx("00d6000000 ea60"), pattern(60000)...)...); !bytes.Equal(got, hx("9000")) {
		t.Errorf("60007 octets: %x", got)
	}
}

// Cards come and go.
func TestInsideNotify(t *testing.T) {
	h, _ := open(t)
	buf := make([]byte, 8)
	notify := func() <-chan result {
		return background(func() (int, error) { return h.Notify(testContext(t), buf) })
	}
	first := notify() // of the insertion before this test, or of the removal now
	for _, step := range []struct{ ask, want string }{{"remove", "5002"}, {"insert", "5003"}, {"remove", "5002"}, {"insert", "5003"}} {
		guest.Ask(t, step.ask, "")
		for {
			r := await(t, step.ask, first)
			if r.err != nil {
				t.Fatal(r.err)
			}
			got := bytes.Clone(buf[:r.n])
			first = notify()
			if bytes.Equal(got, hx(step.want)) {
				break
			}
			t.Logf("%x before %s", got, step.want)
		}
	}
	// The last one is pending: Close ends it.
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if r := await(t, "pending at Close", first); !errors.Is(r.err, usbfs.ErrClosed) {
		t.Errorf("%+v", r)
	}
}

func TestInsideCancel(t *testing.T) {
	h, _ := open(t)
	for name, f := range map[string]func(context.Context) (int, error){
		"Receive": func(ctx context.Context) (int, error) { return h.Receive(ctx, make([]byte, 512)) },
		"Notify":  func(ctx context.Context) (int, error) { return h.Notify(ctx, make([]byte, 8)) },
	} {
		for range 20 {
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Millisecond)
			r := await(t, name, background(func() (int, error) { return f(ctx) }))
			stop()
			if name == "Notify" && r.err == nil {
				continue // news that was waiting
			}
			if r.n != 0 || !errors.Is(r.err, context.DeadlineExceeded) {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	status(t, h, 9)
	// The answer to a command whose reader gave up waiting is there for the next one.
	send(t, h, command(xfrBlock, 10, 0x80, 0x20, 0, 0, 0))
	ctx, stop := context.WithTimeout(context.Background(), pendingTime)
	defer stop()
	if _, err := h.Receive(ctx, make([]byte, 512)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a card that does not answer: %v", err)
	}
	eventually(t, "the card holds its answer", func() bool { return guest.Ask(t, "release", "") == "1" })
	if got := receive(t, h, 512); got[6] != 10 || !bytes.Equal(got[headLength:], hx("9000")) {
		t.Errorf("%x", got)
	}
}

// However transfers and cancellations meet, no octet is lost and none comes twice.
func TestInsideCancelLosesNothing(t *testing.T) {
	h, _ := open(t)
	cancelled, parts := 0, 0
	for i := range 400 {
		n := rand.IntN(350)
		send(t, h, command(xfrBlock, byte(i), 0x80, 0x10, byte(n>>8), byte(n), 0))
		var msg []byte
		for end := time.Now().Add(patience); len(msg) < headLength || len(msg) < headLength+int(binary.LittleEndian.Uint32(msg[1:])); {
			if time.Now().After(end) {
				t.Fatalf("%d octets asked for, after %v only %x", n, patience, msg)
			}
			ctx, stop := context.WithTimeout(context.Background(), time.Duration(rand.IntN(200))*time.Microsecond)
			buf := make([]byte, 512)
			k, err := h.Receive(ctx, buf)
			stop()
			switch {
			case err == nil:
				msg = append(msg, buf[:k]...)
				parts++
			case errors.Is(err, context.DeadlineExceeded) && k == 0:
				cancelled++
			default:
				t.Fatalf("%d octets, %v", k, err)
			}
		}
		if want := append(pattern(n), 0x90, 0x00); msg[6] != byte(i) || !bytes.Equal(msg[headLength:], want) {
			t.Fatalf("APDU %d: %x", i, msg)
		}
	}
	t.Logf("%d receptions cancelled, messages came in %d parts", cancelled, parts)
	if cancelled == 0 {
		t.Error("nothing was cancelled")
	}
}

// The kernel grants all programs together 16 MB: transfers that were not given back would be missed.
func TestInsideCancelFreesMemory(t *testing.T) {
	h, _ := open(t)
	for range 600 {
		ctx, stop := context.WithTimeout(context.Background(), time.Microsecond*time.Duration(rand.IntN(500)))
		_, err := h.Receive(ctx, make([]byte, 1<<16))
		stop()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	status(t, h, 1)
}

// QEMU's reader stalls what it cannot do, refuses to end the stall, and goes on.
func TestInsideStall(t *testing.T) {
	h, _ := open(t)
	if err := h.Send(testContext(t), command(slotStatus, 1)[:5]); !errors.Is(err, usbfs.ErrStall) {
		t.Errorf("half a message: %v", err)
	}
	if err := h.Send(testContext(t), nil); !errors.Is(err, usbfs.ErrStall) {
		t.Errorf("a packet of length zero: %v", err)
	}
	status(t, h, 2)
	if _, err := h.Control(testContext(t), 0x21, 0x01, 0x0300, nil); !errors.Is(err, usbfs.ErrStall) {
		t.Errorf("ABORT: %v", err)
	}
	if n, err := h.Control(testContext(t), 0xA1, 0x02, 0, make([]byte, 64)); n != 0 || !errors.Is(err, usbfs.ErrStall) {
		t.Errorf("GET_CLOCK_FREQUENCIES: %d, %v", n, err)
	}
	status(t, h, 3)
	// GET_INTERFACE (USB 2.0, clause 9.4.4) it knows.
	alternate := []byte{0xFF}
	if n, err := h.Control(testContext(t), 0x81, 0x0A, 0, alternate); n != 1 || err != nil || alternate[0] != 0 {
		t.Errorf("GET_INTERFACE: %x, %d, %v", alternate, n, err)
	}
}

// A reset drops what the device was about to send, and what waits is told. The interface stays claimed.
func TestInsideReset(t *testing.T) {
	h, d := open(t)
	send(t, h, command(slotStatus, 1)) // its answer is not fetched
	pending := background(func() (int, error) {
		for {
			if n, err := h.Notify(context.Background(), make([]byte, 8)); err != nil {
				return n, err
			}
		}
	})
	told := false
	for end := time.Now().Add(patience); !told; { // a transfer that began after one reset is told of the next
		time.Sleep(pendingTime)
		if err := h.Reset(testContext(t)); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-pending:
			if told = true; !errors.Is(r.err, usbfs.ErrAborted) {
				t.Errorf("%+v", r)
			}
		case <-time.After(2 * time.Second):
			if time.Now().After(end) {
				t.Fatal("pending at the reset: hangs")
			}
		}
	}
	status(t, h, 2)
	if now := reader(t); now.Number != d.Number || now.Interfaces[0].Driver != "usbfs" {
		t.Errorf("after the reset %+v", now)
	}
	if log := kernelLog(t); strings.Contains(log, "did not claim interface") {
		t.Errorf("the kernel had to claim the interface:\n%s", log)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := h.Reset(ctx); err != context.Canceled {
		t.Errorf("a context that has ended: %v", err)
	}
}

// Close ends everything that waits, whichever way.
func TestInsideClose(t *testing.T) {
	for range 10 {
		h, err := usbfs.FS{}.Open(reader(t), 0)
		if err != nil {
			t.Fatal(err)
		}
		waiting := map[string]<-chan result{
			"Receive":       background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 512)) }),
			"other Receive": background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 64)) }),
		}
		time.Sleep(time.Duration(rand.IntN(5)) * time.Millisecond)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		for name, ch := range waiting {
			if r := await(t, name, ch); !errors.Is(r.err, usbfs.ErrClosed) {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if err := h.Send(testContext(t), nil); !errors.Is(err, usbfs.ErrClosed) {
			t.Errorf("a later call: %v", err)
		}
	}
}

// Speed is printed, not judged.
func TestInsideSpeed(t *testing.T) {
	h, _ := open(t)
	const rounds = 500
	begin := time.Now()
	for i := range rounds {
		status(t, h, byte(i))
	}
	t.Logf("%.0f commands and answers per second", rounds/time.Since(begin).Seconds())
}
