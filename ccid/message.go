package ccid

import (
	"encoding/binary"
	"fmt"
)

// headerLength is the length of the header of every bulk message (CCID clause 6): bMessageType, dwLength, bSlot, bSeq and
// three octets that are the message's own.
const headerLength = 10

// messageType is bMessageType (CCID clauses 6.1 and 6.2).
type messageType byte

// Commands, PC_to_RDR.
const (
	typeSetParameters messageType = 0x61
	typePowerOn       messageType = 0x62
	typePowerOff      messageType = 0x63
	typeGetSlotStatus messageType = 0x65
	typeGetParameters messageType = 0x6C
	typeXfrBlock      messageType = 0x6F
	typeAbort         messageType = 0x72
	typeSetDataRate   messageType = 0x73 // SetDataRateAndClockFrequency
)

// Answers, RDR_to_PC.
const (
	typeDataBlock  messageType = 0x80
	typeSlotStatus messageType = 0x81
	typeParameters messageType = 0x82
	typeEscape     messageType = 0x83
	typeDataRate   messageType = 0x84 // DataRateAndClockFrequency
)

// Interrupt messages (CCID clause 6.3).
const (
	typeNotifySlotChange messageType = 0x50
	typeHardwareError    messageType = 0x51
)

// Class requests on the control pipe (CCID clause 5.3).
const (
	requestOut      = 0x21 // class request to the interface
	requestIn       = 0xA1 // class request from the interface
	requestAbort    = 0x01 // wValue is bSeq<<8 | bSlot
	requestRateList = 0x03 // GET_DATA_RATES, little-endian bit/s of 32 bits each
)

// String gives the name that the class gives the message.
func (t messageType) String() string {
	switch t {
	case typeSetParameters:
		return "SetParameters"
	case typePowerOn:
		return "IccPowerOn"
	case typePowerOff:
		return "IccPowerOff"
	case typeGetSlotStatus:
		return "GetSlotStatus"
	case typeGetParameters:
		return "GetParameters"
	case typeXfrBlock:
		return "XfrBlock"
	case typeAbort:
		return "Abort"
	case typeSetDataRate:
		return "SetDataRateAndClockFrequency"
	case typeDataBlock:
		return "DataBlock"
	case typeSlotStatus:
		return "SlotStatus"
	case typeParameters:
		return "Parameters"
	case typeEscape:
		return "Escape"
	case typeDataRate:
		return "DataRateAndClockFrequency"
	}
	return fmt.Sprintf("message %02X", byte(t))
}

// answer is the type of message that answers the command t.
func (t messageType) answer() messageType {
	switch t {
	case typePowerOn, typeXfrBlock:
		return typeDataBlock
	case typeSetParameters, typeGetParameters:
		return typeParameters
	case typeSetDataRate:
		return typeDataRate
	}
	return typeSlotStatus
}

// command is a message to the reader.
type command struct {
	typ      messageType
	specific [3]byte // octets 7 to 9
	data     []byte
}

// append appends the message as it goes to the slot under the number seq.
func (c *command) append(b []byte, slot, seq byte) []byte {
	b = append(b, byte(c.typ))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.data)))
	b = append(b, slot, seq, c.specific[0], c.specific[1], c.specific[2])
	return append(b, c.data...)
}

// iccStatus is bmICCStatus, the state of the card as an answer tells it (CCID table 6.2-3).
type iccStatus byte

const (
	iccActive   iccStatus = 0 // present and powered
	iccInactive iccStatus = 1 // present, without power
	iccAbsent   iccStatus = 2
)

// commandStatus is bmCommandStatus (CCID table 6.2-3).
type commandStatus byte

const (
	commandOK       commandStatus = 0
	commandFailed   commandStatus = 1 // bError says why
	commandExtended commandStatus = 2 // not done: bError times the waiting time is asked for
)

// answer is a message from the reader.
type answer struct {
	typ     messageType
	slot    byte
	seq     byte
	icc     iccStatus
	command commandStatus
	err     byte // bError
	param   byte // octet 9: bChainParameter, bClockStatus, bProtocolNum
	data    []byte
}

// refused tells whether the reader has failed a command that it could have done, had it wanted to: it was not busy.
func (a answer) refused() bool {
	return a.command == commandFailed && a.err != codeSlotBusy && a.err != codeAutoSequence
}

// messageLength is the length of the message whose first octets are b, at least headerLength of them.
func messageLength(b []byte) uint64 {
	return headerLength + uint64(binary.LittleEndian.Uint32(b[1:]))
}

// parseAnswer reads a message, of which b holds at least messageLength octets; what follows is ignored, for there are
// readers that send more than they announce. The data is a part of b.
func parseAnswer(b []byte) answer {
	n := int(messageLength(b))
	return answer{
		typ: messageType(b[0]), slot: b[5], seq: b[6],
		icc: iccStatus(b[7] & 3), command: commandStatus(b[7] >> 6), err: b[8], param: b[9],
		data: b[headerLength:n:n],
	}
}

// slotChange is what a NotifySlotChange tells of one slot (CCID clause 6.3.1).
type slotChange struct {
	present bool // now
	changed bool // since the notification before
}

// parseSlotChange finds slot n in the bitmap of a NotifySlotChange, two bits a slot. Slots beyond its end have not changed.
func parseSlotChange(bitmap []byte, n int) slotChange {
	if n/4 >= len(bitmap) {
		return slotChange{}
	}
	bits := bitmap[n/4] >> (n % 4 * 2)
	return slotChange{present: bits&1 != 0, changed: bits&2 != 0}
}
