package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"bipd/internal/netbed"
	"bipd/trace"
)

// network is the three hosts of the demonstration. The addresses are of the ranges for documentation (RFC 5737): they
// exist nowhere else.
//
//	method 1   cp ---- internet      ap has no way out
//	method 2   ap ---- internet      cp has no interface but lo
type network struct {
	method           trace.Method
	cp, ap, internet *netbed.Host
	server           netip.Addr
}

func newNet(bed *netbed.Bed, m trace.Method) (*network, error) {
	n := &network{method: m, server: netip.MustParseAddr("203.0.113.80")}
	for _, h := range []struct {
		name string
		host **netbed.Host
	}{{"cp", &n.cp}, {"ap", &n.ap}, {"internet", &n.internet}} {
		var err error
		if *h.host, err = bed.Host(h.name); err != nil {
			return nil, err
		}
	}
	inside := n.cp
	if m == trace.Method2 {
		inside = n.ap
	}
	return n, bed.Link(inside, n.internet, "203.0.113.2/24", "203.0.113.80/24")
}

// describe shows who makes the connections, and what interfaces each host has.
func (n *network) describe(w io.Writer, server string) error {
	stack := "CP"
	if n.method == trace.Method2 {
		stack = "AP"
	}
	fmt.Fprintf(w, "\n%v: the TCP/IP stack of the %s makes the connections\n", n.method, stack)
	for _, h := range []*netbed.Host{n.cp, n.ap, n.internet} {
		names, err := h.Interfaces()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  namespace %-8s has the interfaces %s\n", h, strings.Join(names, ", "))
	}
	fmt.Fprintf(w, "  server %v is %s\n", n.server, server)
	return n.verify()
}

// verify proves that in method 2 no packet of the download can have passed through the CP's own namespace.
func (n *network) verify() error {
	if n.method != trace.Method2 {
		return nil
	}
	names, err := n.cp.Interfaces()
	if err == nil && !slices.Equal(names, []string{"lo"}) {
		err = fmt.Errorf("the CP's namespace has the interfaces %v, and should have none but lo", names)
	}
	return err
}
