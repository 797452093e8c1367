// Package egress decides what a card may reach. A card is not trusted: whatever destination it names in OPEN CHANNEL
// (ETSI TS 102 223 clause 6.4.27) is checked here before a connection is made, by bipd for both methods and by apd
// for the proxy, from the same rules.
//
// Rules are tried in order and the first that matches decides; where none matches, the defaults do. By default a card
// reaches neither the gateway itself (loopback, unspecified, own addresses, routes of type local), nor its neighbours
// (own subnets, next hops, link-local, multicast, broadcast), nor anything else that IANA's registries of special-purpose
// addresses do not mark as globally reachable; it reaches everything else. A DNS server that the card was told of is
// open on port 53, unless it is the gateway itself or a rule denies it.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config is what makes a Policy.
type Config struct {
	Rules []Rule
	// Own are further addresses that count as the machine's own, alone or by prefix: those of the host where the
	// process runs in a network namespace.
	Own []string
	// File is the configuration file that the rules come from. Refusals name it.
	File string
	Host Host // nil: the Kernel of the process
}

// Policy is a checked list of rules. It is safe for concurrent use. The nil and the zero Policy have no rules: the
// defaults decide.
type Policy struct {
	rules []rule
	own   []netip.Prefix
	file  string
	host  Host // nil: the kernel of the process
}

// process is the host of policies that name none.
var process Kernel

// New checks the configuration. An error names the rule, counted from 1, and the field.
func New(cfg Config) (*Policy, error) {
	p := &Policy{file: cfg.File, host: cfg.Host}
	for _, s := range cfg.Own {
		prefix, err := parsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("egress: own_addresses: %q: %w", s, err)
		}
		p.own = append(p.own, prefix)
	}
	for i, r := range cfg.Rules {
		c, err := r.compile(i + 1)
		if err != nil {
			return nil, fmt.Errorf("egress: rule %d: %w", i+1, err)
		}
		p.rules = append(p.rules, c)
	}
	return p, nil
}

// Request is a connection that a card wants.
type Request struct {
	Card        string         // name of the card
	Network     string         // "tcp" or "udp"; as in package net a 4 or 6 may follow
	Destination netip.AddrPort // an IPv4-mapped IPv6 address is its IPv4 address
	Local       netip.Addr     // that the card wants to connect from; the zero Addr or an unspecified one: any
	Profile     string         // the network profile by which it is made; empty: none
	Interface   string         // that the connection will be bound to; empty: none, and the route to the destination decides
	DNS         []netip.Addr   // the DNS servers that the card was told of
}

// Denied is the error of a destination that the policy keeps a card from.
type Denied struct {
	Rule        string         // what decided: "rule 3 (deny 10.0.0.0/8)", counted from 1, or "default: loopback"
	File        string         // the configuration file that the rules come from; may be empty
	Card        string         // name of the card
	Network     string         // "tcp" or "udp"
	Destination netip.AddrPort // as it was asked for
	// Range is set where a default decided: an allow rule opens the destination only by a prefix within it.
	Range netip.Prefix
}

// Error names the card, the destination, the rule and the file.
func (d *Denied) Error() string {
	return fmt.Sprintf("egress: card %q may not reach %s %s: %v", d.Card, d.Network, d.Destination, d.reason())
}

// reason names the rule and the file alone, or the default and the rule of the file that would open it.
func (d *Denied) reason() error {
	of := ""
	if d.File != "" {
		of = " of " + d.File
	}
	if d.Range.IsValid() {
		return fmt.Errorf("%s (an allow rule%s for a prefix within %s would open it)", d.Rule, of, d.Range)
	}
	return errors.New(d.Rule + of)
}

// Check returns nil where the card may make the connection. It returns a *Denied where it may not reach the
// destination, and a *LocalError where it may not connect from the local address.
//
// An IPv6 address that carries IPv4 addresses of a translator or tunnel (NAT64, SIIT, 6to4, Teredo, ISATAP,
// IPv4-compatible) must pass as what it is and as each of them.
func (p *Policy) Check(r Request) error {
	deny := func(rule string, within netip.Prefix) error {
		return &Denied{Rule: rule, File: p.fileName(), Card: r.Card, Network: r.Network, Destination: r.Destination, Range: within}
	}
	transport := strings.TrimRight(r.Network, "46")
	if transport != "tcp" && transport != "udp" {
		return deny("default: transport not offered", netip.Prefix{})
	}
	if !r.Destination.IsValid() {
		return deny("default: not an address", netip.Prefix{})
	}
	host := p.hostOf()
	links, err := host.Links()
	if err != nil {
		return deny("default: own addresses are unknown: "+err.Error(), netip.Prefix{})
	}
	// Prefix.Contains is false for any address with a zone.
	dst := r.Destination.Addr().Unmap().WithZone("")
	ask := question{r.Card, strings.ToLower(r.Profile), r.Interface, transport, r.Destination.Port()}
	told := ask.port == dnsPort && slices.ContainsFunc(r.DNS, func(a netip.Addr) bool { return a.Unmap() == dst })
	var way Route // to dst
	var list [1 + maxEmbedded]netip.Addr
	for i, addr := range appendEmbedded(append(list[:0], dst), dst) {
		route, err := host.Route(addr, r.Interface)
		if err != nil {
			return deny("default: routes are unknown: "+err.Error(), netip.Prefix{})
		}
		if i == 0 {
			way = route
			if ask.iface == "" {
				ask.iface = links.Names[route.Interface]
			}
		}
		class, within := p.classify(addr, links, route)
		if rule, within := p.verdict(ask, addr, class, within, told); rule != "" {
			return deny(rule, within)
		}
	}
	return checkLocal(r, dst, links, way)
}

func (p *Policy) fileName() string {
	if p == nil {
		return ""
	}
	return p.file
}

func (p *Policy) hostOf() Host {
	if p == nil || p.host == nil {
		return &process
	}
	return p.host
}

// verdict returns "" where addr passes, else what denies it. class and within say why and in which range addr is denied
// by default, told that it is a DNS server's which the card was told of.
func (p *Policy) verdict(ask question, addr netip.Addr, class string, within netip.Prefix, told bool) (string, netip.Prefix) {
	if p != nil {
		for i := range p.rules {
			r := &p.rules[i]
			prefix, ok := r.match(ask, addr, within)
			switch {
			case !ok:
			case r.allow:
				return "", netip.Prefix{}
			default:
				return r.name(prefix), netip.Prefix{}
			}
		}
	}
	if class == "" || told && mayServe(class) {
		return "", netip.Prefix{}
	}
	return "default: " + class, within
}

// mayServe reports whether a server that cards may use can have an address of the class: one that is not the gateway
// itself, and not many.
func mayServe(class string) bool {
	switch class {
	case unspecified, loopback, multicast, broadcast, ownAddress:
		return false
	}
	return true
}
