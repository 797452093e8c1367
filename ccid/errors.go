package ccid

import (
	"errors"
	"fmt"

	"bipd/uicc"
)

// Errors for errors.Is, beside uicc.ErrRemoved, uicc.ErrMute, those of package usbfs and the context's.
var (
	// ErrNotSupported says that the reader does not do what the card or the driver needs of it.
	ErrNotSupported = errors.New("ccid: not supported")
	// ErrProtocol says that the reader's or the card's messages are not as their standard has them.
	ErrProtocol = errors.New("ccid: protocol error")
	// ErrInUse says that the slot's card is taken already, by a Card that was not closed.
	ErrInUse = errors.New("ccid: the slot's card is in use")
	// errUnanswered says that a command was given up before its answer came.
	errUnanswered = errors.New("ccid: an earlier command was not answered, the card needs a reset")
)

// Values of bError (CCID table 6.2-2) that the driver tells apart.
const (
	codeNotSupported = 0x00
	codeMute         = 0xFE
	codeParity       = 0xFD
	codeOverrun      = 0xFC
	codeAutoSequence = 0xF2
	codeSlotBusy     = 0xE0
)

// codes say what each bError means and what the operator may do, and which error it is.
var codes = map[byte]struct {
	text string
	is   error
}{
	0xFF:             {"the command was aborted", nil},
	codeMute:         {"the card does not answer; is it the right way round and clean?", uicc.ErrMute},
	codeParity:       {"parity error between card and reader; clean the contacts", uicc.ErrMute},
	codeOverrun:      {"the card sent more than the reader holds", uicc.ErrMute},
	0xFB:             {"hardware error of the reader; unplug it and plug it in again", nil},
	0xF8:             {"the answer to reset does not begin as one; is it a smart card, and the right way round?", uicc.ErrMute},
	0xF7:             {"wrong check byte in the answer to reset; clean the contacts", uicc.ErrMute},
	0xF6:             {"the reader does not support the card's protocol", ErrNotSupported},
	0xF5:             {"the reader does not support the command's class", ErrNotSupported},
	0xF4:             {"the card broke the protocol T=0 (procedure byte); clean the contacts", ErrProtocol},
	0xF3:             {"the protocol is deactivated", ErrNotSupported},
	codeAutoSequence: {"the reader is busy activating the card", nil},
	0xF0:             {"no PIN was entered in time", nil},
	0xEF:             {"PIN entry was cancelled", nil},
	codeSlotBusy:     {"the slot is busy with an earlier command", nil},
	codeNotSupported: {"the reader does not support the command, or the card failed it without a reason", ErrNotSupported},
}

// Error is a command that the reader says has failed. errors.Is finds in it what the code means.
type Error struct {
	Slot    string // name of the slot
	Command string // the command's name in the class, "XfrBlock"
	Code    byte   // bError
}

func (e *Error) Error() string {
	return fmt.Sprintf("ccid: %s: %s: %s (bError %02X)", e.Slot, e.Command, e.text(), e.Code)
}

func (e *Error) text() string {
	if c, ok := codes[e.Code]; ok {
		return c.text
	}
	switch {
	case e.Code <= 0x7F:
		return fmt.Sprintf("the reader refuses octet %d of the message", e.Code)
	case e.Code >= 0x81 && e.Code <= 0xC0:
		return "an error of the reader's vendor"
	}
	return "unknown error"
}

// Unwrap gives the error that the code means, if any.
func (e *Error) Unwrap() error {
	if c, ok := codes[e.Code]; ok {
		return c.is
	}
	if e.Code <= 0x7F {
		return ErrNotSupported
	}
	return nil
}
