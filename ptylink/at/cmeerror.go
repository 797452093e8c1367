package at

import (
	"strconv"
	"strings"
)

// CMEError is a mobile termination error, 3GPP TS 27.007 9.2.1: the number behind +CME ERROR. Any number is a failure,
// known here or not.
type CMEError int

// Errors of 3GPP TS 27.007 9.2.1 and 9.2.2 in use.
const (
	ErrNotAllowed        CMEError = 3
	ErrNotSupported      CMEError = 4
	ErrNoService         CMEError = 30 // no network
	ErrNetworkTimeout    CMEError = 31
	ErrNotAllowedNetwork CMEError = 32
	ErrParameters        CMEError = 50
	ErrUnknown           CMEError = 100
)

// Errors of our own, above the numbers of 27.007: one for each cause that the BIP gateway tells apart.
const (
	ErrRefused        CMEError = 601 // the far end refused the connection
	ErrUnreachable    CMEError = 602
	ErrConnectTimeout CMEError = 603
	ErrName           CMEError = 604 // the name cannot be resolved
	ErrPolicy         CMEError = 605 // the egress policy denies the destination
	ErrNoChannel      CMEError = 606 // no such channel
	ErrChannelBusy    CMEError = 607
	ErrPortInUse      CMEError = 608
	ErrLocalAddress   CMEError = 609 // the local address is not one of the route to the destination
	ErrTooMany        CMEError = 610 // more connections than the line may have made in a time, or have ending
)

var cmeTexts = map[CMEError]string{
	ErrNotAllowed:        "operation not allowed",
	ErrNotSupported:      "operation not supported",
	ErrNoService:         "no network service",
	ErrNetworkTimeout:    "network timeout",
	ErrNotAllowedNetwork: "network not allowed - emergency calls only",
	ErrParameters:        "incorrect parameters",
	ErrUnknown:           "unknown",
	ErrRefused:           "connection refused",
	ErrUnreachable:       "destination unreachable",
	ErrConnectTimeout:    "connect timed out",
	ErrName:              "name cannot be resolved",
	ErrPolicy:            "denied by egress policy",
	ErrNoChannel:         "no such channel",
	ErrChannelBusy:       "channel busy",
	ErrPortInUse:         "port in use",
	ErrLocalAddress:      "local address not on the route",
	ErrTooMany:           "too many connections",
}

// Error gives number and text.
func (e CMEError) Error() string {
	s := "+CME ERROR: " + strconv.Itoa(int(e))
	if t, ok := cmeTexts[e]; ok {
		s += " (" + t + ")"
	}
	return s
}

// Text is what +CMEE=2 sends: the text of 27.007, or the number where there is none.
func (e CMEError) Text() string {
	if t, ok := cmeTexts[e]; ok {
		return t
	}
	return strconv.Itoa(int(e))
}

// parseCME reads what follows "+CME ERROR:", a number or a text; what is neither known nor a number is ErrUnknown.
func parseCME(s string) CMEError {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return CMEError(n)
	}
	for e, t := range cmeTexts {
		if strings.EqualFold(s, t) {
			return e
		}
	}
	return ErrUnknown
}
