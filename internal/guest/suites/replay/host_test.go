//go:build guest

package replay

import (
	"testing"
	"time"

	"bipd/internal/guest"
)

func TestMain(m *testing.M) { guest.Main(m) }

// patience bounds how long a test waits for what must happen.
const patience = time.Minute

// The readers need no host: they are emulated in the guest, by the test.
func TestReaders(t *testing.T) {
	g := guest.Start(t, guest.Config{Modules: []string{"vhci-hcd"}, Timeout: 15 * time.Minute})
	for _, name := range []string{"Models", "SlotsAtOnce", "Time", "Faults", "LostAnswers", "Unplug", "PullCard"} {
		t.Run(name, func(t *testing.T) { g.Run(t, "TestInside"+name) })
	}
}

func TestOracle(t *testing.T) {
	g := guest.Start(t, guest.Config{Modules: []string{"vhci-hcd"}, Debian: []string{"pcscd", "libccid"}, Timeout: 15 * time.Minute})
	g.Run(t, "TestInsideOracle")
}
