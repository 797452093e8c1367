package ccid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Class descriptor (CCID clause 5.1).
const (
	descriptorType       = 0x21
	vendorDescriptorType = 0xFF // of some interfaces of a vendor's class
	descriptorLength     = 54
)

// ErrDescriptor is wrapped by every error about the bytes of a class descriptor.
var ErrDescriptor = errors.New("ccid: bad class descriptor")

// Features is dwFeatures: what the reader does by itself (CCID table 5.1-1).
type Features uint32

const (
	AutoParameters  Features = 0x00000002 // sets the parameters that the ATR asks for
	AutoActivation  Features = 0x00000004 // activates the card on insertion
	AutoVoltage     Features = 0x00000008 // finds the voltage
	AutoClock       Features = 0x00000010 // its clock follows the parameters
	AutoBaudRate    Features = 0x00000020 // its baud rate follows the parameters
	AutoNegotiation Features = 0x00000040 // agrees on the parameters with the card by its own algorithm (resets or PPS)
	AutoPPS         Features = 0x00000080 // makes the PPS that the active parameters ask for
	ClockStop       Features = 0x00000100
	FreeNAD         Features = 0x00000200 // takes NAD values other than 00 (T=1)
	AutoIFSD        Features = 0x00000400 // exchanges the IFSD as its first block (T=1)
	levelTPDU       Features = 0x00010000
	levelShort      Features = 0x00020000
	levelExtended   Features = 0x00040000
	levelMask       Features = 0x00070000
	USBWakeUp       Features = 0x00100000 // wakes the host on insertion and removal
)

// Has tells whether all features of f2 are there.
func (f Features) Has(f2 Features) bool { return f&f2 == f2 }

// Level is what one XfrBlock carries (CCID clause 3.2).
type Level int

const (
	LevelCharacter Level = iota // single characters
	LevelTPDU                   // TPDUs: T=0 commands, T=1 blocks
	LevelShort                  // APDUs of the short form
	LevelExtended               // APDUs of either form, in parts
)

// String gives the name as the class names it.
func (l Level) String() string {
	switch l {
	case LevelCharacter:
		return "character"
	case LevelTPDU:
		return "TPDU"
	case LevelShort:
		return "short APDU"
	case LevelExtended:
		return "short and extended APDU"
	}
	return fmt.Sprintf("level %d", int(l))
}

// Level is the exchange level of the features; character level where none is named.
func (f Features) Level() Level {
	switch f & levelMask {
	case levelTPDU:
		return LevelTPDU
	case levelShort:
		return LevelShort
	case levelExtended:
		return LevelExtended
	}
	return LevelCharacter
}

// Voltages is bVoltageSupport, the supply voltages that the reader can give.
type Voltages uint8

const (
	Volt5   Voltages = 1 << iota // class A
	Volt3                        // class B
	Volt1V8                      // class C
)

// String gives "5/3/1.8 V".
func (v Voltages) String() string {
	var s []string
	for i, name := range []string{"5", "3", "1.8"} {
		if v&(1<<i) != 0 {
			s = append(s, name)
		}
	}
	if s == nil {
		return "none"
	}
	return strings.Join(s, "/") + " V"
}

// Descriptor is the class descriptor of a reader (CCID table 5.1-1), its fields in wire order behind bLength and
// bDescriptorType.
type Descriptor struct {
	Release          uint16   // bcdCCID
	MaxSlot          uint8    // bMaxSlotIndex, the number of slots less one
	Voltages         Voltages // bVoltageSupport
	Protocols        uint32   // dwProtocols: bit 0 T=0, bit 1 T=1
	DefaultClock     uint32   // kHz
	MaxClock         uint32   // kHz
	Clocks           uint8    // bNumClockSupported; 0: no list
	DataRate         uint32   // dwDataRate, bit/s at the default clock
	MaxDataRate      uint32   // bit/s
	DataRates        uint8    // bNumDataRatesSupported; 0: no list
	MaxIFSD          uint32   // octets, T=1
	SynchProtocols   uint32
	Mechanical       uint32
	Features         Features
	MaxMessage       uint32 // dwMaxCCIDMessageLength, with the header of 10 octets
	ClassGetResponse uint8  // FF: that of the command
	ClassEnvelope    uint8  // FF: that of the command
	LCD              uint16 // wLcdLayout
	PINSupport       uint8
	MaxBusySlots     uint8 // bMaxCCIDBusySlots
}

// Level is the reader's exchange level.
func (d Descriptor) Level() Level { return d.Features.Level() }

// Slots is the number of slots, 1 to 256.
func (d Descriptor) Slots() int { return int(d.MaxSlot) + 1 }

// room is the data that a message to the reader may carry, 1 octet at least.
func (d Descriptor) room() int {
	return int(min(d.MaxMessage, headerLength+maxExtended)) - headerLength
}

// busySlots is the number of slots that may work at once, at least 1: readers that leave the field at 0 mean so.
func (d Descriptor) busySlots() int { return min(max(int(d.MaxBusySlots), 1), d.Slots()) }

// ParseDescriptor reads a class descriptor of 54 octets. What the standard forbids and readers do all the same
// (AutoNegotiation beside AutoPPS, no voltage) is taken. Every error wraps ErrDescriptor.
func ParseDescriptor(b []byte) (Descriptor, error) {
	if len(b) != descriptorLength || b[0] != descriptorLength || b[1] != descriptorType {
		return Descriptor{}, fmt.Errorf("%w: %d octets % X, it has %d and begins %02X %02X", ErrDescriptor, len(b), b[:min(2, len(b))],
			descriptorLength, descriptorLength, descriptorType)
	}
	return parseDescriptor(b)
}

// parseDescriptor reads 54 octets, whatever their type.
func parseDescriptor(b []byte) (Descriptor, error) {
	le := binary.LittleEndian
	d := Descriptor{
		Release: le.Uint16(b[2:]), MaxSlot: b[4], Voltages: Voltages(b[5]), Protocols: le.Uint32(b[6:]),
		DefaultClock: le.Uint32(b[10:]), MaxClock: le.Uint32(b[14:]), Clocks: b[18],
		DataRate: le.Uint32(b[19:]), MaxDataRate: le.Uint32(b[23:]), DataRates: b[27],
		MaxIFSD: le.Uint32(b[28:]), SynchProtocols: le.Uint32(b[32:]), Mechanical: le.Uint32(b[36:]),
		Features: Features(le.Uint32(b[40:])), MaxMessage: le.Uint32(b[44:]),
		ClassGetResponse: b[48], ClassEnvelope: b[49], LCD: le.Uint16(b[50:]), PINSupport: b[52], MaxBusySlots: b[53],
	}
	if l := d.Features & levelMask; l&(l-1) != 0 {
		return Descriptor{}, fmt.Errorf("%w: features %08X name more than one exchange level", ErrDescriptor, uint32(d.Features))
	}
	if d.MaxMessage <= headerLength {
		return Descriptor{}, fmt.Errorf("%w: messages of at most %d octets, the header alone has %d", ErrDescriptor, d.MaxMessage, headerLength)
	}
	return d, nil
}

// FindDescriptor finds the class descriptor among the class-specific descriptors of an interface and reads it: some
// readers put it behind the endpoints, and others have further descriptors in front of it. Every error wraps
// ErrDescriptor.
func FindDescriptor(b []byte) (Descriptor, error) { return findDescriptor(b, descriptorType) }

// findDescriptor finds a descriptor of one of the types.
func findDescriptor(b []byte, types ...byte) (Descriptor, error) {
	for len(b) >= 2 && b[0] >= 2 && int(b[0]) <= len(b) {
		if b[0] == descriptorLength && slices.Contains(types, b[1]) {
			return parseDescriptor(b[:descriptorLength])
		}
		b = b[b[0]:]
	}
	return Descriptor{}, fmt.Errorf("%w: the interface has none", ErrDescriptor)
}

// AppendBinary appends the 54 octets of the descriptor. It never fails.
func (d Descriptor) AppendBinary(b []byte) ([]byte, error) {
	le := binary.LittleEndian
	b = le.AppendUint16(append(b, descriptorLength, descriptorType), d.Release)
	b = le.AppendUint32(append(b, d.MaxSlot, uint8(d.Voltages)), d.Protocols)
	b = append(le.AppendUint32(le.AppendUint32(b, d.DefaultClock), d.MaxClock), d.Clocks)
	b = append(le.AppendUint32(le.AppendUint32(b, d.DataRate), d.MaxDataRate), d.DataRates)
	for _, v := range []uint32{d.MaxIFSD, d.SynchProtocols, d.Mechanical, uint32(d.Features), d.MaxMessage} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint16(append(b, d.ClassGetResponse, d.ClassEnvelope), d.LCD)
	return append(b, d.PINSupport, d.MaxBusySlots), nil
}
