package netbed

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkOption is a choice for Bed.Link.
type LinkOption func(*linkOptions)

type linkOptions struct{ defaultRoute []*Host }

// DefaultRoute sends what h has no other route for through the link, to the host at its other end.
func DefaultRoute(h *Host) LinkOption {
	return func(o *linkOptions) { o.defaultRoute = append(o.defaultRoute, h) }
}

// Link joins two hosts by a veth pair, both ends up, with one address each as "10.1.0.1/24" or "fd00::1/64" (which is
// usable at once, without duplicate address detection). On a host the interface is named "to-" and the other host's
// name; further links between the same two hosts end in "-2", "-3" and so on. When Link fails it leaves no interface.
func (b *Bed) Link(x, y *Host, xAddress, yAddress string, opts ...LinkOption) error {
	if x == y || x.bed != b || y.bed != b {
		return fmt.Errorf("netbed: link %s to %s: want two hosts of this bed", x, y)
	}
	var o linkOptions
	for _, opt := range opts {
		opt(&o)
	}
	xPrefix, err := netip.ParsePrefix(xAddress)
	if err != nil {
		return fmt.Errorf("netbed: link %s to %s: %w", x, y, err)
	}
	yPrefix, err := netip.ParsePrefix(yAddress)
	if err != nil {
		return fmt.Errorf("netbed: link %s to %s: %w", x, y, err)
	}
	xName, yName, err := b.makeVeth(x, y)
	if err != nil {
		return fmt.Errorf("netbed: link %s to %s: %w", x, y, err)
	}
	// Both ends are up before they get addresses: an IPv6 address of a link without carrier waits for the carrier.
	err = errors.Join(x.setUp(xName), y.setUp(yName))
	if err == nil {
		err = x.configure(xName, xPrefix, yPrefix.Addr(), o)
	}
	if err == nil {
		err = y.configure(yName, yPrefix, xPrefix.Addr(), o)
	}
	if err != nil {
		if derr := x.deleteLink(xName); derr != nil {
			err = fmt.Errorf("%w; and then: %w", err, derr)
		}
		return fmt.Errorf("netbed: link %s to %s: %w", x, y, err)
	}
	return nil
}

// makeVeth makes the pair with the first names that are free at both ends.
func (b *Bed) makeVeth(x, y *Host) (xName, yName string, err error) {
	for n := 1; n <= 9; n++ {
		xName, yName = "to-"+y.name, "to-"+x.name
		if n > 1 {
			xName, yName = fmt.Sprintf("%s-%d", xName, n), fmt.Sprintf("%s-%d", yName, n)
		}
		err = x.Do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = xName
			return netlink.LinkAdd(&netlink.Veth{
				LinkAttrs: attrs, PeerName: yName, PeerNamespace: netlink.NsFd(int(y.ns.Fd())),
			})
		})
		if err != unix.EEXIST {
			return xName, yName, err
		}
	}
	return "", "", fmt.Errorf("too many links: %w", err)
}

func (h *Host) setUp(name string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			return fmt.Errorf("%s: set up: %w", name, err)
		}
		return nil
	})
}

// configure gives one end its address and routes as the options want.
func (h *Host) configure(name string, prefix netip.Prefix, peer netip.Addr, o linkOptions) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		addr, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return fmt.Errorf("%s: address %s: %w", name, prefix, err)
		}
		if prefix.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("%s: address %s: %w", name, prefix, err)
		}
		for _, r := range o.defaultRoute {
			if r != h {
				continue
			}
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: peer.AsSlice()}
			if err := netlink.RouteAdd(route); err != nil {
				return fmt.Errorf("%s: default route through %s: %w", name, peer, err)
			}
		}
		return nil
	})
}

// deleteLink deletes an interface; a veth's other end goes with it.
func (h *Host) deleteLink(name string) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
}
