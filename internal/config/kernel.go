package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"bipd/bip"
)

// Kernel is the host's own TCP/IP stack, which method 1 uses.
type Kernel struct {
	Interface   string       `toml:"interface"`    // bind to it; empty = as the host routes
	DNS         []netip.Addr `toml:"dns"`          // told to cards where the AP names none
	Listen      string       `toml:"listen"`       // address on which cards may serve TCP clients; empty = not offered
	ListenPorts []string     `toml:"listen_ports"` // ports and ranges; nil = bip.DefaultListenPorts
	ListenFrom  []string     `toml:"listen_from"`  // prefixes and addresses that may connect; nil = this machine
}

// ListenOn is the address of UICC server mode; the zero Addr where it is not offered.
func (k Kernel) ListenOn() (netip.Addr, error) {
	if k.Listen == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(k.Listen)
	if err != nil {
		err = fmt.Errorf("kernel.listen: %q is not an IP address", k.Listen)
	}
	return a, err
}

// PortRanges are the ports that cards may listen on; nil stands for those of package bip.
func (k Kernel) PortRanges() ([]bip.PortRange, error) {
	list, err := parseEach(k.ListenPorts, parsePortRange)
	if err != nil {
		err = fmt.Errorf("kernel.listen_ports: %w", err)
	}
	return list, err
}

// Clients are the addresses that may connect to cards; nil stands for this machine's.
func (k Kernel) Clients() ([]netip.Prefix, error) {
	list, err := parseEach(k.ListenFrom, parsePrefix)
	if err != nil {
		err = fmt.Errorf("kernel.listen_from: %w", err)
	}
	return list, err
}

func (k Kernel) check() error {
	_, address := k.ListenOn()
	_, ports := k.PortRanges()
	_, clients := k.Clients()
	return errors.Join(address, ports, clients)
}

// parseEach parses each of a list. One that is empty would mean everything or nothing, and is an error.
func parseEach[T any](texts []string, parse func(string) (T, error)) ([]T, error) {
	if texts == nil {
		return nil, nil
	}
	if len(texts) == 0 {
		return nil, errors.New("empty list; leave it out for the default")
	}
	var list []T
	for _, text := range texts {
		v, err := parse(text)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// parsePortRange reads "8080" or "8000-8100".
func parsePortRange(text string) (bip.PortRange, error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || a == 0 || a > b {
		return bip.PortRange{}, fmt.Errorf("%q is neither a port, 1 to 65535, nor a range such as 8000-8100", text)
	}
	return bip.PortRange{First: uint16(a), Last: uint16(b)}, nil
}

// parsePrefix reads "192.0.2.0/24" or an address, which stands for itself.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is neither an address nor a prefix such as 192.0.2.0/24", text)
	case p != p.Masked():
		return p, fmt.Errorf("%q has bits set beyond its length; did you mean %v?", text, p.Masked())
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%q: write it as an IPv4 prefix", text)
	}
	return p, nil
}
