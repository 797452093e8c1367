//go:build guest

package boot

import (
	"testing"

	"bipd/internal/guest"
)

func TestMain(m *testing.M) { guest.Main(m) }

func TestBoot(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules: []string{"xhci-pci", "tun", "veth"},
		Devices: []string{"qemu-xhci,id=usb"},
	})
	g.Run(t, "TestInsideSystem")
}
