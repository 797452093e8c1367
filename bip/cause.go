package bip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"bipd/cat"
)

// Cause is why a connection could not be made. Each is told apart in logs and traces; the card hears what TS 102 223
// has a code for.
type Cause int

const (
	CauseUnknown     Cause = iota
	CauseRefused           // the far end refused the connection
	CauseUnreachable       // no route to it
	CauseTimeout           // no answer from it
	CauseName              // its name cannot be resolved
	CauseDenied            // the egress policy forbids it
	CauseNoNetwork         // no association, no profile, no line to the AP
	CauseTransport         // the transport is not offered
	CausePortInUse         // the local port is taken
	CauseBearer            // the bearer is not built
	CausePort              // cards may not listen on the local port
	CauseTooMany           // more than the card, or the line, may have made in this time
	CauseLocal             // the local address that the card wants is not one of the route to the far end
)

func (c Cause) String() string {
	switch c {
	case CauseRefused:
		return "connection refused"
	case CauseUnreachable:
		return "unreachable"
	case CauseTimeout:
		return "timed out"
	case CauseName:
		return "name cannot be resolved"
	case CauseDenied:
		return "denied by the egress policy"
	case CauseNoNetwork:
		return "no network"
	case CauseTransport:
		return "transport not offered"
	case CausePortInUse:
		return "port in use"
	case CauseBearer:
		return "bearer not offered"
	case CausePort:
		return "port not offered"
	case CauseTooMany:
		return "too many in this time"
	case CauseLocal:
		return "local address is not one of the route"
	}
	return "no specific cause"
}

// Error is a failure with its cause.
type Error struct {
	Cause Cause
	Err   error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return "bip: " + e.Cause.String()
	}
	return fmt.Sprintf("bip: %v: %v", e.Cause, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// CauseOf finds the cause of err: that of an *Error, or what the system's error number says.
func CauseOf(err error) Cause {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Cause
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EHOSTDOWN):
		return CauseUnreachable
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return CauseTimeout
	case errors.Is(err, syscall.ENETDOWN), errors.Is(err, syscall.ENODEV):
		return CauseNoNetwork
	case errors.Is(err, syscall.EADDRINUSE):
		return CausePortInUse
	}
	return CauseUnknown
}

// result is what the card is told about a cause (clause 8.12.11).
func (c Cause) result() cat.Result {
	switch c {
	case CauseDenied:
		return bipError(cat.BIPSecurityError)
	case CauseNoNetwork:
		return cat.Result{General: cat.ResultNetworkUnable, Info: []byte{cat.InfoNoSpecificCause}}
	case CauseTransport:
		return bipError(cat.BIPTransport)
	case CausePortInUse, CausePort:
		return bipError(cat.BIPPortUnavailable)
	case CauseBearer:
		return cat.Result{General: cat.ResultBeyondCapabilities}
	case CauseTooMany:
		return cat.Result{General: cat.ResultTerminalUnable, Info: []byte{cat.InfoNoSpecificCause}}
	}
	return bipError(cat.BIPNoSpecificCause)
}

func bipError(info byte) cat.Result {
	return cat.Result{General: cat.ResultBIPError, Info: []byte{info}}
}
