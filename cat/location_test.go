package cat

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
)

// TestLocationChanges tells each change to a card that has asked for it, the last of several that came while it was busy, and nothing
// that is not new.
func TestLocationChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home := unhex(t, "00F11000010001")
		now := Location{LocationLimited, home} // the session's goroutine asks
		card := newTestCard(t)
		b := runSession(t, card, Config{}, func(s *Session) { NewLocationService(s, func() Location { return now }) })
		change := func(status ...byte) {
			b.do(func() {
				for _, s := range status {
					now = Location{s, home}
				}
			})
		}
		var got []string
		told := func(want ...string) {
			t.Helper()
			b.do(func() {})
			for _, e := range card.envelopes {
				got = append(got, fmt.Sprintf("%X", e.Append(nil)[10:]))
			}
			card.envelopes = nil
			if !slices.Equal(got, want) {
				t.Errorf("told %v, want %v", got, want)
			}
			got = nil
		}
		const normal, limited, none = "0100930700F11000010001", "0101", "0102"
		change(LocationNormal)
		told() // it has not asked
		b.subscribe(EventLocationStatus)
		told(normal)
		change(LocationLimited)
		told(limited)
		change(LocationNormal, LocationNoService)
		told(none)
		change(LocationNormal, LocationNoService)
		told()
		b.subscribe()
		change(LocationNormal)
		told()
		b.subscribe(EventLocationStatus)
		told(normal)
		b.stop()
	})
}
