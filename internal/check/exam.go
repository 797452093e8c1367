package check

import (
	"fmt"

	"bipd/cat"
	"bipd/uicc"
)

// Instructions of the toolkit (ETSI TS 102 221 table 10.5).
const (
	insTerminalProfile  = 0x10
	insFetch            = 0x12
	insTerminalResponse = 0x14
	insVerify           = 0x20
	insSelect           = 0xA4
	insReadRecord       = 0xB2
	insEnvelope         = 0xC2
	insStatus           = 0xF2
)

// exam watches one card. All but its writer is for the card's goroutine.
type exam struct {
	w       *lockedWriter
	context cat.LintContext
	command []byte // fetched and not answered yet; nil: none
	result  Result
}

// activated begins a session of a card.
func (e *exam) activated(atr []byte) {
	e.begin()
	e.result.Sessions++
	e.printf("ATR %X\n", atr)
	for _, line := range describeATR(atr) {
		e.printf("   %s\n", line)
	}
}

// begin forgets what a reset takes from the card.
func (e *exam) begin() {
	if e.command != nil {
		e.printf("<- no response: the card is reset\n")
	}
	e.context, e.command = cat.LintContext{}, nil
}

// reset is a reset that the card has asked for.
func (e *exam) reset() {
	e.begin()
	e.printf("-- the card is reset\n")
}

// silent is an APDU without an answer.
func (e *exam) silent(capdu []byte, err error) {
	e.result.CardFaults++
	e.printf("   the card does not answer %s: %v\n", apduName(capdu), err)
}

// exchanged is an APDU with its answer.
func (e *exam) exchanged(capdu, rapdu []byte) {
	data, sw, err := uicc.SplitResponse(rapdu)
	if err != nil || len(capdu) < 4 {
		e.silent(capdu, err)
		return
	}
	if toolkit := capdu[0] == 0x80 || capdu[0] == 0xA0; toolkit {
		switch capdu[1] {
		case insTerminalProfile:
			e.profile(body(capdu))
		case insFetch:
			e.fetched(data)
		case insTerminalResponse:
			e.answered(body(capdu))
		case insEnvelope:
			e.envelope(body(capdu))
		}
	}
	e.statusWord(capdu, sw)
}

// body is the data of a command APDU.
func body(capdu []byte) []byte {
	if len(capdu) <= 5 || len(capdu) < 5+int(capdu[4]) {
		return nil
	}
	return capdu[5 : 5+int(capdu[4])]
}

func (e *exam) profile(data []byte) {
	e.context = cat.LintContext{Tracked: true, Profile: append([]byte{}, data...)}
	e.printf("TERMINAL PROFILE %X\n", data)
	for _, f := range cat.Facilities(data) {
		e.printf("   octet %2d bit %d  %s\n", f.Octet, f.Bit, f.Name())
	}
}

func (e *exam) fetched(command []byte) {
	if len(command) == 0 {
		return // its status word says why
	}
	e.command = append([]byte{}, command...)
	e.result.Commands++
	e.printf("-> %s\n", cat.DescribeCommand(command))
	for _, f := range cat.LintCommand(command, e.context) {
		e.printf("   %v\n", f)
		if f.Severity == cat.SeverityError {
			e.result.Errors++
		} else {
			e.result.Warnings++
		}
	}
}

func (e *exam) answered(response []byte) {
	e.printf("<- %s\n", cat.DescribeResponse(response))
	r, _, err := cat.ParseResponse(response)
	if err == nil && r.Result.General >= 0x20 {
		e.result.Refused++
		switch r.Result.General {
		case cat.ResultNetworkUnable:
			e.result.NoNetwork++
		case cat.ResultBIPError:
			e.result.NoConnection++
		}
	}
	e.context.Learn(e.command, response)
	e.command = nil
}

func (e *exam) envelope(data []byte) {
	env, err := cat.ParseEnvelope(data)
	if err != nil {
		e.printf("<- ENVELOPE %X\n", data)
		return
	}
	what := ""
	if t, ok := cat.Find(env.Objects, cat.TagChannelStatus); ok {
		if s, err := cat.ParseChannelStatus(t.Value); err == nil {
			what = ": " + s.String()
		}
	}
	e.printf("<- %v%s\n", env, what)
}

// statusWord judges how the card took an APDU. Only what breaks off a toolkit session is the card's fault.
func (e *exam) statusWord(capdu []byte, sw uicc.StatusWord) {
	ins := capdu[1]
	toolkit := capdu[0] == 0x80 || capdu[0] == 0xA0
	switch {
	case sw.OK():
	case ins == insReadRecord && (sw == uicc.SWRecordNotFound || sw == uicc.SWFileNotFound), // the end of EF_DIR
		ins == insVerify && sw&0xFFF0 == 0x63C0 && len(capdu) <= 5,       // how many tries are left
		ins == insSelect && sw == uicc.SWClassNotSupported,               // a class A0 card
		ins == insStatus && sw.Warning(),                                 // a warning about the selected file
		ins == insStatus && len(capdu) > 3 && capdu[3] == 0x0C,           // the form without data is not known to all cards
		ins == insEnvelope && (sw == uicc.SWToolkitBusy || sw.Warning()): // it comes again
	case toolkit && ins == insTerminalProfile:
		e.cardFault(capdu, sw, "the card has no toolkit, or does not take this profile")
	case toolkit && ins == insFetch:
		e.cardFault(capdu, sw, "it had announced a command by 91xx")
	case toolkit && ins == insTerminalResponse:
		e.cardFault(capdu, sw, "the response is right by the specification, or the terminal is at fault: look at the line above")
	default:
		e.result.StatusWords++
		e.printf("   %s is answered %v\n", apduName(capdu), sw)
	}
}

func (e *exam) cardFault(capdu []byte, sw uicc.StatusWord, what string) {
	e.result.CardFaults++
	e.printf("   fault [TS 102 221 11.2]: the card answers %s by %v: %s\n", apduName(capdu), sw, what)
}

// apduNames are for people.
var apduNames = map[byte]string{insTerminalProfile: "TERMINAL PROFILE", insFetch: "FETCH", insTerminalResponse: "TERMINAL RESPONSE",
	insVerify: "VERIFY", insSelect: "SELECT", insReadRecord: "READ RECORD", insEnvelope: "ENVELOPE", insStatus: "STATUS"}

// apduName names an APDU without its data, which may be secret.
func apduName(capdu []byte) string {
	if len(capdu) < 2 {
		return "an APDU"
	}
	if name, ok := apduNames[capdu[1]]; ok {
		return name
	}
	return fmt.Sprintf("the APDU %02X %02X", capdu[0], capdu[1])
}
