package egress

import "net/netip"

// Host is what a Policy asks of the machine that it runs on, at each Check. Kernel is the real one.
type Host interface {
	// Links tells what is at the machine's interfaces. The caller does not change it.
	Links() (*Links, error)
	// Route tells how the machine would send to addr from a socket that is bound to the network interface of that
	// name, or to none. That there is no route is no error.
	Route(addr netip.Addr, iface string) (Route, error)
}

// Links is what is at the machine's interfaces: its own addresses, and those that are one hop away.
type Links struct {
	Addrs    []Address           // the machine's own addresses
	Subnets  []netip.Prefix      // prefixes that are on-link, those of the own addresses among them
	Taken    []netip.Prefix      // what routes of type local, anycast, broadcast and multicast take, whatever leads to their table
	Names    map[int]string      // of the interfaces, by index
	NextHops map[netip.Addr]bool // gateways of routes and far ends of point-to-point links
}

// Address is an address of an interface.
type Address struct {
	Prefix    netip.Prefix // with the length of its subnet, not masked; IPv4-mapped never
	Interface int          // index
}

// RouteType is what a route does with a packet.
type RouteType int

// The types of routes, as far as a Policy tells them apart.
const (
	NoRoute        RouteType = iota // none, or one that refuses
	RouteUnicast                    // to a next hop or an on-link destination
	RouteLocal                      // to the machine itself, local or anycast
	RouteBroadcast                  // to all on a link
	RouteMulticast
)

// Route is how the machine sends to an address.
type Route struct {
	Type      RouteType
	Interface int        // index of the interface that packets leave by; that of the loopback device for an own address
	Source    netip.Addr // the address that the machine would take; the zero Addr where the kernel names none
}
