package bip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bipd/cat"
	"bipd/trace"
)

// Rule is one line of the route table. Each list that is empty matches everything.
type Rule struct {
	Bearers      []cat.BearerType
	AccessNames  []string // network access names, compared without case
	Networks     []string // "tcp", "udp"
	Destinations []netip.Prefix
	Method       trace.Method
}

func (r Rule) matches(req Request) bool {
	inPrefix := func(p netip.Prefix) bool { return p.Contains(req.Remote.Addr().Unmap()) }
	sameName := func(n string) bool { return strings.EqualFold(n, req.NetworkAccessName) }
	return (len(r.Bearers) == 0 || slices.Contains(r.Bearers, req.Bearer.Type)) &&
		(len(r.AccessNames) == 0 || slices.ContainsFunc(r.AccessNames, sameName)) &&
		(len(r.Networks) == 0 || slices.Contains(r.Networks, req.Network)) &&
		(len(r.Destinations) == 0 || slices.ContainsFunc(r.Destinations, inPrefix))
}

// Table routes by rules, first match first, then as a handset does: packet bearers by method 1, WLAN by method 2, the
// default bearer by method 2 where there is a line to an AP, else by method 1.
type Table struct {
	Rules   []Rule
	Method1 Bearer
	Method2 Bearer // nil: no AP is configured
}

// Route finds the bearer. UICC server mode and clients of the terminal's own applications need no network beyond the CP, so they
// take method 1. Without an AP, what would take method 2 has no network; circuit switched and local bearers are not built.
func (t *Table) Route(req Request) (Bearer, error) {
	switch {
	case req.Listen:
		if _, ok := t.Method1.(Listener); !ok {
			return nil, &Error{CauseTransport, fmt.Errorf("UICC server mode")}
		}
		return t.Method1, nil
	case req.OnTerminal:
		return t.Method1, nil
	case !built(req.Bearer.Type):
		return nil, &Error{CauseBearer, fmt.Errorf("%v", req.Bearer.Type)}
	}
	switch t.method(req) {
	case trace.Method2:
		if t.Method2 == nil {
			return nil, &Error{CauseNoNetwork, fmt.Errorf("method 2 needs a line to an AP, and none is configured")}
		}
		return t.Method2, nil
	default:
		return t.Method1, nil
	}
}

// built reports whether there are channels over such a bearer here.
func built(t cat.BearerType) bool {
	switch t {
	case cat.BearerPacket, cat.BearerDefault, cat.BearerCDMA, cat.BearerUTRAN, cat.BearerWLAN, cat.BearerEUTRAN, cat.BearerNGRAN:
		return true
	}
	return false
}

func (t *Table) method(req Request) trace.Method {
	for _, r := range t.Rules {
		if r.matches(req) {
			return r.Method
		}
	}
	if req.Bearer.Type == cat.BearerWLAN || req.Bearer.Type == cat.BearerDefault && t.Method2 != nil {
		return trace.Method2
	}
	return trace.Method1
}
