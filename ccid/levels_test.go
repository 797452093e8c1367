package ccid

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"bipd/internal/ccidemu"
	"bipd/softuicc"
	"bipd/uicc"
)

// Answers to reset. TA1 94 is a rate that some readers do not reach; the last two offer T=1, with LRC and CRC.
const (
	atrPlain   = "3B02 1450"
	atrFast    = "3B12 94 1450"
	atrSlowest = "3B12 18 1450"
	atrT1      = "3B92 94 81 31 FE 45 1450 9F"
	atrBoth    = "3B92 94 80 01 1450"
)

func TestMain(m *testing.M) { m.Run() }

var _ = fmt.Sprint
var _ = bytes.Equal
var _ = context.Background
var _ uicc.Card

// A session of a UICC runs over every model of reader, and neither reader nor card finds fault with the driver.
func TestSessionOnEveryModel(t *testing.T) {
	for _, m := range ccidemu.Models() {
		t.Run(m.Name, func(t *testing.T) {
			if m.Name == ccidemu.Characters().Name {
				t.Skip("see TestCharacterLevel")
			}
			noLeaks(t)
			r, d := emulated(t, m, Config{})
			insert(t, r, newCard(t, softuicc.Config{}))
			c := connect(t, d.Slots()[0])
			want(t, c, "00A40004023F00", "9000")
			want(t, c, "00A40000022FE2 00", "9000")
			rapdu := want(t, c, "00B000000A", "9000")
			if len(rapdu) != 12 {
				t.Errorf("READ BINARY: %X", rapdu)
			}
			want(t, c, "80F2000000", "9000")
			want(t, c, "80F2000C", "9000")
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			obedient(t, r)
		})
	}
}
