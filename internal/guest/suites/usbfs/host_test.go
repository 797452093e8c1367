//go:build guest

package usbfs

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"bipd/internal/guest"
)

func TestMain(m *testing.M) { guest.Main(m) }

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

// The same at a USB 3 and at a USB 1 host controller, for their transfers differ.
func TestReader(t *testing.T) {
	for _, hc := range []struct{ module, device string }{
		{"xhci-pci", "qemu-xhci,id=usb"},
		{"uhci-hcd", "piix3-usb-uhci,id=usb"},
	} {
		t.Run(hc.module, func(t *testing.T) {
			g := guest.Start(t, guest.Config{
				Modules: []string{hc.module, "usbhid"},
				Devices: []string{hc.device, "usb-ccid,id=ccid,bus=usb.0,port=1", "ccid-card-passthru,id=slot,chardev=card,bus=ccid.0",
					"usb-kbd,id=keyboard,bus=usb.0,port=2"},
				Sockets: []string{"card"},
				Timeout: 10 * time.Minute,
			})
			p := &player{guest: g}
			p.handle(t)
			for _, name := range []string{"Scan", "Claim", "HeldByAnother", "Rights", "KernelDriver", "Transfers", "Notify", "Cancel",
				"CancelLosesNothing", "CancelFreesMemory", "Stall", "Reset", "Close", "Speed", "WatchInNamespace", "Unplug", "UnplugInTraffic"} {
				t.Run(name, func(t *testing.T) { g.Run(t, "TestInside"+name) })
			}
		})
	}
}

// A reader that pcscd has is left to it.
func TestPcscd(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules: []string{"xhci-pci"},
		Devices: []string{"qemu-xhci,id=usb", "usb-ccid,id=ccid,bus=usb.0,port=1", "ccid-card-passthru,id=slot,chardev=card,bus=ccid.0"},
		Sockets: []string{"card"},
		Debian:  []string{"pcscd", "libccid"},
		Timeout: 10 * time.Minute,
	})
	p := &player{guest: g}
	p.handle(t)
	g.Run(t, "TestInsidePcscd")
}

// player plays the card, and the hand that plugs and unplugs.
type player struct {
	guest *guest.Guest
	card  *card
	slots int // made so far, each with a name of its own
}

// handle has the guest's tests ask for what they need.
func (p *player) handle(t *testing.T) {
	t.Helper()
	if err := p.insert(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.card.close() })
	for name, do := range map[string]func(context.Context, string) error{
		"insert": func(context.Context, string) error { return p.card.write(vscATR, 0, atr) },
		"remove": func(context.Context, string) error { return p.card.write(vscCardRemove, 0, nil) },
		"unplug": func(ctx context.Context, _ string) error { return p.guest.QMP().Unplug(ctx, "ccid") },
		"plug":   func(ctx context.Context, _ string) error { return p.plug(ctx) },
		"key":    p.key,
	} {
		p.guest.Handle(name, func(argument string) (string, error) {
			ctx, stop := context.WithTimeout(context.Background(), patience)
			defer stop()
			return "", do(ctx, argument)
		})
	}
	p.guest.Handle("release", func(string) (string, error) {
		n, err := p.card.release()
		return strconv.Itoa(n), err
	})
}

func (p *player) insert() (err error) {
	p.card, err = insertCard(p.guest.Socket("card"))
	return err
}

// plug plugs the reader in again, with the card in it.
func (p *player) plug(ctx context.Context) error {
	p.card.close()
	if err := p.guest.QMP().Plug(ctx, "usb-ccid", map[string]any{"id": "ccid", "bus": "usb.0", "port": "1"}); err != nil {
		return err
	}
	p.slots++
	if err := p.guest.QMP().Plug(ctx, "ccid-card-passthru", map[string]any{"id": fmt.Sprintf("slot%d", p.slots), "chardev": "card", "bus": "ccid.0"}); err != nil {
		return err
	}
	return p.insert()
}

// key presses and releases a key of the keyboard.
func (p *player) key(ctx context.Context, key string) error {
	_, err := p.guest.QMP().Execute(ctx, "send-key", map[string]any{"keys": []any{map[string]any{"type": "qcode", "data": key}}})
	return err
}
