//go:build guest

package replay

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"bipd/ccid"
	"bipd/internal/ccidemu"
	"bipd/softuicc"
	"bipd/uicc"
)

// kind is a kind of card.
type kind struct {
	name string
	atr  string // "" = that of the software UICC: T=0, the default rate
	cfg  softuicc.ContactsConfig
}

var (
	plain    = kind{name: "T0"}
	oneByte  = kind{name: "T0 byte by byte", cfg: softuicc.ContactsConfig{T0: softuicc.T0Config{AckOne: -1, Nulls: 1}}}
	fast     = kind{name: "T0 fast", atr: "3B1095"}         // Fi 512, Di 16
	specific = kind{name: "T0 specific", atr: "3B90951000"} // Fi 512, Di 16, no PPS
	blocks   = kind{name: "T1", atr: "3B808131FE559B"}
	crc      = kind{name: "T1 CRC", atr: "3B8081410141"}
	slow     = kind{name: "T1 slow", atr: "3B808131FE559B", cfg: softuicc.ContactsConfig{T1: softuicc.T1Config{WTX: 2}}}
	noisy    = kind{name: "T1 noisy", atr: "3B808131FE559B", cfg: softuicc.ContactsConfig{T1: softuicc.T1Config{Fault: noise}}}
	either   = kind{name: "T0 or T1", atr: "3B9018800109"} // T=0 first, TA1 18
)

// noise damages some blocks, but never two in a row.
func noise(n int, _ []byte) softuicc.T1Fault {
	switch n % 11 {
	case 3:
		return softuicc.T1BadEDC
	case 6:
		return softuicc.T1Deaf
	}
	return softuicc.T1NoFault
}

// attach attaches a reader of the model until the end of the test.
func attach(t *testing.T, m ccidemu.Model) (*ccidemu.Reader, *ccidemu.Attachment) {
	t.Helper()
	r := ccidemu.New(m)
	t.Cleanup(r.Unplug)
	a := plug(t, r)
	t.Cleanup(func() { a.Detach() })
	return r, a
}

// plug attaches a reader to the first port, which may still be busy with the one that was unplugged.
func plug(t *testing.T, r *ccidemu.Reader) (a *ccidemu.Attachment) {
	t.Helper()
	eventually(t, "the port takes the reader", func() (err error) {
		a, err = r.Attach(0)
		return err
	})
	return a
}

// insert inserts a card that runs the session's applet.
func insert(t *testing.T, r *ccidemu.Reader, slot int, k kind) *softuicc.Card {
	t.Helper()
	cfg := ccidemu.SessionConfig()
	if k.atr != "" {
		cfg.ATR, _ = hex.DecodeString(k.atr)
	}
	card, err := softuicc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { card.Close() })
	if err := r.Insert(slot, card, k.cfg); err != nil {
		t.Fatal(err)
	}
	return card
}

// drive runs the driver until the end of the test.
func drive(t *testing.T) *ccid.Hub {
	t.Helper()
	hub := ccid.NewHub(ccid.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
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

// connect connects the card in a slot of the only reader.
func connect(t *testing.T, hub *ccid.Hub, slot int) uicc.Card {
	t.Helper()
	sel := ccid.Selector{Slot: slot}
	var card uicc.Card
	ctx := within(t)
	eventually(t, "a card", func() (err error) {
		card, err = hub.Reader(sel).Connect(ctx)
		return err
	})
	return card
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

// eventually repeats f until it succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// oracle is what the card itself says in the session.
func oracle(t *testing.T) []string {
	t.Helper()
	card, err := softuicc.New(ccidemu.SessionConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	lines, err := ccidemu.PlaySession(within(t), uicc.Settle(card))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// play plays the session and compares.
func play(t *testing.T, card uicc.Card, want []string) {
	t.Helper()
	got, err := ccidemu.PlaySession(within(t), card)
	if err != nil {
		t.Error(err)
		return
	}
	if err := same(got, want); err != nil {
		t.Error(err)
	}
}

func same(got, want []string) error {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Errorf("line %d is %s, want %s", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d lines, want %d", len(got), len(want))
	}
	return nil
}

// clean wants nobody to find fault with the driver.
func clean(t *testing.T, r *ccidemu.Reader) {
	t.Helper()
	for _, v := range r.Violations() {
		t.Errorf("violation: %v", v)
	}
}
