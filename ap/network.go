package ap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bipd/ptylink"
)

// Status is the state of the access to the network.
type Status struct {
	Up        bool           // associated, where the access has associations, and with an address or a route
	Access    ptylink.Access // what the interface is made of
	Interface string         // the interface that gives the access; the one asked for where there is none
	Reason    string         // why it is not up, for logs
}

// Network tells whether there is a network. Implementers: Interfaces, and whoever knows the access better (WiFi).
type Network interface {
	// Status looks at the access through iface; empty: through any interface but loopback. An error is no answer,
	// not the answer that there is no network.
	Status(ctx context.Context, iface string) (Status, error)
}

// Interfaces is the Network as the kernel's interfaces show it (rtnetlink), in the network namespace of the process.
// An interface is up when it is administratively up, has a carrier or, for WLAN, an association (IFF_RUNNING), and
// has an address other than a link-local one; without a name, a route through the interface will do for an address.
type Interfaces struct{}

// Status implements Network. rtnetlink answers at once, so that ctx is not needed.
func (Interfaces) Status(_ context.Context, iface string) (Status, error) {
	if iface == "" {
		return anyInterface()
	}
	link, err := netlink.LinkByName(iface)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Status{Access: ptylink.AccessOther, Interface: iface, Reason: "no such interface"}, nil
	}
	if err != nil {
		return Status{}, fmt.Errorf("ap: interface %s: %w", iface, err)
	}
	reason, err := whyDown(link, false)
	if err != nil {
		return Status{}, fmt.Errorf("ap: interface %s: %w", iface, err)
	}
	return Status{Up: reason == "", Access: access(link), Interface: iface, Reason: reason}, nil
}

func anyInterface() (Status, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return Status{}, fmt.Errorf("ap: list interfaces: %w", err)
	}
	status := Status{Access: ptylink.AccessOther, Reason: "no interface but loopback"}
	for _, link := range links {
		if link.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		reason, err := whyDown(link, true)
		if err != nil {
			return Status{}, fmt.Errorf("ap: interface %s: %w", link.Attrs().Name, err)
		}
		if reason == "" {
			return Status{Up: true, Access: access(link), Interface: link.Attrs().Name}, nil
		}
		status.Reason = link.Attrs().Name + ": " + reason
	}
	return status, nil
}

// whyDown returns "" for an interface that is up.
func whyDown(link netlink.Link, routeWillDo bool) (string, error) {
	switch flags := link.Attrs().RawFlags; {
	case flags&unix.IFF_UP == 0:
		return "interface is down", nil
	case flags&unix.IFF_RUNNING == 0:
		return "no carrier or association", nil
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return "", err
	}
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			return "", nil
		}
	}
	if !routeWillDo {
		return "no address", nil
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return "", err
	}
	for _, r := range routes {
		if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() && !r.Dst.IP.IsMulticast() {
			return "", nil
		}
	}
	return "no address and no route", nil
}

// access tells WLAN from wired as sysfs shows the interface, which may be mounted for another network namespace.
func access(link netlink.Link) ptylink.Access {
	dir := "/sys/class/net/" + link.Attrs().Name
	if _, err := os.Stat(dir); err != nil {
		return ptylink.AccessOther
	}
	if _, err := os.Stat(dir + "/phy80211"); err == nil {
		return ptylink.AccessWLAN
	}
	if link.Type() == "device" && link.Attrs().EncapType == "ether" {
		return ptylink.AccessWired
	}
	return ptylink.AccessOther
}
