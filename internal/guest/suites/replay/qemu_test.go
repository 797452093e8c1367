//go:build guest

package replay

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"bipd/internal/guest"
	"bipd/softuicc"
)

// QEMU's reader is taken away and comes back while the connection to its slot stays: the card is announced anew.
func TestAnnounce(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules: []string{"xhci-pci"},
		Devices: []string{"qemu-xhci,id=usb", "usb-ccid,id=ccid,bus=usb.0,port=1", "ccid-card-passthru,id=slot,chardev=card,bus=ccid.0"},
		Sockets: []string{"card"},
		Timeout: 10 * time.Minute,
	})
	conn, err := net.Dial("unix", g.Socket("card"))
	if err != nil {
		t.Fatal(err)
	}
	card, err := softuicc.New(softuicc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	slot := softuicc.NewVSCard()
	if err := slot.Insert(card); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- slot.Serve(ctx, conn) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	g.Run(t, "TestInsideAnnounced")
	for i := range 2 {
		ctx, end := context.WithTimeout(ctx, patience)
		defer end()
		if err := g.QMP().Unplug(ctx, "ccid"); err != nil {
			t.Fatal(err)
		}
		if err := g.QMP().Plug(ctx, "usb-ccid", map[string]any{"id": "ccid", "bus": "usb.0", "port": "1"}); err != nil {
			t.Fatal(err)
		}
		if err := g.QMP().Plug(ctx, "ccid-card-passthru", map[string]any{"id": fmt.Sprint("again", i), "chardev": "card", "bus": "ccid.0"}); err != nil {
			t.Fatal(err)
		}
		if err := slot.Announce(ctx); err != nil {
			t.Fatal(err)
		}
		g.Run(t, "TestInsideAnnounced")
	}
}

func TestInsideAnnounced(t *testing.T) {
	card := connect(t, drive(t), 0)
	defer card.Close()
	if r, err := card.Transmit(within(t), []byte{0x80, 0xF2, 0, 0x0C}); err != nil || fmt.Sprintf("%X", r) != "9000" {
		t.Errorf("STATUS: %X, %v", r, err)
	}
}
