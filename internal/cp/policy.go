package cp

import (
	"errors"
	"net/netip"

	"bipd/bip"
	"bipd/egress"
)

// allow judges a connection by method 1.
func (c *CP) allow(r bip.Request, dns []netip.Addr) error {
	return judge(c.cfg.Policy, egress.Request{
		Card: r.Card, Network: r.Network, Destination: r.Remote, Local: r.Local, Interface: c.cfg.Interface, DNS: dns,
	})
}

// judge gives a refusal of the policy its cause.
func judge(policy *egress.Policy, r egress.Request) error {
	err := policy.Check(r)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*egress.LocalError)):
		return &bip.Error{Cause: bip.CauseLocal, Err: err}
	}
	return &bip.Error{Cause: bip.CauseDenied, Err: err}
}
