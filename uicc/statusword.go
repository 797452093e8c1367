package uicc

import "fmt"

// StatusWord is SW1 SW2, the last two bytes of every response APDU, SW1 in the high byte (ETSI TS 102 221 clause
// 10.2.1; for class A0, 3GPP TS 51.011 clause 9.4).
type StatusWord uint16

// Status words with one meaning of their own.
const (
	SWOK                   StatusWord = 0x9000 // normal ending of the command
	SWToolkitBusy          StatusWord = 0x9300 // application toolkit busy: the envelope may be sent again later
	SWWrongLength          StatusWord = 0x6700
	SWChannelNotSupported  StatusWord = 0x6881 // logical channel not supported
	SWSecurityNotSatisfied StatusWord = 0x6982
	SWConditionsNotMet     StatusWord = 0x6985 // conditions of use not satisfied
	SWIncorrectData        StatusWord = 0x6A80
	SWFunctionNotSupported StatusWord = 0x6A81
	SWFileNotFound         StatusWord = 0x6A82
	SWRecordNotFound       StatusWord = 0x6A83
	SWIncorrectP1P2        StatusWord = 0x6A86
	SWWrongP1P2            StatusWord = 0x6B00
	SWInsNotSupported      StatusWord = 0x6D00 // instruction code not supported or invalid
	SWClassNotSupported    StatusWord = 0x6E00
	SWTechnicalProblem     StatusWord = 0x6F00 // no precise diagnosis
)

// SplitResponse parts a response APDU into its data and its status word. The data is a part of rapdu, capped so that
// appending to it does not touch the status word. It is an error where rapdu is shorter than a status word.
func SplitResponse(rapdu []byte) (data []byte, sw StatusWord, err error) {
	n := len(rapdu) - 2
	if n < 0 {
		return nil, 0, fmt.Errorf("uicc: response of %d bytes has no status word", len(rapdu))
	}
	return rapdu[:n:n], StatusWord(rapdu[n])<<8 | StatusWord(rapdu[n+1]), nil
}

// SW1 is the first status byte.
func (sw StatusWord) SW1() byte { return byte(sw >> 8) }

// SW2 is the second status byte.
func (sw StatusWord) SW2() byte { return byte(sw) }

// Bytes are SW1 and SW2 in the order of the wire.
func (sw StatusWord) Bytes() [2]byte { return [2]byte{sw.SW1(), sw.SW2()} }

// OK says that the command ended normally and no response data waits for GET RESPONSE: 9000, 91xx, and 920x (an
// update that succeeded after x internal retries).
func (sw StatusWord) OK() bool {
	return sw == SWOK || sw.SW1() == 0x91 || sw&0xFFF0 == 0x9200
}

// Proactive tells whether a proactive command waits for FETCH (91xx, TS 102 221 clause 7.4.2), and its length in bytes,
// 1 to 256.
func (sw StatusWord) Proactive() (length int, ok bool) {
	if sw.SW1() != 0x91 {
		return 0, false
	}
	return lengthOf(sw.SW2()), true
}

// ResponseAvailable tells whether response data waits for GET RESPONSE (61xx; class A0: 9Fxx, and 9Exx where the data
// belongs to a download error), and how many bytes, 1 to 256. For 6100 there may be more than 256.
func (sw StatusWord) ResponseAvailable() (length int, ok bool) {
	switch sw.SW1() {
	case 0x61, 0x9F, 0x9E:
		return lengthOf(sw.SW2()), true
	}
	return 0, false
}

// WrongLe tells whether the card refused the expected length Le (6Cxx), and which one is right, 1 to 256.
func (sw StatusWord) WrongLe() (le int, ok bool) {
	if sw.SW1() != 0x6C {
		return 0, false
	}
	return lengthOf(sw.SW2()), true
}

// Warning says that the command was processed with a warning (62xx, 63xx; TS 102 221 clause 10.2.1.3).
func (sw StatusWord) Warning() bool { return sw.SW1() == 0x62 || sw.SW1() == 0x63 }

// lengthOf decodes a length byte of the short form, in which 00 stands for 256.
func lengthOf(b byte) int {
	if b == 0 {
		return 256
	}
	return int(b)
}

// String gives the four digits and the meaning.
func (sw StatusWord) String() string {
	return fmt.Sprintf("%04X (%s)", uint16(sw), sw.Meaning())
}

// Meaning says in words what sw means.
func (sw StatusWord) Meaning() string {
	if s, ok := meanings[sw]; ok {
		return s
	}
	if s := sw.countMeaning(); s != "" {
		return s
	}
	if s, ok := groupMeanings[sw.SW1()]; ok {
		return s
	}
	return "unknown status"
}

// countMeaning is the meaning of the status words that carry a number; empty for all others.
func (sw StatusWord) countMeaning() string {
	n := lengthOf(sw.SW2())
	switch {
	case sw.SW1() == 0x91:
		return fmt.Sprintf("OK, proactive command of %d bytes waits", n)
	case sw.SW1() == 0x61, sw.SW1() == 0x9F:
		return fmt.Sprintf("OK, %d bytes of response data wait", n)
	case sw.SW1() == 0x9E:
		return fmt.Sprintf("data download error, %d bytes of response data wait", n)
	case sw.SW1() == 0x6C:
		return fmt.Sprintf("wrong length Le, %d bytes are available", n)
	case sw&0xFFF0 == 0x9200:
		return fmt.Sprintf("OK after %d internal retries", sw.SW2())
	case sw&0xFFF0 == 0x63C0:
		return fmt.Sprintf("warning: verification failed, %d tries remain", sw.SW2()&0x0F)
	}
	return ""
}

// meanings are the status words of TS 102 221 clause 10.2.1 and, for class A0, TS 51.011 clause 9.4.
var meanings = map[StatusWord]string{
	SWOK:                   "OK",
	SWToolkitBusy:          "application toolkit is busy",
	0x9240:                 "memory problem",
	0x9402:                 "out of range (invalid address)",
	0x9404:                 "file not found",
	0x9408:                 "file is inconsistent with the command",
	0x9804:                 "access condition not fulfilled",
	0x9808:                 "in contradiction with CHV status",
	0x9810:                 "in contradiction with invalidation status",
	0x9840:                 "CHV blocked",
	0x9850:                 "increase cannot be performed, maximum value reached",
	0x9862:                 "authentication error, application specific",
	0x9863:                 "security session or association expired",
	0x6200:                 "warning: no information given",
	0x6281:                 "warning: part of returned data may be corrupted",
	0x6282:                 "warning: end of file or record reached before Le bytes were read",
	0x6283:                 "warning: selected file invalidated",
	0x6285:                 "warning: selected file in termination state",
	0x62F1:                 "warning: more data available",
	0x62F2:                 "warning: more data available and proactive command waits",
	0x62F3:                 "warning: response data available",
	0x63F1:                 "warning: more data expected",
	0x63F2:                 "warning: more data expected and proactive command waits",
	0x6400:                 "execution error, memory unchanged",
	0x6500:                 "execution error, memory changed",
	0x6581:                 "memory problem",
	SWWrongLength:          "wrong length",
	0x6800:                 "functions in CLA not supported",
	SWChannelNotSupported:  "logical channel not supported",
	0x6882:                 "secure messaging not supported",
	0x6900:                 "command not allowed",
	0x6981:                 "command incompatible with file structure",
	SWSecurityNotSatisfied: "security status not satisfied",
	0x6983:                 "authentication method or PIN blocked",
	0x6984:                 "referenced data invalidated",
	SWConditionsNotMet:     "conditions of use not satisfied",
	0x6986:                 "command not allowed, no EF selected",
	0x6989:                 "command not allowed, secure channel security not satisfied",
	SWIncorrectData:        "incorrect parameters in the data field",
	SWFunctionNotSupported: "function not supported",
	SWFileNotFound:         "file not found",
	SWRecordNotFound:       "record not found",
	0x6A84:                 "not enough memory space",
	SWIncorrectP1P2:        "incorrect parameters P1 to P2",
	0x6A87:                 "Lc inconsistent with P1 to P2",
	0x6A88:                 "referenced data not found",
	SWWrongP1P2:            "wrong parameters P1 to P2",
	SWInsNotSupported:      "instruction code not supported or invalid",
	SWClassNotSupported:    "class not supported",
	SWTechnicalProblem:     "technical problem, no precise diagnosis",
}

// groupMeanings serve where SW2 is not known or means nothing of its own.
var groupMeanings = map[byte]string{
	0x62: "warning, memory unchanged",
	0x63: "warning, memory changed",
	0x64: "execution error, memory unchanged",
	0x65: "execution error, memory changed",
	0x67: "wrong length",
	0x68: "functions in CLA not supported",
	0x69: "command not allowed",
	0x6A: "wrong parameters",
	0x6B: "wrong parameters P1 to P2",
	0x6D: "instruction code not supported or invalid",
	0x6E: "class not supported",
	0x6F: "technical problem",
	0x92: "memory problem",
	0x94: "referencing error",
	0x98: "security error",
}
