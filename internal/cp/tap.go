package cp

import (
	"encoding/hex"
	"slices"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// Instructions whose response may be a proactive command (ETSI TS 102 221 table 10.5).
const insFetch, insGetResponse = 0x12, 0xC0

// secretData are the instructions whose data are secret, or may be: PINs and what unblocks them, challenges, keys (ETSI TS
// 102 221 table 10.5; ISO/IEC 7816-4 table 4, whose odd ones have the data in BER-TLV; GlobalPlatform's PUT KEY).
var secretData = map[byte]bool{
	0x20: true, 0x21: true, // VERIFY
	0x24: true, 0x25: true, // CHANGE PIN
	0x26: true, 0x27: true, // DISABLE PIN
	0x28: true, 0x29: true, // ENABLE PIN
	0x2C: true, 0x2D: true, // UNBLOCK PIN
	0x82: true, 0x83: true, // EXTERNAL AUTHENTICATE
	0x86: true, 0x87: true, // GENERAL AUTHENTICATE
	0x88: true, 0x89: true, // AUTHENTICATE, RUN GSM ALGORITHM
	0xD8: true, 0xD9: true, // PUT KEY
}

// secretResponse are those whose response is secret: keys that a session is protected with.
var secretResponse = map[byte]bool{0x86: true, 0x87: true, 0x88: true, 0x89: true}

// tap traces the raw exchanges of one session. PINs and keys are masked, and the login and password of a proactive
// command; lengths are kept. It is for the goroutine that owns the card.
type tap struct {
	c    *CP
	last byte // instruction of the last command but GET RESPONSE, which brings the rest of its response
}

func (t *tap) exchange(capdu, rapdu []byte, start time.Time, _ time.Duration) {
	if len(capdu) > 1 && capdu[1] != insGetResponse {
		t.last = capdu[1]
	}
	c := t.c
	if !c.cfg.Trace.Wanted() {
		return
	}
	e := trace.Event{Time: start, Card: c.cfg.Name, From: trace.CP, To: trace.UICC, What: "APDU",
		APDU: hex.EncodeToString(maskCommand(capdu))}
	if rapdu == nil {
		e.Err = "no answer"
	} else {
		e.RAPDU = hex.EncodeToString(maskResponse(t.last, capdu, rapdu))
	}
	c.cfg.Trace.Emit(e)
}

func maskCommand(capdu []byte) []byte {
	if len(capdu) <= 5 || !secretData[capdu[1]] {
		return capdu
	}
	shown := slices.Clone(capdu)
	clear(shown[5:])
	return shown
}

// maskResponse masks the response to capdu, or to the command of the instruction last where capdu is GET RESPONSE; the
// status word stays.
func maskResponse(last byte, capdu, rapdu []byte) []byte {
	n := len(rapdu) - 2
	if len(capdu) < 2 || n <= 0 {
		return rapdu
	}
	var data []byte
	switch {
	case secretResponse[last]:
		data = make([]byte, n)
	case last == insFetch, capdu[1] == insGetResponse && rapdu[0] == 0xD0:
		data = cat.Mask(rapdu[:n])
	default:
		return rapdu
	}
	return append(data, rapdu[n:]...)
}
