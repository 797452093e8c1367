package cp

import (
	"encoding/hex"
	"slices"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// Instructions whose data are secret (ETSI TS 102 221 table 10.5), and those whose response may be a proactive command.
const (
	insVerify, insChangePIN, insDisablePIN, insEnablePIN, insUnblockPIN = 0x20, 0x24, 0x26, 0x28, 0x2C
	insAuthenticate                                                     = 0x88
	insFetch, insGetResponse                                            = 0x12, 0xC0
)

// tap traces a raw exchange with the card. PINs and keys are masked, and the login and password of an OPEN CHANNEL;
// lengths are kept.
func (c *CP) tap(capdu, rapdu []byte, start time.Time, _ time.Duration) {
	if !c.cfg.Trace.Wanted() {
		return
	}
	e := trace.Event{Time: start, Card: c.cfg.Name, From: trace.CP, To: trace.UICC, What: "APDU",
		APDU: hex.EncodeToString(maskCommand(capdu))}
	if rapdu == nil {
		e.Err = "no answer"
	} else {
		e.RAPDU = hex.EncodeToString(maskResponse(capdu, rapdu))
	}
	c.cfg.Trace.Emit(e)
}

func maskCommand(capdu []byte) []byte {
	if len(capdu) <= 5 {
		return capdu
	}
	switch capdu[1] {
	case insVerify, insChangePIN, insDisablePIN, insEnablePIN, insUnblockPIN, insAuthenticate:
		shown := slices.Clone(capdu)
		clear(shown[5:])
		return shown
	}
	return capdu
}

// maskResponse masks the response to capdu; the status word stays.
func maskResponse(capdu, rapdu []byte) []byte {
	n := len(rapdu) - 2
	if len(capdu) < 2 || n <= 0 {
		return rapdu
	}
	var data []byte
	switch ins := capdu[1]; {
	case ins == insFetch, ins == insGetResponse && rapdu[0] == 0xD0:
		data = cat.Mask(rapdu[:n])
	case ins == insAuthenticate:
		data = make([]byte, n)
	default:
		return rapdu
	}
	return append(data, rapdu[n:]...)
}
