package main

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

// lineForm is what readers of the output rely on.
var lineForm = regexp.MustCompile(`^bench [a-z]+\.[a-z0-9_]+ ([0-9.]+|-) (us|ns|MB/s|APDU/s|bytes|kB|allocs|%) ratio=([0-9.e+-]+|-) peer=\S+ rounds=\d+$`)

func fixed(v ...float64) measurement {
	i := 0
	return func(context.Context, time.Duration) (float64, error) {
		i++
		return v[(i-1)%len(v)], nil
	}
}

func failing(context.Context, time.Duration) (float64, error) { return 0, errors.New("no such\nthing") }

func TestLines(t *testing.T) {
	noStand := func(context.Context) (stand, error) { return stand{}, errors.New("no pty") }
	for _, tc := range []struct {
		figure figure
		want   string
		fails  bool
	}{
		{figure{name: "a.b", unit: "us", peer: "bare reads", prepare: always(stand{ours: fixed(3, 100, 2), peer: fixed(1, 2, 50)})},
			"bench a.b 3 us ratio=1.5 peer=bare_reads rounds=3", false},
		{figure{name: "a.c", unit: "bytes", peer: "none is known", rounds: 1, prepare: always(stand{ours: fixed(1234567)})},
			"bench a.c 1234567 bytes ratio=- peer=none_is_known rounds=1", false},
		{figure{name: "a.d", unit: "ns", peer: "x", prepare: always(stand{ours: fixed(42), peer: failing})},
			"bench a.d 42.0 ns ratio=- peer=failed:_no_such_thing rounds=3", false},
		{figure{name: "a.e", unit: "ns", peer: "x", prepare: always(stand{ours: failing, peer: fixed(1)})},
			"bench a.e - ns ratio=- peer=failed:_no_such_thing rounds=0", true},
		{figure{name: "a.f", unit: "kB", peer: "x", prepare: noStand}, "bench a.f - kB ratio=- peer=failed:_no_pty rounds=0", true},
	} {
		var out bytes.Buffer
		err := run(t.Context(), &out, []figure{tc.figure}, "a.", settings{rounds: 3})
		if got := strings.TrimSpace(out.String()); got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%s, error %v\nwant %s, error %v", got, err, tc.want, tc.fails)
		}
		if !lineForm.MatchString(tc.want) {
			t.Errorf("%s is not of the form", tc.want)
		}
	}
	if err := run(t.Context(), new(bytes.Buffer), figures(), "nothing", settings{rounds: 1}); err == nil {
		t.Error("a prefix that no figure has is no error")
	}
}

// Ours and the peer take turns, and who begins does too.
func TestRoundsAlternate(t *testing.T) {
	order := ""
	note := func(s string) measurement {
		return func(context.Context, time.Duration) (float64, error) { order += s; return 1, nil }
	}
	f := figure{name: "a.b", prepare: always(stand{ours: note("o"), peer: note("p"), close: func() { order += "." }})}
	if err := run(t.Context(), new(bytes.Buffer), []figure{f}, "", settings{rounds: 3}); err != nil || order != "oppoop." {
		t.Errorf("order %s, %v", order, err)
	}
}

// Each figure can be measured here with its peer; those that build programs only where time is no matter.
func TestFigures(t *testing.T) {
	want := []string{"bip.cycle", "trace.cost", "ccid.apdu", "cat.decode", "cat.decode_allocs", "cat.encode", "cat.encode_allocs", "mux.raw", "mux.n31", "mux.n127", "mux.n512", "mux.n1500",
		"mux.n31_dlcs7", "mux.n127_dlcs7", "mux.n512_dlcs7", "mux.n1500_dlcs7",
		"mux.at_latency", "mux.at_latency_loaded", "mux.share115200", "mux.share115200_checked", "proxy.rate", "proxy.policy_cost", "size.bipd", "size.apd", "rss.bipd", "rss.apd"}
	list := figures()
	if len(list) != len(want) {
		t.Errorf("%d figures, want %d", len(list), len(want))
	}
	for i, f := range list {
		if i < len(want) && f.name != want[i] {
			t.Errorf("figure %s, want %s", f.name, want[i])
		}
		if f.name == "ccid.apdu" { // it needs a guest; see TestWithoutGuest
			continue
		}
		builds := strings.HasPrefix(f.name, "size.") || strings.HasPrefix(f.name, "rss.")
		if builds && (testing.Short() || f.name == "size.apd" || f.name == "rss.bipd") { // one of each does for both daemons
			continue
		}
		late := time.AfterFunc(5*time.Minute, func() { panic(f.name + " does not come to an end") }) // with the stacks of all
		line, err := f.measure(t.Context(), settings{1, 5 * time.Millisecond})
		late.Stop()
		alone := strings.HasSuffix(f.name, "_allocs") // a count needs no peer
		if err != nil || !lineForm.MatchString(line) || strings.Contains(line, " - ") || strings.Contains(line, "ratio=-") != alone {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Where no guest can run its figure is printed with the reason, and is no failure.
func TestWithoutGuest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	err := run(t.Context(), &out, figures(), "ccid.apdu", settings{1, time.Millisecond})
	if line := strings.TrimSpace(out.String()); err != nil || !lineForm.MatchString(line) || !strings.Contains(line, " - APDU/s ratio=- peer=failed:_no_guest_here") {
		t.Errorf("%s, %v", line, err)
	}
}
