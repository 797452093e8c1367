package cat

import (
	"errors"
	"fmt"
)

// GeneralResult is the first octet of a Result (clause 8.12).
type GeneralResult byte

const (
	ResultOK                   GeneralResult = 0x00 // performed successfully
	ResultPartialComprehension GeneralResult = 0x01
	ResultMissingInformation   GeneralResult = 0x02
	ResultIconNotShown         GeneralResult = 0x04 // performed, but the requested icon could not be shown
	ResultLimitedService       GeneralResult = 0x06 // performed, limited service
	ResultModified             GeneralResult = 0x07 // performed with modification
	ResultTerminalUnable       GeneralResult = 0x20 // + info: terminal currently unable to process the command
	ResultNetworkUnable        GeneralResult = 0x21 // + info: network currently unable to process the command
	ResultUserRefused          GeneralResult = 0x22
	ResultTimerContradiction   GeneralResult = 0x24 // action in contradiction with the current timer state
	ResultBeyondCapabilities   GeneralResult = 0x30
	ResultTypeNotUnderstood    GeneralResult = 0x31
	ResultDataNotUnderstood    GeneralResult = 0x32
	ResultNumberNotKnown       GeneralResult = 0x33
	ResultValuesMissing        GeneralResult = 0x36 // required values are missing
	ResultBIPError             GeneralResult = 0x3A // + info: Bearer Independent Protocol error
)

// Additional information of ResultTerminalUnable (clause 8.12.2).
const (
	InfoNoSpecificCause byte = 0x00
	InfoNoService       byte = 0x04
)

// Additional information of ResultBIPError (clause 8.12.11).
const (
	BIPNoSpecificCause   byte = 0x00
	BIPNoChannel         byte = 0x01 // no channel available
	BIPChannelClosed     byte = 0x02
	BIPChannelInvalid    byte = 0x03 // channel identifier not valid
	BIPBufferUnavailable byte = 0x04 // requested buffer size not available
	BIPSecurityError     byte = 0x05
	BIPTransport         byte = 0x06 // requested UICC/terminal interface transport level not available
	BIPPortUnavailable   byte = 0x10
)

// Result tells the card how its command ended (clause 8.12).
type Result struct {
	General GeneralResult
	Info    []byte // additional information; mandatory for the results for which NeedsInfo holds
}

// OK is the result of a command performed successfully.
var OK = Result{General: ResultOK}

// tooMany refuses what the card may have again later (clause 8.12: results 2x are worth another try, 3x are not).
var tooMany = Result{ResultTerminalUnable, []byte{InfoNoSpecificCause}}

// NeedsInfo reports whether the result is wrong without an octet of additional information (clause 8.12).
func (g GeneralResult) NeedsInfo() bool {
	switch g {
	case 0x20, 0x21, 0x26, 0x34, 0x35, 0x37, 0x38, 0x39, 0x3A, 0x3C, 0x3D:
		return true
	}
	return false
}

func (r Result) tlv() TLV {
	v := append([]byte{byte(r.General)}, r.Info...)
	if r.General.NeedsInfo() && len(r.Info) == 0 {
		v = append(v, InfoNoSpecificCause)
	}
	return TLV{TagResult, true, v}
}

func (r Result) String() string {
	name := fmt.Sprintf("result %02X", byte(r.General))
	switch r.General {
	case ResultOK:
		name = "performed successfully"
	case ResultPartialComprehension:
		name = "performed with partial comprehension"
	case ResultMissingInformation:
		name = "performed with missing information"
	case ResultIconNotShown:
		name = "performed without the icon"
	case ResultLimitedService:
		name = "performed, limited service"
	case ResultModified:
		name = "performed with modification"
	case ResultTerminalUnable:
		name = "terminal currently unable"
	case ResultNetworkUnable:
		name = "network currently unable"
	case ResultTimerContradiction:
		name = "contradiction with timer state"
	case ResultBeyondCapabilities:
		name = "beyond the terminal's capabilities"
	case ResultTypeNotUnderstood:
		name = "command type not understood"
	case ResultDataNotUnderstood:
		name = "command data not understood"
	case ResultValuesMissing:
		name = "required values missing"
	case ResultBIPError:
		if len(r.Info) > 0 {
			return "BIP error: " + bipCause(r.Info[0])
		}
		name = "BIP error"
	}
	if len(r.Info) > 0 {
		name += fmt.Sprintf(" (%X)", r.Info)
	}
	return name
}

func bipCause(info byte) string {
	switch info {
	case BIPNoSpecificCause:
		return "no specific cause"
	case BIPNoChannel:
		return "no channel available"
	case BIPChannelClosed:
		return "channel closed"
	case BIPChannelInvalid:
		return "channel identifier not valid"
	case BIPBufferUnavailable:
		return "requested buffer size not available"
	case BIPSecurityError:
		return "security error"
	case BIPTransport:
		return "transport level not available"
	case BIPPortUnavailable:
		return "port not available"
	}
	return fmt.Sprintf("cause %02X", info)
}

// ResultError is a reason to refuse a command together with what the card is to be told.
type ResultError struct {
	Result Result
	Reason string // for the log
}

func (e *ResultError) Error() string { return "cat: " + e.Reason + ": " + e.Result.String() }

func notUnderstood(format string, args ...any) error {
	return &ResultError{Result{General: ResultDataNotUnderstood}, fmt.Sprintf(format, args...)}
}

func valuesMissing(format string, args ...any) error {
	return &ResultError{Result{General: ResultValuesMissing}, fmt.Sprintf(format, args...)}
}

// resultOf returns what to tell the card about err.
func resultOf(err error) Result {
	var re *ResultError
	if errors.As(err, &re) {
		return re.Result
	}
	return Result{General: ResultDataNotUnderstood}
}

func parseResult(v []byte) (Result, error) {
	if len(v) == 0 {
		return Result{}, errors.New("cat: empty result")
	}
	r := Result{GeneralResult(v[0]), v[1:]}
	if r.General.NeedsInfo() && len(r.Info) == 0 {
		return r, fmt.Errorf("cat: result %02X without additional information", v[0])
	}
	return r, nil
}
