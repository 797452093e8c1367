//go:build guest

package ccid

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/guest"
	"bipd/softuicc"
)

func TestMain(m *testing.M) { guest.Main(m) }

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

// quirks are those of QEMU's reader, by their number in the list of its measured quirks. Each has a test of its own.
var quirks = []string{
	"Quirk01LongAnswerLost", "Quirk02EmptyTransferAfter64", "Quirk03ParametersWithoutLength", "Quirk04WrongAnswerType",
	"Quirk05ClassRequestsStall", "Quirk06ShortMessageStalls", "Quirk07LateAnswer", "Quirk08ThreeErrors", "Quirk09ActiveAfterInsertion",
	"Quirk10OneInterruptForTwoChanges", "Quirk11UnplugInAPDU", "Quirk12TwoAnswers",
}

// The transfers of host controllers differ, so all is tested with more than one.
func TestReader(t *testing.T) {
	all := append([]string{"Session", "CardCycles", "ReaderCycles"}, quirks...)
	for _, hc := range []struct {
		name             string
		modules, devices []string
		tests            []string
	}{
		{"xHCI", []string{"xhci-pci"}, []string{"qemu-xhci,id=usb"}, all},
		{"UHCI", []string{"uhci-hcd"}, []string{"piix3-usb-uhci,id=usb"}, all},
		{"ICH9", []string{"ehci-pci", "uhci-hcd"}, []string{"ich9-usb-ehci1,id=usb", "ich9-usb-uhci1,masterbus=usb.0"},
			[]string{"Session", "CardCycles", "Quirk02EmptyTransferAfter64"}},
	} {
		t.Run(hc.name, func(t *testing.T) {
			g := guest.Start(t, guest.Config{
				Modules: hc.modules,
				Devices: append(hc.devices, "usb-ccid,id=ccid,bus=usb.0,port=1", "ccid-card-passthru,id=slot,chardev=card,bus=ccid.0"),
				Sockets: []string{"card"},
				Timeout: 15 * time.Minute,
			})
			newDesk(t, g)
			for _, name := range hc.tests {
				t.Run(name, func(t *testing.T) { g.Run(t, "TestInside"+name) })
			}
		})
	}
}

// desk is the host's side: the hand that plugs readers and inserts cards.
type desk struct {
	guest *guest.Guest

	mu    sync.Mutex
	soft  *softuicc.VSCard
	card  *softuicc.Card // in soft
	odd   *oddCard
	leave func() // ends the present connection to the slot
	slots int    // made so far, each with a name of its own
}

// newDesk has the guest's tests ask for what they need.
func newDesk(t *testing.T, g *guest.Guest) {
	d := &desk{guest: g, leave: func() {}}
	t.Cleanup(func() { d.leave() })
	for name, do := range map[string]func(ctx context.Context, argument string) error{
		"soft":   d.useSoft, // a software UICC with this answer to reset
		"odd":    d.useOdd,  // an oddCard, with that answer to reset or oddATR
		"remove": func(context.Context, string) error { return d.remove() },
		"insert": d.insert, // another software UICC
		"swap":   d.swap,   // remove and insert at once
		"unplug": func(ctx context.Context, _ string) error { return g.QMP().Unplug(ctx, "ccid") },
		"plug":   func(ctx context.Context, _ string) error { return d.plug(ctx) },
		"held":   func(ctx context.Context, _ string) error { return d.odd.holds(ctx) },
		"late":   func(ctx context.Context, _ string) error { return d.odd.lateSent(ctx) },
		"judge":  func(context.Context, string) error { return d.judge() },
	} {
		g.Handle(name, func(argument string) (string, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			ctx, stop := context.WithTimeout(context.Background(), patience)
			defer stop()
			return "", do(ctx, argument)
		})
	}
}

// connect connects to the slot, once QEMU has taken note that the last card and the connection to it are gone.
func (d *desk) connect(ctx context.Context) (net.Conn, error) {
	d.leave()
	d.leave, d.soft, d.odd, d.card = func() {}, nil, nil, nil
	for {
		free, err := d.free(ctx)
		if err != nil {
			return nil, err
		}
		if free {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return new(net.Dialer).DialContext(ctx, "unix", d.guest.Socket("card"))
}

// free tells whether nobody is connected to the slot, as QEMU sees it.
func (d *desk) free(ctx context.Context) (bool, error) {
	answer, err := d.guest.QMP().Execute(ctx, "query-chardev", nil)
	if err != nil {
		return false, err
	}
	var devices []struct{ Label, Filename string }
	if err := json.Unmarshal(answer, &devices); err != nil {
		return false, err
	}
	for _, dev := range devices {
		if dev.Label == "card" {
			return strings.HasPrefix(dev.Filename, "disconnected:"), nil
		}
	}
	return false, fmt.Errorf("no character device for the card in %s", answer)
}

func (d *desk) useSoft(ctx context.Context, atr string) error {
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	soft := softuicc.NewVSCard()
	served := make(chan struct{})
	go func() {
		defer close(served)
		soft.Serve(context.Background(), conn)
	}()
	d.soft = soft
	d.leave = func() {
		soft.Remove()
		conn.Close()
		<-served
	}
	return d.insert(ctx, atr)
}

func (d *desk) useOdd(ctx context.Context, atr string) error {
	raw := oddATR
	if atr != "" {
		var err error
		if raw, err = hex.DecodeString(atr); err != nil {
			return err
		}
	}
	conn, err := d.connect(ctx)
	if err != nil {
		return err
	}
	d.odd, err = newOddCard(conn, raw)
	if err == nil {
		d.leave = d.odd.close
	}
	return err
}

// insert inserts a new software UICC whose applet wants more time once, with that answer to reset or its own.
func (d *desk) insert(_ context.Context, atr string) error {
	if d.soft == nil {
		return errors.New("there is no slot for a software UICC")
	}
	raw, err := hex.DecodeString(atr)
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		raw = nil
	}
	d.card, err = softuicc.New(softuicc.Config{ATR: raw, Applets: []softuicc.Applet{
		func(ctx context.Context, tk *softuicc.Toolkit) error {
			_, err := tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
			return err
		},
	}})
	if err != nil {
		return err
	}
	return d.soft.Insert(d.card)
}

func (d *desk) remove() error {
	switch {
	case d.soft != nil:
		d.soft.Remove()
		return nil
	case d.odd != nil:
		return d.odd.write(vscCardRemove, 0, nil)
	}
	return errors.New("there is no card")
}

func (d *desk) swap(ctx context.Context, atr string) error {
	return errors.Join(d.remove(), d.insert(ctx, atr))
}

// plug plugs the reader in again, without a card.
func (d *desk) plug(ctx context.Context) error {
	d.leave()
	d.leave = func() {}
	if err := d.guest.QMP().Plug(ctx, "usb-ccid", map[string]any{"id": "ccid", "bus": "usb.0", "port": "1"}); err != nil {
		return err
	}
	d.slots++
	return d.guest.QMP().Plug(ctx, "ccid-card-passthru", map[string]any{"id": fmt.Sprintf("slot%d", d.slots), "chardev": "card", "bus": "ccid.0"})
}

// judge says what the software UICC found wrong with the terminal.
func (d *desk) judge() error {
	var found []string
	for _, v := range d.card.Violations() {
		found = append(found, fmt.Sprint(v))
	}
	if len(found) > 0 {
		return errors.New(strings.Join(found, "; "))
	}
	return nil
}
