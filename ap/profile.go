package ap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"bipd/egress"
	"bipd/ptylink"
	"bipd/ptylink/at"
)

// Profile is the way into one network, as the configuration file has it: the access point and what it takes to get in.
// The password prints as asterisks wherever it goes but into %NETPAR, and goes there only where Reveal says so.
type Profile struct {
	// Name is the network access name by which a card asks for the profile, in any case.
	Name string `toml:"name"`
	// Default marks the one profile that serves a card which names no network or an unknown one.
	Default     bool   `toml:"default,omitempty"`
	AccessPoint string `toml:"access_point,omitempty" comment:"empty: the name"`
	PDPType     string `toml:"pdp_type,omitempty" comment:"IP, IPV6 or IPV4V6 (3GPP TS 27.007 10.1.1); empty: IP"`
	// Cards are patterns of the cards that may use the profile, as in the egress rules; on the AP a card is its line's name.
	// nil: every card.
	Cards    []string       `toml:"cards,omitempty"`
	User     string         `toml:"user,omitempty"`
	Password ptylink.Secret `toml:"password,omitempty"`
	// Reveal tells a CP that asks for the network the user and the password as well. bipd needs neither.
	Reveal bool `toml:"reveal,omitempty"`
	// Interface binds the proxy's connections (SO_BINDTODEVICE); empty: the routing table decides.
	Interface string       `toml:"interface,omitempty"`
	DNS       []netip.Addr `toml:"dns,omitempty" comment:"two at most"`
	MTU       int          `toml:"mtu,omitempty" comment:"octets, 576 to 65535; 0: unknown"`
}

// Profiles finds profiles by network access name. It does not change, and nil has none.
type Profiles struct {
	byName   map[string]*Profile // key in lower case
	fallback *Profile
}

// NewProfiles checks the profiles and fills in what may be left out. An error names the profile, counted from 1, and
// the field, never a password.
func NewProfiles(list []Profile) (*Profiles, error) {
	ps := &Profiles{byName: make(map[string]*Profile)}
	for i, p := range list {
		fail := func(err error) error { return fmt.Errorf("ap: profile %d (%q): %w", i+1, p.Name, err) }
		if err := p.complete(); err != nil {
			return nil, fail(err)
		}
		key := strings.ToLower(p.Name)
		if ps.byName[key] != nil {
			return nil, fail(errors.New("name: another profile has it already"))
		}
		if p.Default && ps.fallback != nil {
			return nil, fail(fmt.Errorf("default: profile %q is the default already", ps.fallback.Name))
		}
		ps.byName[key] = &p
		if p.Default {
			ps.fallback = &p
		}
	}
	return ps, nil
}

// Lookup returns the profile by which a card may use the network of the access name, compared without regard to case; for
// an empty or unknown name the default profile. Where there is none, or it is not for the card, the error wraps
// at.ErrNoService: a card that may not use the network that it names is not sent to another one.
func (ps *Profiles) Lookup(nan, card string) (Profile, error) {
	var p *Profile
	if ps != nil {
		if p = ps.byName[strings.ToLower(nan)]; p == nil {
			p = ps.fallback
		}
	}
	switch {
	case p == nil:
		return Profile{}, fmt.Errorf("%w: no profile for network access name %q", at.ErrNoService, nan)
	case !egress.MatchAny(p.Cards, card):
		return Profile{}, fmt.Errorf("%w: profile %q is not for card %q", at.ErrNoService, p.Name, card)
	}
	return *p, nil
}

// complete fills in defaults and checks p. An error begins with the name of the field.
func (p *Profile) complete() error {
	if p.Name == "" {
		return errors.New("name: empty")
	}
	if p.AccessPoint == "" {
		p.AccessPoint = p.Name
	}
	if p.PDPType == "" {
		p.PDPType = "IP"
	}
	for _, text := range []struct {
		field, value string
		max          int
	}{
		{"name", p.Name, ptylink.MaxAccessPoint}, {"access_point", p.AccessPoint, ptylink.MaxAccessPoint},
		{"user", p.User, ptylink.MaxUser}, {"password", p.Password.Reveal(), ptylink.MaxPassword},
	} {
		if err := at.CheckText("it", text.value, text.max); err != nil {
			return fmt.Errorf("%s: %s", text.field, strings.TrimPrefix(err.Error(), at.ErrParameters.Error()+": "))
		}
	}
	if p.PDPType != "IP" && p.PDPType != "IPV6" && p.PDPType != "IPV4V6" {
		return fmt.Errorf("pdp_type: %q is none of IP, IPV6, IPV4V6", p.PDPType)
	}
	if !interfaceName(p.Interface) {
		return fmt.Errorf("interface: %q cannot be the name of an interface", p.Interface)
	}
	if err := egress.CheckPatterns("cards", p.Cards); err != nil {
		return err
	}
	if len(p.DNS) > 2 {
		return fmt.Errorf("dns: %d servers, two are possible", len(p.DNS))
	}
	for _, a := range p.DNS {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
			return fmt.Errorf("dns: %q cannot be a server's address", a)
		}
	}
	if p.MTU != 0 && (p.MTU < 576 || p.MTU > 65535) {
		return fmt.Errorf("mtu: %d is neither 0 nor 576 to 65535", p.MTU)
	}
	return nil
}

// interfaceName follows the kernel's dev_valid_name; "" stands for no interface.
func interfaceName(s string) bool {
	return len(s) < 16 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\x00\"\\")
}
