package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel is the Host as the kernel's rtnetlink shows it. It belongs to the network namespace of the thread that calls
// it first. Interfaces and routes are read again only after the kernel has told of a change of them. The zero Kernel is
// ready to use; it is safe for concurrent use.
type Kernel struct {
	mu      sync.Mutex
	handle  *netlink.Handle
	changes *nl.NetlinkSocket
	links   *Links // nil: not known
}

// groups are those to which the kernel tells what Links is made of. A link that goes down takes its IPv4 routes with it
// without a word.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP,
}

// open makes the sockets, once.
func (k *Kernel) open() error {
	if k.handle != nil {
		return nil
	}
	changes, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return err
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		changes.Close()
		return err
	}
	k.changes, k.handle = changes, handle
	return nil
}

// Links implements Host.
func (k *Kernel) Links() (*Links, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.open(); err != nil {
		return nil, err
	}
	changed, err := k.changed()
	if err != nil {
		return nil, err
	}
	if changed {
		k.links = nil
	}
	if k.links == nil {
		links, err := readLinks(k.handle)
		if err != nil {
			return nil, err
		}
		k.links = links
	}
	return k.links, nil
}

// changed reports whether the kernel has told of a change since it was last called.
func (k *Kernel) changed() (bool, error) {
	var b [1]byte // what has changed does not matter
	for changed := false; ; {
		switch _, _, err := unix.Recvfrom(k.changes.GetFd(), b[:], unix.MSG_DONTWAIT); err {
		case nil, unix.ENOBUFS: // more has changed than the socket could hold
			changed = true
		case unix.EINTR:
		case unix.EAGAIN:
			return changed, nil
		default:
			return false, err
		}
	}
}

// readTries bounds how often a listing is repeated that a change has interrupted.
const readTries = 10

func readLinks(h *netlink.Handle) (links *Links, err error) {
	for range readTries {
		if links, err = readOnce(h); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return links, err
		}
	}
	return nil, err
}

func readOnce(h *netlink.Handle) (*Links, error) {
	l := &Links{NextHops: map[netip.Addr]bool{}, Names: map[int]string{}}
	subnets := map[netip.Prefix]bool{}
	shared, err := l.addInterfaces(h)
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	addrs, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addrs {
		own := prefixOf(a.IPNet)
		if !own.IsValid() {
			continue
		}
		l.Addrs = append(l.Addrs, Address{Prefix: own, Interface: a.LinkIndex})
		subnets[own.Masked()] = true
		if peer := prefixOf(a.Peer); peer.IsValid() && peer.Addr() != own.Addr() {
			l.NextHops[peer.Addr()] = true
			subnets[peer.Masked()] = true
		}
	}
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := h.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			l.addRoute(r, shared, subnets)
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
	}
	for p := range subnets {
		if p.Bits() > 0 {
			l.Subnets = append(l.Subnets, p)
		}
	}
	return l, nil
}

// addInterfaces notes the names of the interfaces, and lists those on which neighbours are found by asking for them, by
// index: what is routed there without a next hop is on the link. Whatever is beyond a tunnel or a modem has no next hop
// either.
func (l *Links) addInterfaces(h *netlink.Handle) (shared map[int]bool, err error) {
	list, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	shared = map[int]bool{}
	for _, link := range list {
		attrs := link.Attrs()
		l.Names[attrs.Index] = attrs.Name
		shared[attrs.Index] = attrs.RawFlags&unix.IFF_BROADCAST != 0 && attrs.RawFlags&unix.IFF_NOARP == 0
	}
	return shared, nil
}

// addRoute notes the next hops of a route, or its destination where it is on-link or goes to the machine itself. A default
// route of type local is for packets that a firewall marks (TPROXY), and takes none of the machine's own.
func (l *Links) addRoute(r netlink.Route, shared map[int]bool, subnets map[netip.Prefix]bool) {
	switch r.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_LOCAL, unix.RTN_ANYCAST, unix.RTN_BROADCAST, unix.RTN_MULTICAST:
		if p := prefixOf(r.Dst); p.IsValid() && p.Bits() > 0 {
			l.Taken = append(l.Taken, p.Masked())
		}
		return
	default:
		return
	}
	hops := r.MultiPath
	if len(hops) == 0 {
		hops = []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via}}
	}
	for _, hop := range hops {
		gateway := hop.Gw
		if via, ok := hop.Via.(*netlink.Via); ok { // an IPv4 route through an IPv6 gateway
			gateway = via.Addr
		}
		switch addr, ok := netip.AddrFromSlice(gateway); {
		case ok && !addr.IsUnspecified():
			l.NextHops[addr.Unmap()] = true
		case shared[hop.LinkIndex] && r.Dst != nil:
			if p := prefixOf(r.Dst); p.IsValid() {
				subnets[p.Masked()] = true
			}
		}
	}
}

// prefixOf is n as a prefix; not valid where n is nil or no prefix.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, size := n.Mask.Size()
	if !ok || size == 0 {
		return netip.Prefix{}
	}
	if addr = addr.Unmap(); addr.Is4() && size == 128 {
		ones -= 96
	}
	return netip.PrefixFrom(addr, ones)
}

// noRoute are the errors of rtnetlink that say that there is no way to an address: no route, no such interface, no such
// address family, or a route of type unreachable, prohibit or blackhole. A connection fails with the same.
var noRoute = []error{
	unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.ENODEV, unix.ENETDOWN, unix.EAFNOSUPPORT, unix.EOPNOTSUPP,
}

// Route implements Host.
func (k *Kernel) Route(addr netip.Addr, iface string) (Route, error) {
	k.mu.Lock()
	err := k.open()
	k.mu.Unlock()
	if err != nil {
		return Route{}, err
	}
	var options netlink.RouteGetOptions
	if iface != "" {
		link, err := k.handle.LinkByName(iface)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return Route{}, nil
		}
		if err != nil {
			return Route{}, fmt.Errorf("interface %s: %w", iface, err)
		}
		options.OifIndex = link.Attrs().Index
	}
	routes, err := k.handle.RouteGetWithOptions(addr.AsSlice(), &options)
	for _, none := range noRoute {
		if errors.Is(err, none) {
			return Route{}, nil
		}
	}
	if err != nil {
		return Route{}, fmt.Errorf("route to %s: %w", addr, err)
	}
	if len(routes) == 0 {
		return Route{}, nil
	}
	r := Route{Interface: routes[0].LinkIndex}
	if src, ok := netip.AddrFromSlice(routes[0].Src); ok {
		r.Source = src.Unmap()
	}
	switch routes[0].Type {
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		r.Type = RouteLocal
	case unix.RTN_BROADCAST:
		r.Type = RouteBroadcast
	case unix.RTN_MULTICAST:
		r.Type = RouteMulticast
	case unix.RTN_UNICAST:
		r.Type = RouteUnicast
	}
	return r, nil
}
