package main

import (
	"testing"

	"bipd/trace"
)

// A ladder of more events than are kept says so.
func TestKept(t *testing.T) {
	k := kept{max: 3}
	for i := range 5 {
		if err := k.add(trace.Event{Source: "apd", Bytes: i}); err != nil {
			t.Fatal(err)
		}
		_ = k.add(trace.Event{APDU: "80F2000000"})
	}
	_ = k.add(trace.LostEvent("apd", 7, "slow"))
	all := k.all()
	if len(all) != 4 || all[2].Bytes != 2 || all[3].Lost != 9 || all[3].From != trace.AP {
		t.Errorf("kept %+v", all)
	}
}
