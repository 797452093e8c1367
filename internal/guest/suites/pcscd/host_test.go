//go:build guest

package pcscd

import (
	"context"
	"net"
	"testing"
	"time"

	"bipd/internal/guest"
	"bipd/softuicc"
)

func TestMain(m *testing.M) { guest.Main(m) }

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

func TestPCSCD(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules: []string{"xhci-pci"},
		Devices: []string{"qemu-xhci,id=usb", "usb-ccid,id=ccid,bus=usb.0", "ccid-card-passthru,chardev=card,bus=ccid.0"},
		Sockets: []string{"card"},
		Debian:  []string{"pcscd", "libccid", "opensc"},
		Timeout: 10 * time.Minute,
	})
	card, err := softuicc.New(softuicc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", g.Socket("card"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- softuicc.ServeVSCard(ctx, conn, card) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serving the card: %v", err)
		}
	})
	for _, name := range []string{"SameAnswers", "InUse"} {
		t.Run(name, func(t *testing.T) { g.Run(t, "TestInside"+name) })
	}
}
