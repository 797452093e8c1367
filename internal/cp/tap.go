package cp

import (
	"encoding/hex"
	"time"

	"bipd/trace"
)

const insVerify, insUnblock, insAuthenticate = 0x20, 0x2C, 0x88

// tap traces a raw exchange with the card. The bodies of commands that carry a PIN or a key are masked, their lengths kept.
func (c *CP) tap(capdu, rapdu []byte, start time.Time, _ time.Duration) {
	if !c.cfg.Trace.Wanted() {
		return
	}
	shown, answer := capdu, rapdu
	if len(capdu) > 5 {
		switch capdu[1] {
		case insVerify, insVerify + 4, insUnblock, insAuthenticate:
			shown = append([]byte{}, capdu...)
			clear(shown[5:])
		}
	}
	if len(capdu) > 1 && capdu[1] == insAuthenticate && len(rapdu) > 2 {
		answer = rapdu[len(rapdu)-2:]
	}
	e := trace.Event{Time: start, Card: c.cfg.Name, From: trace.CP, To: trace.UICC, What: "APDU", APDU: hex.EncodeToString(shown)}
	if rapdu == nil {
		e.Err = "no answer"
	} else {
		e.RAPDU = hex.EncodeToString(answer)
	}
	c.cfg.Trace.Emit(e)
}
