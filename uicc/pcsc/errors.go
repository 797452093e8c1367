package pcsc

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"bipd/uicc"
)

// ErrDaemon is wrapped by every error about pcscd itself: it does not run, turns the client away, ends, or speaks
// another protocol.
var ErrDaemon = errors.New("pcsc: pcscd cannot be used")

// Code is a result of the WinSCard API, and an error for errors.Is to find in *Error.
type Code uint32

// Results that this package tells apart or explains.
const (
	Success               Code = 0
	ErrCancelled          Code = 0x80100002
	ErrInvalidHandle      Code = 0x80100003
	ErrInsufficientBuffer Code = 0x80100008
	ErrUnknownReader      Code = 0x80100009
	ErrTimeout            Code = 0x8010000A
	ErrSharingViolation   Code = 0x8010000B
	ErrNoSmartcard        Code = 0x8010000C
	ErrProtoMismatch      Code = 0x8010000F
	ErrNotReady           Code = 0x80100010
	ErrInvalidValue       Code = 0x80100011
	ErrCommError          Code = 0x80100013
	ErrNotTransacted      Code = 0x80100016
	ErrReaderUnavailable  Code = 0x80100017
	ErrNoService          Code = 0x8010001D
	ErrServiceStopped     Code = 0x8010001E
	ErrNoReaders          Code = 0x8010002E
	ErrCommDataLost       Code = 0x8010002F
	WarnUnsupportedCard   Code = 0x80100065
	WarnUnresponsiveCard  Code = 0x80100066
	WarnUnpoweredCard     Code = 0x80100067
	WarnResetCard         Code = 0x80100068
	WarnRemovedCard       Code = 0x80100069
)

// codes are the names of the results, what they mean and what to do, and the error of package uicc that each of them is.
var codes = map[Code]struct {
	name, text string
	is         error
}{
	ErrCancelled:          {"SCARD_E_CANCELLED", "cancelled", nil},
	ErrInvalidHandle:      {"SCARD_E_INVALID_HANDLE", "pcscd knows this connection no more", uicc.ErrRemoved},
	ErrInsufficientBuffer: {"SCARD_E_INSUFFICIENT_BUFFER", "the response is longer than a short APDU allows", nil},
	ErrUnknownReader:      {"SCARD_E_UNKNOWN_READER", "there is no reader of this name", uicc.ErrRemoved},
	ErrTimeout:            {"SCARD_E_TIMEOUT", "the card does not answer", uicc.ErrMute},
	ErrSharingViolation:   {"SCARD_E_SHARING_VIOLATION", "another program uses the card; end it first (scdaemon, a browser, another bipd)", nil},
	ErrNoSmartcard:        {"SCARD_E_NO_SMARTCARD", "no card is inserted", uicc.ErrRemoved},
	ErrProtoMismatch:      {"SCARD_E_PROTO_MISMATCH", "the card offers neither T=0 nor T=1", nil},
	ErrNotReady:           {"SCARD_E_NOT_READY", "the reader is not ready", nil},
	ErrInvalidValue:       {"SCARD_E_INVALID_VALUE", "pcscd knows this card or reader no more", uicc.ErrRemoved},
	ErrCommError:          {"SCARD_F_COMM_ERROR", "reader and card do not understand each other", uicc.ErrMute},
	ErrNotTransacted:      {"SCARD_E_NOT_TRANSACTED", "the card gave no answer", uicc.ErrMute},
	ErrReaderUnavailable:  {"SCARD_E_READER_UNAVAILABLE", "the reader is gone", uicc.ErrRemoved},
	ErrNoService:          {"SCARD_E_NO_SERVICE", "pcscd is stopping", uicc.ErrRemoved},
	ErrServiceStopped:     {"SCARD_E_SERVICE_STOPPED", "pcscd is stopping", uicc.ErrRemoved},
	ErrNoReaders:          {"SCARD_E_NO_READERS_AVAILABLE", "no reader is attached", uicc.ErrRemoved},
	ErrCommDataLost:       {"SCARD_E_COMM_DATA_LOST", "reader and card lost data", uicc.ErrMute},
	WarnUnsupportedCard:   {"SCARD_W_UNSUPPORTED_CARD", "the reader cannot use this card", nil},
	WarnUnresponsiveCard:  {"SCARD_W_UNRESPONSIVE_CARD", "the card does not answer a reset; is it the right way round?", uicc.ErrMute},
	WarnUnpoweredCard:     {"SCARD_W_UNPOWERED_CARD", "the card has no power; is it the right way round?", uicc.ErrMute},
	WarnResetCard:         {"SCARD_W_RESET_CARD", "another program has reset the card", nil},
	WarnRemovedCard:       {"SCARD_W_REMOVED_CARD", "the card was removed", uicc.ErrRemoved},
}

// String gives the name and the number.
func (c Code) String() string {
	if e, ok := codes[c]; ok {
		return fmt.Sprintf("%s %08X", e.name, uint32(c))
	}
	return fmt.Sprintf("%08X", uint32(c))
}

// Error gives what String gives.
func (c Code) Error() string { return c.String() }

// Error is a request that pcscd refused. errors.Is finds its Code in it, and uicc.ErrRemoved or uicc.ErrMute where the
// Code means that.
type Error struct {
	Op     string // what was asked for
	Reader string // of which reader; may be empty
	Code   Code
}

func (e *Error) Error() string {
	s := "pcsc: " + e.Op
	if e.Reader != "" {
		s += fmt.Sprintf(" %q", e.Reader)
	}
	if c, ok := codes[e.Code]; ok {
		s += ": " + c.text
	}
	return s + " (" + e.Code.String() + ")"
}

// Unwrap gives the Code, and the error of package uicc that it means, if any.
func (e *Error) Unwrap() []error {
	if is := codes[e.Code].is; is != nil {
		return []error{e.Code, is}
	}
	return []error{e.Code}
}

// dialError says why pcscd cannot be reached and what to do.
func dialError(socket string, err error) error {
	hint := "is the socket right?"
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		hint = "pcscd is not running: start it, for example with systemctl start pcscd.socket"
	case errors.Is(err, fs.ErrPermission):
		hint = "no permission for its socket: grant it to this user or group"
	}
	return fmt.Errorf("%w at %s: %s: %w", ErrDaemon, socket, hint, err)
}
