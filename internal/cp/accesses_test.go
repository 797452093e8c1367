package cp

import (
	"fmt"
	"testing"

	"bipd/bip"
	"bipd/ptylink"
)

// TestAccesses keeps the network of each channel, and no more, whatever names a card invents.
func TestAccesses(t *testing.T) {
	var a accesses
	for i := range 10000 {
		channel := 1 + i%ptylink.MaxChannel
		a.put(channel, fmt.Sprint("invented", i), bip.Access{AccessPoint: fmt.Sprint(i)})
	}
	kept := 0
	for i := range 10000 {
		if got, ok := a.get(fmt.Sprint("invented", i)); ok {
			kept++
			if got.AccessPoint != fmt.Sprint(i) {
				t.Errorf("network %d has access point %s", i, got.AccessPoint)
			}
		}
	}
	if kept != ptylink.MaxChannel {
		t.Errorf("%d networks are kept, want %d", kept, ptylink.MaxChannel)
	}
	if _, ok := a.get(""); ok {
		t.Error("the network without a name is known, but was never told")
	}
	a.put(1, "", bip.Access{AccessPoint: "old"})
	a.put(2, "", bip.Access{AccessPoint: "new"})
	if got, ok := a.get(""); !ok || got.AccessPoint != "new" {
		t.Errorf("%+v, %v", got, ok)
	}
}
