package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/softuicc"
)

const file = "../../docs/terminal-answers.md"

// The page says what the terminal answers today.
func TestUpToDate(t *testing.T) {
	testkit.NoLeaks(t)
	want, err := page(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go generate ./internal/answers. The first line that differs: %s", file, difference(got, want))
	}
}

func difference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "\nhave " + g[i] + "\nwant " + w[i]
		}
	}
	return "one page is longer"
}

// Every type of command that is known is asked with a command that is right: nobody refuses a sample for its form.
func TestSamples(t *testing.T) {
	for i := range 256 {
		typ := cat.CommandType(i)
		if !typ.Known() {
			continue
		}
		for _, c := range commands(typ) {
			if found := cat.LintCommand(c, cat.LintContext{}); cat.Errors(found) {
				t.Errorf("%v: %v", typ, found)
			}
		}
	}
}

// The claims are those of the very profile that a card gets.
func TestClaims(t *testing.T) {
	for _, term := range []terminal{asBipd, full} {
		w := &writer{ctx: t.Context()}
		claimed := w.profile(term)
		if w.err != nil {
			t.Fatal(w.err)
		}
		for _, f := range cat.Facilities(claimed) {
			if f.Name() == "" {
				t.Errorf("%s: octet %d bit %d has no name", term.name, f.Octet, f.Bit)
			}
		}
		if got := sentProfile(t, term); !bytes.Equal(got, claimed) {
			t.Errorf("%s: the card gets %X, claimed is %X", term.name, got, claimed)
		}
	}
}

// sentProfile is the TERMINAL PROFILE as a card got it.
func sentProfile(t *testing.T, term terminal) []byte {
	r := softuicc.NewReader("reader")
	profile := make(chan []byte, 1)
	card, err := softuicc.New(softuicc.Config{Applets: []softuicc.Applet{func(_ context.Context, tk *softuicc.Toolkit) error {
		profile <- tk.Profile()
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Insert(card); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), askTime)
	done := make(chan error, 1)
	go func() { done <- cp.New(term.config(r)).Run(ctx) }()
	defer func() {
		cancel()
		select {
		case <-done:
		case <-time.After(askTime):
			t.Error("the CP does not end")
		}
		card.Close()
	}()
	select {
	case p := <-profile:
		return p
	case <-ctx.Done():
		t.Fatal("no TERMINAL PROFILE")
		return nil
	}
}
