package conformance

import (
	"fmt"
	"testing"

	"bipd/cat"
)

// line is one fault of other terminals that this one must not have.
type line struct {
	n    int
	part string // of a line with several cases
	name string
	run  func(k *testCase)
}

// testBehaviour runs the faults of other terminals, each with its number in the list of them.
func testBehaviour(t *testing.T) {
	seen := map[int]bool{}
	for _, l := range append(append(append(sendLines, receiveLines...), openLines...), terminalLines...) {
		seen[l.n] = true
		check(t, fmt.Sprintf("line %02d%s", l.n, l.part), l.name, l.run)
	}
	for n := 1; n <= 38; n++ {
		if !seen[n] {
			t.Errorf("line %d has no case", n)
		}
	}
}

// applet makes a case of one applet and the scripted network.
func applet(f func(a *app)) func(k *testCase) {
	return func(k *testCase) { play(k, options{}, f) }
}

// notBuilt is the case of a feature whose bit of the TERMINAL PROFILE is clear: refused is what has to hold then. It
// reports whether the feature is there.
func (b *bench) notBuilt(f cat.Facility, what string) {
	if !b.profile.Has(f.Octet, f.Bit) && !b.k.Failed() {
		b.k.Skipf("not built yet: octet %d bit %d of TERMINAL PROFILE is clear; %s, as it has to be", f.Octet, f.Bit, what)
	}
}

// modes are the three ways in which a link comes about.
var modes = map[string]byte{
	"immediate": cat.OpenImmediate, "background": cat.OpenImmediate | cat.OpenBackground, "on demand": 0,
}
