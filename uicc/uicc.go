// Package uicc is the seam between a smart card and everything that talks to it: command and response APDUs,
// the answer to reset, status words, and the Card and Reader interfaces that every kind of reader implements.
package uicc

import (
	"context"
	"errors"
)

// Errors that a Card returns when it is not the card's answer but the card itself that is at fault.
var (
	// ErrRemoved says that the card or its reader is gone. The Card is of no further use.
	ErrRemoved = errors.New("uicc: card removed")
	// ErrMute says that the card gave no answer within the time that its transport allows.
	ErrMute = errors.New("uicc: card does not answer")
)

// ResetKind tells a cold reset (power off and on, ISO/IEC 7816-3 clause 6.2.2) from a warm one (clause 6.2.3).
type ResetKind int

const (
	ColdReset ResetKind = iota
	WarmReset
)

// Card is an activated UICC. Its methods are called by one goroutine at a time.
type Card interface {
	// Transmit sends a command APDU (short form: 4 header bytes, then Lc and data, then Le, as the case needs) and
	// returns the response data followed by SW1 SW2. GET RESPONSE (61xx, 9Fxx) and a wrong Le (6Cxx) are settled
	// below; 91xx passes up. An error means that no status word came: ErrRemoved, ErrMute, the context's error, or
	// a transport's own. After a context ended mid-command the card's state is unknown: reset it.
	Transmit(ctx context.Context, capdu []byte) (rapdu []byte, err error)
	// ATR returns the answer to the last reset (ISO/IEC 7816-3 clause 8).
	ATR() []byte
	// Reset resets the card; the toolkit state of the card is gone afterwards.
	Reset(ctx context.Context, kind ResetKind) error
	// Close powers the card off and gives it back to its Reader.
	Close() error
}

// SlotState is what a Reader knows of its slot.
type SlotState int

const (
	SlotEmpty   SlotState = iota // reader present, no card
	SlotPresent                  // card inserted
	SlotGone                     // the reader itself is gone; no event follows
)

// Reader is one slot of a card reader.
type Reader interface {
	// Name names the slot for people and for the configuration; it does not change.
	Name() string
	// Watch sends the present state of the slot and then every change, until ctx ends or SlotGone was sent; it then
	// closes the channel. A slow receiver sees the newest state, not every one.
	Watch(ctx context.Context) <-chan SlotState
	// Connect activates the card (cold reset) and returns it, or ErrRemoved where there is none.
	Connect(ctx context.Context) (Card, error)
}
