//go:build guest

package boot

import (
	"os"
	"testing"
)

func TestInsideSystem(t *testing.T) {
	for _, path := range []string{"/proc/self", "/sys/bus/usb/devices/usb1", "/dev/bus/usb/001/001", "/dev/pts/ptmx", "/dev/net/tun"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
