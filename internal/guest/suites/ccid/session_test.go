//go:build guest

package ccid

import (
	"bytes"
	"fmt"
	"testing"

	"bipd/internal/guest"
	"bipd/uicc"
)

// The answers to reset of two software UICCs.
const (
	firstATR  = "3B056669727374"
	secondATR = "3B067365636F6E64"
)

// A terminal's session with a USIM: files, the toolkit, resets.
func TestInsideSession(t *testing.T) {
	guest.Ask(t, "soft", firstATR)
	reader := anyReader(t, drive(t, bus{}))
	card := connect(t, reader)
	if got := fmt.Sprintf("%X", card.ATR()); got != firstATR {
		t.Errorf("ATR %s, want %s", got, firstATR)
	}
	files := func() {
		send(t, card, "00A40004023F00", "62*9000") // SELECT MF: 61xx and GET RESPONSE are settled
		send(t, card, "00A40004022FE2", "62*9000") // EF_ICCID
		send(t, card, "00B000000A", "98*9000")     // READ BINARY
		send(t, card, "00B0000000", "98*9000")     // without a length: 6Cxx is settled
		send(t, card, "00A4040410A0000000871002FFFFFFFF890302000000", "62*9000")
		send(t, card, "00A40004026F07", "62*9000") // EF_IMSI
		send(t, card, "00B0000009", "08*9000")
		send(t, card, "00A40004026FFF", "6A82") // no such file
		send(t, card, "80F2000000", "62*9000")  // STATUS
		send(t, card, "00FF000000", "6D00")     // no such instruction
	}
	toolkit := func() {
		response := send(t, card, "8010000003"+"010008", "91..") // TERMINAL PROFILE: profile download, MORE TIME
		fetched := send(t, card, fmt.Sprintf("80120000%02X", response[1]), "D0 09 8103..0200 82028182 9000")
		send(t, card, fmt.Sprintf("801400000C8103%02X0200820282818301 00", fetched[4]), "9000")
		guest.Ask(t, "judge", "")
	}
	files()
	toolkit()
	for _, kind := range []uicc.ResetKind{uicc.ColdReset, uicc.WarmReset} {
		if err := card.Reset(testContext(t), kind); err != nil {
			t.Fatalf("reset %d: %v", kind, err)
		}
		files()
	}
	if err := card.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	card = connect(t, reader)
	files()

	// Many exchanges of all lengths stay in step.
	want := send(t, card, "00A40004023F00", "62*9000")
	for range 200 {
		if got := send(t, card, "00A40004023F00", "62*9000"); !bytes.Equal(got, want) {
			t.Fatalf("%X, want %X", got, want)
		}
		send(t, card, "00A40004026FFF", "6A82")
	}
}
