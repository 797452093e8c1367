package cp

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An AP whose network comes and goes without end: what cards are shown, and told by an event each time, changes at a bounded
// rate, and the last state is shown.
func TestNetworkComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n *apNetwork
		var mu sync.Mutex
		shown, changes := false, 0
		n = newAPNetwork(func() {
			mu.Lock()
			defer mu.Unlock()
			if up := n.isUp(); up != shown {
				shown = up
				changes++
			}
		})
		is := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return shown
		}
		n.told(true)
		if !is() {
			t.Error("the first change is not shown at once")
		}
		const seconds = 10
		for i := range seconds * 1000 {
			n.told(i%2 == 1)
			time.Sleep(time.Millisecond)
		}
		mu.Lock()
		if changes > networkChanges+seconds {
			t.Errorf("%d changes were shown in %d s", changes, seconds)
		}
		mu.Unlock()
		for _, up := range []bool{false, true} {
			n.told(!up)
			n.told(up)
			time.Sleep(networkEvery)
			synctest.Wait()
			if is() != up {
				t.Errorf("the AP said %v last, cards are shown %v", up, !up)
			}
		}
	})
}
