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

func TestNGSM(t *testing.T) {
	g := joined(t, "n_gsm")
	for _, line := range []string{"pty", "serial"} {
		for _, role := range []string{"initiator", "responder"} {
			for _, option := range []string{"basic", "advanced"} {
				t.Run(line+"/"+role+"/"+option, func(t *testing.T) { g.Run(t, "TestInsideMux", line, role, option) })
			}
		}
	}
}

// The link has serial ports that no other multiplexer has used before.
func TestLink(t *testing.T) { joined(t).Run(t, "TestInsideLink") }

// joined is a guest with two serial ports, which the host joins.
func joined(t *testing.T, modules ...string) *guest.Guest {
	t.Helper()
	g := guest.Start(t, guest.Config{
		Modules: modules,
		Sockets: []string{"near", "far"},
		Devices: []string{"pci-serial-2x,chardev1=near,chardev2=far"},
		Timeout: 15 * time.Minute,
	})
	join(t, g.Socket("near"), g.Socket("far"))
	return g
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
