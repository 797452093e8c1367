package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"bipd/egress"
)

// A DNS server that no card can reach is refused, in either daemon's files; so is an own address that is none.
func TestEgressFaults(t *testing.T) {
	const (
		line    = "profiles = \"/x\"\n[[line]]\nname = \"c\"\npath = \"/y\"\n"
		profile = "[[profile]]\nname = \"a\"\n"
		deny    = "[[egress.rule]]\naction = \"deny\"\nprefix = [\"9.0.0.0/8\"]\n"
		some    = "[[egress.rule]]\naction = \"deny\"\nprefix = [\"9.0.0.0/8\"]\ncards = [\"a*\"]\n"
		tcp     = "[[egress.rule]]\naction = \"deny\"\nprefix = [\"9.0.0.0/8\"]\ntransport = [\"udp\"]\n"
		open    = "[[egress.rule]]\naction = \"allow\"\nprefix = [\"127.0.0.53\"]\ncards = [\"a*\"]\n"
		own     = "[egress]\nown_addresses = [\"7.7.7.7\"]\n"
	)
	for name, tc := range map[string]struct{ egress, server, want string }{
		"loopback":              {"", "127.0.0.53", "default: loopback"},
		"loopback opened":       {open, "127.0.0.53", ""},
		"unspecified":           {"", "::", ""}, // ap has its own words
		"multicast":             {"", "224.0.0.251", ""},
		"own":                   {own, "7.7.7.7", "default: own address"},
		"denied by a rule":      {deny, "9.9.9.9", "rule 1 (deny 9.0.0.0/8)"},
		"denied to some cards":  {some, "9.9.9.9", "-"},
		"denied by UDP":         {tcp, "9.9.9.9", "-"},
		"private":               {"", "10.0.0.53", "-"},
		"public":                {"", "2620:fe::9", "-"},
		"an IPv6 zone":          {"", "fe80::1%eth0", ""},
		"translated loopback":   {"", "64:ff9b::7f00:1", "default: loopback"},
		"loopback, IPv4-mapped": {"", "::ffff:127.0.0.1", "default: loopback"},
	} {
		opened := name == "loopback opened"
		fails := tc.want != "-" && !opened
		t.Run(name, func(t *testing.T) {
			_, err := LoadBipd(write(t, "bipd.toml", "[kernel]\ndns = [\""+tc.server+"\"]\n"+tc.egress, 0o644))
			if (err != nil) != fails || fails && (!strings.Contains(err.Error(), tc.server) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("bipd: %v, want %q", err, tc.want)
			}
			a, err := LoadApd(write(t, "apd.toml", line+tc.egress, 0o644))
			if err != nil {
				t.Fatal(err)
			}
			_, err = LoadProfiles(write(t, "profiles.toml", profile+"dns = [\""+tc.server+"\"]\n", 0o600), a.Egress)
			if (err != nil) != fails || fails && (!strings.Contains(err.Error(), tc.server) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("apd: %v, want %q", err, tc.want)
			}
		})
	}
	of := deny + "profiles = [\"A\"]\n"
	a, err := LoadApd(write(t, "apd.toml", line+of, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": false, "b": true} {
		file := write(t, "profiles.toml", "[[profile]]\nname = \""+name+"\"\ndns = [\"9.9.9.9\"]\n", 0o600)
		if _, err := LoadProfiles(file, a.Egress); (err == nil) != want {
			t.Errorf("a rule that keeps profile a from the server of profile %s: %v", name, err)
		}
	}
	bad := "[egress]\nown_addresses = [\"7.7.7.7/24\"]\n"
	if _, err := LoadBipd(write(t, "bipd.toml", bad, 0o644)); err == nil || !strings.Contains(err.Error(), "own_addresses") {
		t.Errorf("bipd: own addresses: %v", err)
	}
	if _, err := LoadApd(write(t, "apd.toml", line+bad, 0o644)); err == nil || !strings.Contains(err.Error(), "own_addresses") {
		t.Errorf("apd: own addresses: %v", err)
	}
}

// A refusal names the file whose rule decided, and own addresses of the configuration count.
func TestPolicyOfFile(t *testing.T) {
	file := write(t, "bipd.toml", "[egress]\nown_addresses = [\"7.7.7.0/24\"]\n[[egress.rule]]\naction = \"deny\"\nports = [\"25\"]\n", 0o644)
	c, err := LoadBipd(file)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := c.Egress.Policy()
	if err != nil {
		t.Fatal(err)
	}
	for dst, want := range map[string]string{"8.8.8.8:25": "rule 1 (deny any) of " + file, "7.7.7.9:443": "default: own address (an allow rule of " + file + " for a prefix within 7.7.7.9/32 would open it)"} {
		err := policy.Check(egress.Request{Card: "c", Network: "tcp", Destination: netip.MustParseAddrPort(dst)})
		var d *egress.Denied
		if !errors.As(err, &d) || !strings.HasPrefix(want, d.Rule) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dst, err, want)
		}
	}
}
