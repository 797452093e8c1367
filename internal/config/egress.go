package config

import (
	"errors"
	"fmt"
	"net/netip"

	"bipd/ap"
	"bipd/egress"
)

// Egress says what cards may reach.
type Egress struct {
	// OwnAddresses are addresses and prefixes that count as the machine's own beside those of its interfaces.
	OwnAddresses []string      `toml:"own_addresses"`
	Rules        []egress.Rule `toml:"rule"`

	file string
}

// Policy is what the rules make.
func (e Egress) Policy() (*egress.Policy, error) {
	return egress.New(egress.Config{Rules: e.Rules, Own: e.OwnAddresses, File: e.file})
}

// check checks the rules, and that cards can reach the DNS servers that the key names, by the profile that has them.
func (e Egress) check(key string, dns []netip.Addr, by ap.Profile) error {
	policy, err := e.Policy()
	if err != nil {
		return err
	}
	var errs []error
	for _, server := range dns {
		if err := policy.CheckDNS(server, by.Name, by.Interface); err != nil {
			errs = append(errs, fmt.Errorf("%s: no card can reach %s: %w", key, server, err))
		}
	}
	return errors.Join(errs...)
}

// withoutProfiles refuses rules for profiles, which are apd's: here they would never match.
func (e Egress) withoutProfiles() error {
	for i, r := range e.Rules {
		if r.Profiles != nil {
			return fmt.Errorf("egress: rule %d: profiles: only apd knows them", i+1)
		}
	}
	return nil
}
