// Package egress decides what a card may reach. A card is not trusted: whatever destination it names in OPEN CHANNEL
// (ETSI TS 102 223 clause 6.4.27) is checked here before a connection is made, by bipd for its own stack and by apd
// for the proxy, from the same rules.
//
// Rules are tried in order and the first that matches decides; where none matches, the defaults do. By default a card
// reaches neither the gateway itself (loopback, unspecified, own addresses) nor what only the gateway's link can see
// (link-local, multicast, broadcast, private ranges), and everything else.
package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Policy is a checked list of rules. It is safe for concurrent use. The nil and the zero Policy have no rules: the
// defaults decide.
type Policy struct {
	rules []rule
	own   func() ([]netip.Prefix, error)
}

// Denied is the error of a destination that the policy keeps a card from.
type Denied struct {
	Rule        string         // what decided: "rule 3 (deny 10.0.0.0/8)", counted from 1, or "default: loopback"
	Card        string         // name of the card
	Network     string         // "tcp" or "udp"
	Destination netip.AddrPort // as it was asked for
	// Range is set where a default decided: an allow rule opens the destination only by a prefix within it.
	Range netip.Prefix
}

// Error names the card, the destination and the rule.
func (d *Denied) Error() string {
	msg := fmt.Sprintf("egress: card %q may not reach %s %s: %s", d.Card, d.Network, d.Destination, d.Rule)
	if d.Range.IsValid() {
		msg += fmt.Sprintf(" (an allow rule within %s would open it)", d.Range)
	}
	return msg
}

// New checks the rules. own lists the gateway's own addresses, each with the length of its subnet; it is called at
// each Check, for addresses come and go; nil stands for HostAddrs. An error names the rule, counted from 1, and the field.
func New(rules []Rule, own func() ([]netip.Prefix, error)) (*Policy, error) {
	p := &Policy{own: own}
	for i, r := range rules {
		c, err := r.compile(i + 1)
		if err != nil {
			return nil, fmt.Errorf("egress: rule %d: %w", i+1, err)
		}
		p.rules = append(p.rules, c)
	}
	return p, nil
}

// HostAddrs lists the addresses of all interfaces of the network namespace it runs in, with their subnets' lengths.
func HostAddrs() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Prefix
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			return nil, err
		}
		own = append(own, p)
	}
	return own, nil
}

// Check returns nil where the card may reach dst, else a *Denied. network is "tcp" or "udp", as in package net a 4 or
// 6 may follow. An IPv4-mapped IPv6 address is its IPv4 address. An IPv6 address that a translator or tunnel
// turns into an IPv4 one (NAT64, SIIT, 6to4, IPv4-compatible) must pass as what it is and as what it becomes.
func (p *Policy) Check(card, network string, dst netip.AddrPort) error {
	deny := func(rule string, within netip.Prefix) error {
		return &Denied{Rule: rule, Card: card, Network: network, Destination: dst, Range: within}
	}
	transport := strings.TrimRight(network, "46")
	if transport != "tcp" && transport != "udp" {
		return deny("default: transport not offered", netip.Prefix{})
	}
	if !dst.IsValid() {
		return deny("default: not an address", netip.Prefix{})
	}
	own, err := p.ownAddrs()
	if err != nil {
		return deny("default: own addresses are unknown: "+err.Error(), netip.Prefix{})
	}
	// Prefix.Contains is false for any address with a zone.
	addr := dst.Addr().Unmap().WithZone("")
	if rule, within := p.verdict(card, transport, addr, dst.Port(), own); rule != "" {
		return deny(rule, within)
	}
	if addr, ok := embedded(addr); ok {
		if rule, within := p.verdict(card, transport, addr, dst.Port(), own); rule != "" {
			return deny(rule, within)
		}
	}
	return nil
}

func (p *Policy) ownAddrs() ([]netip.Prefix, error) {
	if p == nil || p.own == nil {
		return HostAddrs()
	}
	return p.own()
}

// verdict returns "" where addr passes, else what denies it.
func (p *Policy) verdict(card, transport string, addr netip.Addr, port uint16, own []netip.Prefix) (string, netip.Prefix) {
	class, within := classify(addr, own)
	if p != nil {
		for i := range p.rules {
			r := &p.rules[i]
			prefix, ok := r.match(card, transport, addr, port, within)
			switch {
			case !ok:
			case r.allow:
				return "", netip.Prefix{}
			default:
				return r.name(prefix), netip.Prefix{}
			}
		}
	}
	if class != "" {
		return "default: " + class, within
	}
	return "", netip.Prefix{}
}
