package cp

import (
	"net/netip"
	"slices"
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

// servers are the DNS servers that the card may have been told of: those of the networks, and of the configuration.
func (a *accesses) servers(configured []netip.Addr) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(configured)
	for _, l := range a.last {
		list = append(list, l.access.DNS...)
	}
	return list
}
