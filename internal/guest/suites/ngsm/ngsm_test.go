//go:build guest

package ngsm

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"bipd/internal/guest"
)

func TestMain(m *testing.M) { guest.Main(m) }

// One guest with two serial ports, which the host joins.
func TestNGSM(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules: []string{"n_gsm"},
		Sockets: []string{"near", "far"},
		Devices: []string{"pci-serial-2x,chardev1=near,chardev2=far"},
		Timeout: 8 * time.Minute,
	})
	join(t, g.Socket("near"), g.Socket("far"))
	for _, line := range []string{"pty", "serial"} {
		for _, role := range []string{"initiator", "responder"} {
			for _, option := range []string{"basic", "advanced"} {
				t.Run(line+"/"+role+"/"+option, func(t *testing.T) { g.Run(t, "TestInsideMux", line, role, option) })
			}
		}
	}
	t.Run("link", func(t *testing.T) { g.Run(t, "TestInsideLink") })
}

// join copies between the sockets of two serial ports until the test ends.
func join(t *testing.T, paths ...string) {
	t.Helper()
	var ends []net.Conn
	for _, p := range paths {
		c, err := net.Dial("unix", p)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c)
	}
	var copying sync.WaitGroup
	for i := range ends {
		copying.Go(func() { io.Copy(ends[1-i], ends[i]) })
	}
	t.Cleanup(func() {
		for _, c := range ends {
			c.Close()
		}
		copying.Wait()
	})
}
