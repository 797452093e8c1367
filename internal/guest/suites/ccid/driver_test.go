//go:build guest

package ccid

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/internal/testkit"
	"bipd/uicc"
)

// bus is the kernel's, with what a test does to it on the way.
type bus struct {
	usbfs.FS
	clear  uint32                          // features that the readers do not announce
	opened func(*usbfs.Handle)             // may be nil
	wrap   func(h *usbfs.Handle) transport // may be nil
}

type transport = ccid.Transport

func (b bus) Devices() ([]usbfs.Device, error) {
	devices, err := b.FS.Devices()
	for _, d := range devices {
		for i, in := range d.Interfaces {
			if in.Class == 0x0B && len(in.Extra) >= 44 {
				extra := bytes.Clone(in.Extra)
				for j := range 4 {
					extra[40+j] &^= byte(b.clear >> (8 * j)) // dwFeatures
				}
				d.Interfaces[i].Extra = extra
			}
		}
	}
	return devices, err
}

func (b bus) Open(d usbfs.Device, iface uint8) (ccid.Transport, error) {
	h, err := b.FS.Open(d, iface)
	if err != nil {
		return nil, err
	}
	if b.opened != nil {
		b.opened(h)
	}
	if b.wrap != nil {
		return b.wrap(h), nil
	}
	return h, nil
}

// drive runs the driver until the end of the test, which fails if something is left behind.
func drive(t *testing.T, b bus) *ccid.Hub {
	t.Helper()
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	hub := ccid.NewHub(ccid.Config{Bus: b, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hub.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the driver does not end")
		}
	})
	return hub
}

// anyReader is the first slot of the first reader.
func anyReader(t *testing.T, hub *ccid.Hub) uicc.Reader {
	t.Helper()
	sel, err := ccid.ParseSelector("*")
	if err != nil {
		t.Fatal(err)
	}
	return hub.Reader(sel)
}

// connect waits for a card and connects it until the end of the test.
func connect(t *testing.T, r uicc.Reader) uicc.Card {
	t.Helper()
	ctx := testContext(t)
	var card uicc.Card
	eventually(t, "a card", func() error {
		var err error
		card, err = r.Connect(ctx)
		return err
	})
	t.Cleanup(func() { card.Close() })
	return card
}

// oddly inserts the odd card and drives it.
func oddly(t *testing.T, b bus) uicc.Card {
	t.Helper()
	guest.Ask(t, "odd", "")
	card := connect(t, anyReader(t, drive(t, b)))
	if !bytes.Equal(card.ATR(), oddATR) {
		t.Fatalf("ATR %X, want %X", card.ATR(), oddATR)
	}
	return card
}

// wantAnswers exchanges APDUs whose answers are all different, so that one taken for another is noticed.
func wantAnswers(t *testing.T, card uicc.Card, lengths ...byte) {
	t.Helper()
	for i, n := range lengths {
		seed := byte(i)*29 + 1
		got, err := card.Transmit(testContext(t), []byte{0x80, insPattern, seed, n, 0})
		if want := append(pattern(seed, int(n)), 0x90, 0x00); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("answer %d of %d octets: %X, %v\nwant %X", i, n, got, err, want)
		}
	}
}

// send is an exchange that must give this answer, with .. for any octet and a final * for any octets.
func send(t *testing.T, card uicc.Card, capdu, want string) []byte {
	t.Helper()
	got, err := card.Transmit(testContext(t), hx(capdu))
	if err != nil {
		t.Fatalf("%s: %v", capdu, err)
	}
	if !fits(fmt.Sprintf("%X", got), strings.ReplaceAll(want, " ", "")) {
		t.Fatalf("%s: %X, want %s", capdu, got, want)
	}
	return got
}

func fits(got, want string) bool {
	if begin, end, any := strings.Cut(want, "*"); any {
		return len(got) >= len(begin)+len(end) && fits(got[:len(begin)], begin) && fits(got[len(got)-len(end):], end)
	}
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if want[i] != '.' && want[i] != got[i] {
			return false
		}
	}
	return true
}

func hx(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// eventually repeats what fails until it does not.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

// result is how an exchange ended.
type result struct {
	rapdu []byte
	err   error
}

// begin exchanges an APDU beside the test.
func begin(t *testing.T, card uicc.Card, capdu ...byte) <-chan result {
	ctx := testContext(t)
	ch := make(chan result, 1)
	go func() {
		rapdu, err := card.Transmit(ctx, capdu)
		ch <- result{rapdu, err}
	}()
	return ch
}

func await(t *testing.T, ch <-chan result) result {
	t.Helper()
	select {
	case r := <-ch:
		return r
	case <-time.After(patience):
		t.Fatal("the exchange hangs")
		return result{}
	}
}

// use is what the process has open, and its goroutines.
func use(t *testing.T) (files []string, goroutines int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil { // the folder itself is gone by now
			files = append(files, target)
		}
	}
	return files, runtime.NumGoroutine()
}
