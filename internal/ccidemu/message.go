package ccidemu

import (
	"encoding/binary"
	"fmt"
)

const headerLength = 10

// bMessageType of commands (CCID clause 6.1).
const (
	msgSetParameters   byte = 0x61
	msgIccPowerOn      byte = 0x62
	msgIccPowerOff     byte = 0x63
	msgGetSlotStatus   byte = 0x65
	msgSecure          byte = 0x69
	msgT0APDU          byte = 0x6A
	msgEscape          byte = 0x6B
	msgGetParameters   byte = 0x6C
	msgResetParameters byte = 0x6D
	msgIccClock        byte = 0x6E
	msgXfrBlock        byte = 0x6F
	msgMechanical      byte = 0x71
	msgAbort           byte = 0x72
	msgSetDataRate     byte = 0x73
)

// bMessageType of answers (CCID clause 6.2) and of interrupt messages (clause 6.3).
const (
	msgDataBlock        byte = 0x80
	msgSlotStatus       byte = 0x81
	msgParameters       byte = 0x82
	msgEscapeAnswer     byte = 0x83
	msgDataRate         byte = 0x84
	msgNotifySlotChange byte = 0x50
)

// Fields of bStatus (CCID clause 6.2.6).
const (
	iccActive   = 0
	iccInactive = 1
	iccAbsent   = 2

	statusFailed = 0x40
	statusTime   = 0x80
)

// bError (CCID clause 6.2.6). 01 to 7F is the offset of the field that the reader does not take.
const (
	errNone              = -1 // no failure
	errUnsupported       = 0x00
	errLength            = 0x01
	errSlot              = 0x05
	errFirst             = 0x07 // of the message's own fields
	errLevel             = 0x08 // wLevelParameter
	errAborted           = 0xFF
	errMute              = 0xFE
	errParity            = 0xFD
	errBadTS             = 0xF8
	errBadTCK            = 0xF7
	errProcedureConflict = 0xF4
	errBusy              = 0xE0
)

// command is one message from the host.
type command struct {
	raw      []byte
	typ      byte
	slot     byte
	seq      byte
	specific [3]byte
	data     []byte
	faults   []Fault // that strike it
	mute     bool    // no answer is wanted any more
}

// parseCommand takes a message apart whose length the caller has checked.
func parseCommand(b []byte) *command {
	return &command{
		raw: b, typ: b[0], slot: b[5], seq: b[6], specific: [3]byte(b[7:10]), data: b[headerLength:],
	}
}

// level is wLevelParameter of XfrBlock.
func (c *command) level() uint16 { return binary.LittleEndian.Uint16(c.specific[1:]) }

// answerType is the message that answers a command; what the class does not know is answered by SlotStatus.
func answerType(typ byte) byte {
	switch typ {
	case msgIccPowerOn, msgXfrBlock, msgSecure:
		return msgDataBlock
	case msgGetParameters, msgResetParameters, msgSetParameters:
		return msgParameters
	case msgEscape:
		return msgEscapeAnswer
	case msgSetDataRate:
		return msgDataRate
	}
	return msgSlotStatus
}

// answer makes a message of the reader.
func answer(typ, slot, seq, status, bError, last byte, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{typ}, uint32(len(data)))
	return append(append(b, slot, seq, status, bError, last), data...)
}

// name names a command for people.
func name(typ byte) string {
	names := map[byte]string{
		msgSetParameters: "SetParameters", msgIccPowerOn: "IccPowerOn", msgIccPowerOff: "IccPowerOff",
		msgGetSlotStatus: "GetSlotStatus", msgSecure: "Secure", msgT0APDU: "T0APDU", msgEscape: "Escape",
		msgGetParameters: "GetParameters", msgResetParameters: "ResetParameters", msgIccClock: "IccClock",
		msgXfrBlock: "XfrBlock", msgMechanical: "Mechanical", msgAbort: "Abort", msgSetDataRate: "SetDataRateAndClockFrequency",
	}
	if n, ok := names[typ]; ok {
		return n
	}
	return fmt.Sprintf("message %02X", typ)
}
