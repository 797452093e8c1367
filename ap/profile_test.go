package ap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bipd/ptylink/at"
)

func TestProfiles(t *testing.T) {
	ps, err := NewProfiles([]Profile{{Name: "Internet.Example"}, {Name: "m2m", AccessPoint: "apn", PDPType: "IPV6", Default: true}})
	if err != nil {
		t.Fatal(err)
	}
	for nan, want := range map[string]string{
		"internet.example": "Internet.Example", "INTERNET.EXAMPLE": "Internet.Example", "M2M": "m2m", "": "m2m", "internet": "m2m",
	} {
		if p, err := ps.Lookup(nan, "card0"); err != nil || p.Name != want {
			t.Errorf("%q gives %+v, %v, want %s", nan, p, err, want)
		}
	}
	if p, _ := ps.Lookup("internet.example", "card0"); p.AccessPoint != "Internet.Example" || p.PDPType != "IP" {
		t.Errorf("defaults are not filled in: %+v", p)
	}
	if p, _ := ps.Lookup("m2m", "card0"); p.AccessPoint != "apn" || p.PDPType != "IPV6" {
		t.Errorf("values are not kept: %+v", p)
	}
}

// Without a default an empty or unknown name has no profile.
func TestNoDefaultProfile(t *testing.T) {
	ps, err := NewProfiles([]Profile{{Name: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ps := range []*Profiles{ps, nil, {}} {
		for _, nan := range []string{"", "two"} {
			if p, err := ps.Lookup(nan, "card0"); !errors.Is(err, at.ErrNoService) {
				t.Errorf("%q gives %+v, %v", nan, p, err)
			}
		}
	}
}

// A profile that names its cards serves no other, also where it is the default; a card is not sent to the default instead.
func TestProfileCards(t *testing.T) {
	ps, err := NewProfiles([]Profile{
		{Name: "vpn", Cards: []string{"meter-*", "card0"}}, {Name: "internet", Default: true, Cards: []string{"meter-?"}}, {Name: "open"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ nan, card, want string }{
		{"vpn", "meter-17", "vpn"}, {"VPN", "card0", "vpn"}, {"vpn", "card1", ""}, {"vpn", "Meter-1", ""},
		{"", "meter-1", "internet"}, {"other", "meter-1", "internet"}, {"", "meter-17", ""}, {"open", "card1", "open"},
	} {
		p, err := ps.Lookup(tc.nan, tc.card)
		if p.Name != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, at.ErrNoService) {
			t.Errorf("%q for %s gives %q, %v, want %q", tc.nan, tc.card, p.Name, err, tc.want)
		}
	}
}

func TestProfileValidation(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.53")
	for _, c := range []struct {
		list []Profile
		want []string
	}{
		{[]Profile{{}}, []string{"profile 1", "name"}},
		{[]Profile{{Name: "a"}, {Name: "b", PDPType: "PPP"}}, []string{"profile 2", `"b"`, "pdp_type", "PPP"}},
		{[]Profile{{Name: "a"}, {Name: "A"}}, []string{"profile 2", "name"}},
		{[]Profile{{Name: "a", Default: true}, {Name: "b", Default: true}}, []string{"profile 2", "default", `"a"`}},
		{[]Profile{{Name: strings.Repeat("a", 101)}}, []string{"name", "100"}},
		{[]Profile{{Name: "a", AccessPoint: "x\ry"}}, []string{"access_point"}},
		{[]Profile{{Name: "a", User: strings.Repeat("u", 65)}}, []string{"user", "64"}},
		{[]Profile{{Name: "a", Password: "s3cret\n"}}, []string{"password"}},
		{[]Profile{{Name: "a", Interface: "wlan0/1"}}, []string{"interface", "wlan0/1"}},
		{[]Profile{{Name: "a", Interface: "interface-too-lg"}}, []string{"interface"}},
		{[]Profile{{Name: "a", DNS: []netip.Addr{addr, addr, addr}}}, []string{"dns", "3"}},
		{[]Profile{{Name: "a", DNS: []netip.Addr{{}}}}, []string{"dns"}},
		{[]Profile{{Name: "a", DNS: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}}, []string{"dns", "fe80::1%eth0"}},
		{[]Profile{{Name: "a", Cards: []string{}}}, []string{"cards", "empty list"}},
		{[]Profile{{Name: "a", Cards: []string{"x", ""}}}, []string{"cards", "empty name"}},
		{[]Profile{{Name: "a", MTU: 575}}, []string{"mtu", "575"}},
		{[]Profile{{Name: "a", MTU: 65536}}, []string{"mtu"}},
	} {
		_, err := NewProfiles(c.list)
		if err == nil {
			t.Errorf("%+v: no error", c.list)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: error %q lacks %q", c.list, err, w)
			}
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("error %q has the password", err)
		}
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	ps, err := NewProfiles([]Profile{{Name: "a", Password: "s3cret", Default: true}})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := ps.Lookup("a", "card0")
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%+v %#v %q", p, p, p.Password)} {
		if strings.Contains(s, "s3cret") {
			t.Errorf("printed: %s", s)
		}
	}
}
