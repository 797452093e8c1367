package egress

import (
	"fmt"
	"net/netip"
)

// LocalError is the error of a local address from which a card may not connect: one that is not an address of the
// interface by which the route to the destination leaves.
type LocalError struct {
	Card        string         // name of the card
	Network     string         // "tcp" or "udp"
	Destination netip.AddrPort // as it was asked for
	Local       netip.Addr
}

// Error names the card, the destination and the local address.
func (e *LocalError) Error() string {
	return fmt.Sprintf("egress: card %q may not connect to %s %s from %s, which is not an address of that route",
		e.Card, e.Network, e.Destination, e.Local)
}

// checkLocal returns a *LocalError unless the card may connect to dst, by the route to it, from the local address that it
// wants. Without a route the connection fails in any case, and says why.
func checkLocal(r Request, dst netip.Addr, links *Links, route Route) error {
	local := r.Local.Unmap()
	if !local.IsValid() || local.IsUnspecified() || route.Type == NoRoute {
		return nil
	}
	if local == route.Source && local.Is4() == dst.Is4() {
		return nil
	}
	for _, a := range links.Addrs {
		if a.Prefix.Addr() == local && a.Interface == route.Interface && local.Is4() == dst.Is4() {
			return nil
		}
	}
	return &LocalError{Card: r.Card, Network: r.Network, Destination: r.Destination, Local: r.Local}
}
