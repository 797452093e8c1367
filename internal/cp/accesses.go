package cp

import (
	"sync"

	"bipd/bip"
	"bipd/ptylink"
)

// accesses are the networks' parameters as the AP told them last: one for each channel, since cards invent the names.
type accesses struct {
	mu   sync.Mutex
	last [ptylink.MaxChannel + 1]namedAccess // by channel, of the latest network that it asked for
}

type namedAccess struct {
	name   string // network access name; "" is one too
	access bip.Access
	known  bool
}

// put notes what the AP told for a channel. What it told of that network before holds no longer.
func (a *accesses) put(channel int, name string, access bip.Access) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.last {
		if a.last[i].name == name {
			a.last[i] = namedAccess{}
		}
	}
	a.last[channel] = namedAccess{name, access, true}
}

// get gives what the AP told of a network, unless another name has taken its place.
func (a *accesses) get(name string) (bip.Access, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.last {
		if l.known && l.name == name {
			return l.access, true
		}
	}
	return bip.Access{}, false
}
