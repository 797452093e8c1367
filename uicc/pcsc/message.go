package pcsc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

// Messages between a client and pcscd. Each request is a header and a body; the answer is a body of known length
// without a header. All numbers are in the byte order of the machine. The structs below hold the fields in the order
// of the wire, without gaps. RV is SCARD_S_SUCCESS in requests and the result in answers.

// command is the kind of a request.
type command uint32

const (
	cmdEstablishContext      command = 0x01
	cmdReleaseContext        command = 0x02
	cmdConnect               command = 0x04
	cmdReconnect             command = 0x05
	cmdDisconnect            command = 0x06
	cmdTransmit              command = 0x09
	cmdVersion               command = 0x11
	cmdGetReadersState       command = 0x12
	cmdWaitReaderStateChange command = 0x13 // answered by the readers' states, and by eventMessage once something changes
)

// String gives the name of the command for errors.
func (c command) String() string {
	switch c {
	case cmdEstablishContext:
		return "establish context"
	case cmdReleaseContext:
		return "release context"
	case cmdConnect:
		return "connect"
	case cmdReconnect:
		return "reset"
	case cmdDisconnect:
		return "disconnect"
	case cmdTransmit:
		return "transmit"
	case cmdVersion:
		return "version"
	case cmdGetReadersState:
		return "readers' states"
	case cmdWaitReaderStateChange:
		return "wait for a change"
	}
	return fmt.Sprintf("command %#x", uint32(c))
}

// Parameters of the WinSCard API that appear in messages.
const (
	scopeSystem = 2

	shareExclusive = 1

	protocolT0 = 1
	protocolT1 = 2

	resetCard   = 1 // warm reset
	unpowerCard = 2 // power off; in cmdReconnect, and on again

	maxReaderName = 128 // with a NUL
	maxReaders    = 16  // entries in a list of states
	maxATR        = 33
)

// pciLength is sizeof(SCARD_IO_REQUEST), two words of the machine.
const pciLength = 2 * bits.UintSize / 8

// maxResponse is the space for the response to a short APDU.
const maxResponse = 264

type header struct {
	Size    uint32 // of the body
	Command command
}

type versionMessage struct {
	Major, Minor int32
	RV           Code
}

type establishMessage struct {
	Scope, Context uint32
	RV             Code
}

type releaseMessage struct {
	Context uint32
	RV      Code
}

type connectMessage struct {
	Context            uint32
	Reader             [maxReaderName]byte
	ShareMode          uint32
	PreferredProtocols uint32
	Card               int32
	ActiveProtocol     uint32
	RV                 Code
}

type reconnectMessage struct {
	Card               int32
	ShareMode          uint32
	PreferredProtocols uint32
	Initialization     uint32
	ActiveProtocol     uint32
	RV                 Code
}

type disconnectMessage struct {
	Card        int32
	Disposition uint32
	RV          Code
}

// transmitMessage is followed by SendLength bytes in the request and, where RV is success, by RecvLength bytes in
// the answer. In the request RecvLength is the space that there is.
type transmitMessage struct {
	Card                        int32
	SendProtocol, SendPCILength uint32
	SendLength                  uint32
	RecvProtocol, RecvPCILength uint32
	RecvLength                  uint32
	RV                          Code
}

type eventMessage struct {
	Timeout uint32
	RV      Code
}

// stateMessage is one of maxReaders entries, READER_STATE. An entry without a name is unused.
type stateMessage struct {
	Name      [maxReaderName]byte
	Events    uint32 // counts insertions and removals
	State     uint32
	Sharing   int32
	ATR       [maxATR]byte
	_         [3]byte
	ATRLength uint32 // above maxATR while the reader is not ready
	Protocol  uint32
}

// Bits of stateMessage.State.
const stateUnknown, stateAbsent, statePresent = 1, 2, 4

// bodyOf is every body.
type bodyOf interface {
	versionMessage | establishMessage | releaseMessage | connectMessage | reconnectMessage | disconnectMessage |
		transmitMessage | eventMessage | [maxReaders]stateMessage | [0]byte
}

// appendRequest appends a request: header, body, and data that follows the body.
func appendRequest[T bodyOf](b []byte, cmd command, body *T, data []byte) []byte {
	b = appendBody(b, &header{Size: uint32(binary.Size(body)), Command: cmd})
	b = appendBody(b, body)
	return append(b, data...)
}

func appendBody(b []byte, body any) []byte {
	b, err := binary.Append(b, binary.NativeEndian, body)
	if err != nil {
		panic("pcsc: a message without a fixed size: " + err.Error())
	}
	return b
}

// parseBody reads a body, of which b must have the exact length.
func parseBody[T bodyOf](b []byte) (T, error) {
	var body T
	if want := binary.Size(&body); len(b) != want {
		return body, fmt.Errorf("pcsc: message of %d bytes, it has %d", len(b), want)
	}
	_, err := binary.Decode(b, binary.NativeEndian, &body)
	return body, err
}

// readerName gives the field for a reader's name, or an error where the name does not fit.
func readerName(name string) (field [maxReaderName]byte, err error) {
	if name == "" || len(name) >= maxReaderName || strings.ContainsRune(name, 0) {
		return field, fmt.Errorf("pcsc: %q cannot be the name of a reader", name)
	}
	copy(field[:], name)
	return field, nil
}

// name is the name in the entry, which ends at the first NUL.
func (s *stateMessage) name() string {
	name, _, _ := bytes.Cut(s.Name[:], []byte{0})
	return string(name)
}

// atr is the answer to reset in the entry, nil where there is none.
func (s *stateMessage) atr() []byte {
	if s.ATRLength == 0 || s.ATRLength > maxATR {
		return nil
	}
	return bytes.Clone(s.ATR[:s.ATRLength])
}
