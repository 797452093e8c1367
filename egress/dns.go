package egress

import (
	"errors"
	"net/netip"
)

// dnsPort is the port of DNS over TCP and UDP (RFC 1035 clause 4.2).
const dnsPort = 53

// CheckDNS returns an error where no card, whatever its name, may reach port 53 of a DNS server that it was told of,
// neither by UDP nor by TCP. profile is the network profile that tells of the server and iface the interface that it binds
// to, if any.
func (p *Policy) CheckDNS(server netip.Addr, profile, iface string) error {
	if server.Zone() != "" {
		return errors.New("a card cannot name a zone")
	}
	some := &Policy{host: p.hostOf()}
	if p != nil {
		some.own, some.file = p.own, p.file
		for _, r := range p.rules {
			anyWay := r.interfaces == nil || iface != "" // else the route is not known yet
			if r.allow {
				if r.cards = nil; !anyWay {
					r.interfaces = nil
				}
			} else if r.cards != nil || !anyWay {
				continue // others remain
			}
			some.rules = append(some.rules, r)
		}
	}
	r := Request{Network: "udp", Destination: netip.AddrPortFrom(server, dnsPort), DNS: []netip.Addr{server}, Profile: profile, Interface: iface}
	err := some.Check(r)
	if err == nil {
		return nil
	}
	r.Network = "tcp"
	if some.Check(r) == nil {
		return nil
	}
	var d *Denied
	if errors.As(err, &d) {
		return d.reason()
	}
	return err
}
