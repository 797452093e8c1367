//go:build guest

package ccid

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/uicc"
)

// awaitState reads states until the wanted one.
func awaitState(t *testing.T, states <-chan uicc.SlotState, want uicc.SlotState) {
	t.Helper()
	ctx := testContext(t)
	for {
		select {
		case s, ok := <-states:
			if !ok {
				t.Fatalf("the states end before state %d", want)
			}
			if s == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no state %d", want)
		}
	}
}

// A card comes and goes, also in the middle of an APDU, and nothing is left behind.
func TestInsideCardCycles(t *testing.T) {
	guest.Ask(t, "soft", firstATR)
	reader := anyReader(t, drive(t, bus{}))
	connect(t, reader).Close()
	states := reader.Watch(t.Context())
	awaitState(t, states, uicc.SlotPresent)
	files, goroutines := use(t)
	for range 20 {
		card, err := reader.Connect(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		send(t, card, "00A40004023F00", "62*9000")
		guest.Ask(t, "remove", "")
		awaitState(t, states, uicc.SlotEmpty)
		if _, err := card.Transmit(testContext(t), hx("00A40004023F00")); !errors.Is(err, uicc.ErrRemoved) {
			t.Fatalf("a card that was removed: %v", err)
		}
		if err := card.Close(); err != nil {
			t.Fatalf("close of a card that was removed: %v", err)
		}
		if _, err := reader.Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
			t.Fatalf("connecting to no card: %v", err)
		}
		guest.Ask(t, "insert", firstATR)
		awaitState(t, states, uicc.SlotPresent)
	}
	eventually(t, "leak of 20 cycles", func() error {
		if nowFiles, now := use(t); len(nowFiles) > len(files) || now > goroutines {
			return fmt.Errorf("open before %q, now %q; goroutines before %d, now %d", files, nowFiles, goroutines, now)
		}
		return nil
	})
}

// A reader comes and goes. It is found again at its place, and nothing is left behind.
func TestInsideReaderCycles(t *testing.T) {
	guest.Ask(t, "soft", firstATR)
	hub := drive(t, bus{})
	reader := anyReader(t, hub)
	connect(t, reader).Close()
	path := hub.List()[0].Path
	events := hub.Slots(testContextLong(t))
	if e := <-events; !e.Added || e.IDs.Path != path {
		t.Fatalf("event %+v, want that a slot is there", e)
	}
	files, goroutines := use(t)
	for range 5 {
		card := connect(t, reader)
		send(t, card, "00A40004023F00", "62*9000")
		guest.Ask(t, "unplug", "")
		if e := <-events; e.Added || e.IDs.Path != path {
			t.Fatalf("event %+v, want that the slot is gone", e)
		}
		if _, err := card.Transmit(testContext(t), hx("00A40004023F00")); !errors.Is(err, uicc.ErrRemoved) {
			t.Fatalf("a card of a reader that is gone: %v", err)
		}
		if err := card.Close(); err != nil {
			t.Fatalf("close of a card of a reader that is gone: %v", err)
		}
		guest.Ask(t, "plug", "")
		if e := <-events; !e.Added || e.IDs.Path != path {
			t.Fatalf("event %+v, want that the slot is there at %s", e, path)
		}
		guest.Ask(t, "soft", firstATR)
	}
	connect(t, reader).Close()
	eventually(t, "leak", func() error {
		if nowFiles, now := use(t); len(nowFiles) > len(files) || now > goroutines {
			return errors.New("more files or goroutines than before")
		}
		return nil
	})
}

// testContextLong is for what lasts as long as the test.
func testContextLong(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 6*patience)
	t.Cleanup(stop)
	return ctx
}

// heldNotify lets interrupts through only while its gate is open.
type heldNotify struct {
	*usbfs.Handle
	mu   sync.Mutex
	gate chan struct{} // closed: open
}

func (n *heldNotify) wrap(h *usbfs.Handle) ccid.Transport {
	n.Handle = h
	return n
}

// shut closes the gate for the transfers that begin from now on, until open is called.
func (n *heldNotify) shut() (open func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gate := make(chan struct{})
	n.gate = gate
	return func() { close(gate) }
}

func (n *heldNotify) Notify(ctx context.Context, buf []byte) (int, error) {
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	select {
	case <-gate:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return n.Handle.Notify(ctx, buf)
}
