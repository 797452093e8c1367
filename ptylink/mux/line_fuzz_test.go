package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzLine runs two multiplexers over a line that drops, flips, repeats, splits, joins and delays octets as the input says,
// then is sound. Whatever came before, every call comes back, and afterwards the two either carry data again or both have
// ended. With the payload check no stream ever delivers a wrong octet, or an end that is none.
func FuzzLine(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{0, 0, 0, 0, 0, 9, 20, 0, 0, 17, 3, 0, 1, 40, 2, 7}, uint8(1))
	f.Add([]byte{1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, uint8(1))
	f.Add([]byte{2, 5, 2, 200, 2, 13, 2, 77, 2, 0, 2, 3, 2, 3, 2, 3, 2, 9}, uint8(3))
	f.Add([]byte{5, 30, 5, 90, 4, 0, 3, 7, 1, 2, 5, 255, 5, 255, 1, 100, 2, 31}, uint8(3))
	f.Add([]byte("\x02\x28\x02\x29\x02\x30\x01\x28\x01\x29\x01\x30\x01\x31\x02\x33"), uint8(2))
	f.Fuzz(func(t *testing.T, faults []byte, options uint8) {
		synctest.Test(t, func(t *testing.T) {
			fuzzLine(t, faults, Config{Check: options&1 != 0, Advanced: options&2 != 0, Negotiate: options&4 != 0, N1: 64, KeepAlive: 5 * time.Second})
		})
	})
}

func fuzzLine(t *testing.T, faults []byte, cfg Config) {
	a1, a2 := net.Pipe()
	b1, b2 := net.Pipe()
	w := &wire{faults: faults}
	var wires sync.WaitGroup
	wires.Go(func() { w.copy(b2, a2) })
	wires.Go(func() { w.copy(a2, b2) })
	cfgB := cfg
	cfgB.Role = Responder
	a, b := New(a1, cfg), New(b1, cfgB)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour) // of the bubble: nothing takes so long
	var users sync.WaitGroup
	users.Go(func() { serveStreams(ctx, t, b, cfg.Check, &users) })
	for tries := 0; a.Start(ctx) != nil && tries < 20; tries++ {
	}
	for dlci := 2; dlci <= 4; dlci++ {
		users.Go(func() {
			for range 3 {
				_ = exchange(ctx, t, a, dlci, cfg.Check)
			}
		})
	}
	time.Sleep(time.Minute)
	w.sound()
	if !aliveAgain(ctx, t, a, b, cfg.Check) {
		t.Error("the multiplexers neither carry data nor end")
	}
	a.Close()
	b.Close()
	users.Wait()
	if ctx.Err() != nil {
		t.Error("something hangs")
	}
	cancel()
	a2.Close()
	b2.Close()
	wires.Wait()
}

// aliveAgain opens DLCs on a sound line until one carries data, or both ends are gone.
func aliveAgain(ctx context.Context, t *testing.T, a, b *Mux, check bool) bool {
	for range 20 {
		if err := exchange(ctx, t, a, 9, check); err == nil {
			return true
		}
		select {
		case <-a.Done():
			<-time.After(time.Minute) // the keep-alive of the other
			select {
			case <-b.Done():
				return true
			default: // a responder that was never started waits for ever, and that is right
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.s.state == muxIdle
			}
		case <-time.After(10 * time.Second):
		}
	}
	return false
}

const streamLen = 1500

// content is what every stream of a DLC carries in a direction.
func content(dlci int, sender Role, at int) byte {
	return byte(at*7 + at>>8 + dlci*31 + int(sender)*101)
}

// exchange opens a DLC and sends a stream each way; nil means that both came whole and ended in order.
func exchange(ctx context.Context, t *testing.T, m *Mux, dlci int, check bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d, err := m.Open(ctx, dlci)
	if err != nil {
		return err
	}
	defer d.Close()
	_ = d.SetDeadline(time.Now().Add(30 * time.Second))
	written := make(chan error, 1)
	go func() { written <- writeStream(d, Initiator) }()
	err = readStream(t, d, Responder, check)
	if err != nil {
		d.Close()
	}
	return errors.Join(err, <-written)
}

// serveStreams answers every DLC: it reads the stream, sends its own and closes.
func serveStreams(ctx context.Context, t *testing.T, m *Mux, check bool, users *sync.WaitGroup) {
	if m.Start(ctx) != nil {
		return
	}
	for {
		d, err := m.Accept(ctx)
		if err != nil {
			return
		}
		users.Go(func() {
			defer d.Close()
			_ = d.SetDeadline(time.Now().Add(30 * time.Second))
			written := make(chan error, 1)
			go func() { written <- writeStream(d, Responder) }()
			buf := make([]byte, streamLen)
			n, _ := io.ReadFull(d, buf)
			checkContent(t, d, Initiator, 0, buf[:n], check)
			<-written
		})
	}
}

func writeStream(d *DLC, sender Role) error {
	buf := make([]byte, streamLen)
	for i := range buf {
		buf[i] = content(d.DLCI(), sender, i)
	}
	for _, n := range []int{1, 200, 7, 700, streamLen - 908} {
		if _, err := d.Write(buf[:n]); err != nil {
			return err
		}
		buf = buf[n:]
	}
	return nil
}

// readStream reads to the end.
func readStream(t *testing.T, d *DLC, sender Role, check bool) error {
	buf := make([]byte, 333)
	got := 0
	for {
		n, err := d.Read(buf)
		checkContent(t, d, sender, got, buf[:n], check)
		got += n
		switch {
		case errors.Is(err, io.EOF) && got == streamLen:
			return nil
		case errors.Is(err, io.EOF):
			if check {
				t.Errorf("DLC %d ends in order after %d octets of %d", d.DLCI(), got, streamLen)
			}
			return fmt.Errorf("%d octets", got)
		case err != nil:
			return err
		}
	}
}

func checkContent(t *testing.T, d *DLC, sender Role, at int, p []byte, check bool) {
	for i, o := range p {
		if check && o != content(d.DLCI(), sender, at+i) {
			t.Errorf("DLC %d delivers a wrong octet at %d", d.DLCI(), at+i)
			return
		}
	}
}

// wire is a line with faults. Each read takes two octets of them: what happens, and where.
type wire struct {
	mu     sync.Mutex
	faults []byte
}

// sound ends the faults.
func (w *wire) sound() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

func (w *wire) next() (kind, at int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) < 2 {
		return 0, 0
	}
	kind, at = int(w.faults[0]), int(w.faults[1])
	w.faults = w.faults[2:]
	return kind, at
}

func (w *wire) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 8192)
	var held []byte
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p := append(held, buf[:n]...)
		held = nil
		kind, at := w.next()
		if len(p) > 0 {
			at = at * len(p) / 256
		}
		pause := time.Duration(0)
		second := []byte(nil)
		switch kind % 8 {
		case 1: // an octet is lost
			p = append(p[:at:at], p[at+1:]...)
		case 2: // a bit is wrong
			p[at] ^= 1 << (kind / 8 % 8)
		case 3: // all from there is lost
			p = p[:at]
		case 4: // comes twice
			p = append(p, p[at:]...)
		case 5: // in two parts with a pause between
			p, second, pause = p[:at:at], p[at:], time.Duration(kind/8)*50*time.Millisecond
		case 6: // comes with what is next
			held = p
			continue
		case 7: // noise in between
			p = append(p[:at:at], append([]byte{0xf9, 0x0b, byte(kind), 0x7e}, p[at:]...)...)
		}
		for _, part := range [][]byte{p, second} {
			if len(part) == 0 {
				continue
			}
			if _, err := to.Write(part); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
}
