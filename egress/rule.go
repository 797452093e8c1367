package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule is one rule as the configuration file has it. A list that is left out matches anything; a list that is there
// matches by any of its entries; all of the lists must match.
//
// A deny rule matches whatever its prefixes contain. An allow rule does not match a destination that is denied by
// default unless one of its prefixes lies within that default's range: 0.0.0.0/0 allows what is public,
// 127.0.0.0/8 loopback, 10.1.0.0/16 a part of a private range, 192.168.1.1 the gateway's own address on its LAN.
type Rule struct {
	Action    string   `toml:"action" comment:"allow or deny"`
	Prefix    []string `toml:"prefix,omitempty" comment:"10.0.0.0/8, 2001:db8::/32, or one address; 0.0.0.0/0 and ::/0 are one family each"`
	Ports     []string `toml:"ports,omitempty" comment:"443 or 8000-8100"`
	Transport []string `toml:"transport,omitempty" comment:"tcp, udp"`
	Cards     []string `toml:"cards,omitempty" comment:"card names; * is any run of characters, ? any one octet"`
	// Profiles are patterns of the network profiles by which apd connects, in any case; bipd knows none.
	Profiles []string `toml:"profiles,omitempty"`
	// Interfaces are patterns of the network interface that a connection is bound to, or else leaves by.
	Interfaces []string `toml:"interfaces,omitempty"`
}

// rule is a checked Rule. A nil list matches anything.
type rule struct {
	index      int
	allow      bool
	prefixes   []netip.Prefix
	ports      []portRange
	transports []string
	cards      []string
	profiles   []string // in lower case
	interfaces []string
}

// question is what a rule is asked about a connection, besides the address.
type question struct {
	card, profile, iface string // profile in lower case
	transport            string // "tcp" or "udp"
	port                 uint16
}

type portRange struct{ first, last uint16 }

// compile checks r. An error begins with the name of the field.
func (r Rule) compile(index int) (rule, error) {
	c := rule{index: index, transports: r.Transport, cards: r.Cards, interfaces: r.Interfaces}
	switch r.Action {
	case "allow":
		c.allow = true
	case "deny":
	default:
		return rule{}, fmt.Errorf("action: %q is neither \"allow\" nor \"deny\"", r.Action)
	}
	var err error
	if c.prefixes, err = parseList("prefix", r.Prefix, parsePrefix); err != nil {
		return rule{}, err
	}
	if c.ports, err = parseList("ports", r.Ports, parsePorts); err != nil {
		return rule{}, err
	}
	if c.transports, err = parseList("transport", r.Transport, parseTransport); err != nil {
		return rule{}, err
	}
	if err := CheckPatterns("cards", r.Cards); err != nil {
		return rule{}, err
	}
	if err := CheckPatterns("profiles", r.Profiles); err != nil {
		return rule{}, err
	}
	for _, p := range r.Profiles {
		c.profiles = append(c.profiles, strings.ToLower(p))
	}
	if err := CheckPatterns("interfaces", r.Interfaces); err != nil {
		return rule{}, err
	}
	return c, nil
}

// parseList parses each entry. An empty list that is there is an error: it could mean anything or nothing.
func parseList[T any](field string, list []string, parse func(string) (T, error)) ([]T, error) {
	if list == nil {
		return nil, nil
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: empty list; leave it out to match anything", field)
	}
	out := make([]T, 0, len(list))
	for _, s := range list {
		v, err := parse(s)
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", field, s, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// parsePrefix takes a prefix or one address. An IPv4-mapped one becomes IPv4, as destinations do.
func parsePrefix(s string) (netip.Prefix, error) {
	var p netip.Prefix
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return netip.Prefix{}, errors.New("not a prefix such as 10.0.0.0/8")
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errors.New("neither a prefix such as 10.0.0.0/8 nor an address without zone")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits set beyond its length; did you mean %s?", p.Masked())
	}
	if p.Addr().Is4In6() { // masked, hence at least 96 bits
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

func parsePorts(s string) (portRange, error) {
	first, last, isRange := strings.Cut(s, "-")
	a, err := parsePort(first)
	if err != nil {
		return portRange{}, err
	}
	if !isRange {
		return portRange{a, a}, nil
	}
	b, err := parsePort(last)
	if err != nil {
		return portRange{}, err
	}
	if a > b {
		return portRange{}, errors.New("range runs backwards")
	}
	return portRange{a, b}, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("not a port 1 to 65535 nor a range such as 8000-8100")
	}
	return uint16(n), nil
}

func parseTransport(s string) (string, error) {
	if s != "tcp" && s != "udp" {
		return "", errors.New("neither \"tcp\" nor \"udp\"")
	}
	return s, nil
}

// CheckPatterns returns an error, which names the field, for a list of patterns of names that is there and empty, or holds
// an empty one.
func CheckPatterns(field string, patterns []string) error {
	_, err := parseList(field, patterns, func(s string) (string, error) {
		if s == "" {
			return "", errors.New("empty name; * matches any")
		}
		return s, nil
	})
	return err
}

// MatchAny reports whether a pattern matches the name: * is any run of characters, ? any one octet. A nil list matches
// every name.
func MatchAny(patterns []string, name string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(glob string) bool { return matchGlob(glob, name) })
}

// match says whether the rule decides, and by which prefix (invalid: it has none). within is the range that addr is
// denied in by default, invalid where it is not.
func (r *rule) match(q question, addr netip.Addr, within netip.Prefix) (netip.Prefix, bool) {
	if r.transports != nil && !slices.Contains(r.transports, q.transport) ||
		r.ports != nil && !slices.ContainsFunc(r.ports, func(p portRange) bool { return p.first <= q.port && q.port <= p.last }) ||
		!MatchAny(r.cards, q.card) || !MatchAny(r.profiles, q.profile) || !MatchAny(r.interfaces, q.iface) {
		return netip.Prefix{}, false
	}
	explicit := !r.allow || !within.IsValid()
	if r.prefixes == nil {
		return netip.Prefix{}, explicit
	}
	for _, p := range r.prefixes {
		if p.Contains(addr) && (explicit || p.Bits() >= within.Bits()) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// name is the rule as it stands in errors and logs.
func (r *rule) name(prefix netip.Prefix) string {
	what := "any"
	if prefix.IsValid() {
		what = prefix.String()
	}
	action := "deny"
	if r.allow {
		action = "allow"
	}
	return fmt.Sprintf("rule %d (%s %s)", r.index, action, what)
}

// matchGlob matches a whole name: * is any run of characters, ? any one octet, all others stand for themselves.
// Readers' names hold brackets and slashes, so neither is special.
func matchGlob(glob, name string) bool {
	star, mark := -1, 0 // the last *, and where in name its run ends
	g, n := 0, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && (glob[g] == '?' || glob[g] == name[n]):
			g++
			n++
		case star >= 0:
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[g:], "*") == ""
}
