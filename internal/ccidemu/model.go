package ccidemu

import (
	"cmp"
	"encoding/binary"
	"time"
	"unicode/utf16"
)

// Bits of dwFeatures (CCID clause 5.1).
const (
	FeatureParameters  = 0x00000002 // parameters configured from the ATR
	FeatureActivation  = 0x00000004 // activation on insertion
	FeatureVoltage     = 0x00000008 // automatic voltage selection
	FeatureClock       = 0x00000010 // clock frequency follows the parameters
	FeatureBaud        = 0x00000020 // baud rate follows the parameters
	FeatureNegotiation = 0x00000040 // parameters negotiated by the reader's own algorithm, by resets or PPS
	FeaturePPS         = 0x00000080 // PPS made by the reader according to the active parameters
	FeatureClockStop   = 0x00000100
	FeatureNAD         = 0x00000200 // NAD other than 00
	FeatureIFSD        = 0x00000400 // IFSD exchanged by the reader
	FeatureTPDU        = 0x00010000
	FeatureShort       = 0x00020000
	FeatureExtended    = 0x00040000
)

// Model is what makes one kind of reader. The first block of fields are the descriptors' (CCID clause 5.1), with the
// standard's names where they have one; the second is behaviour.
type Model struct {
	Name                     string // product string
	Manufacturer, Serial     string // strings; "" = none
	Vendor, Product, Release uint16
	CCID                     uint16 // bcdCCID
	Slots                    int
	Voltage                  byte   // bVoltageSupport
	Protocols                uint32 // dwProtocols
	Clock, MaxClock          uint32 // kHz
	Clocks                   byte   // bNumClockSupported
	DataRate, MaxDataRate    uint32 // bit/s
	Rates                    byte   // bNumDataRatesSupported
	MaxIFSD                  uint32
	Synchronous              uint32 // dwSynchProtocols
	Features                 uint32
	MaxMessage               uint32 // dwMaxCCIDMessageLength
	GetResponse, Envelope    byte
	PIN                      byte
	BusySlots                byte // bMaxCCIDBusySlots
	MaxPacket                uint16
	HighSpeed                bool
	BulkIn, BulkOut          byte // endpoint addresses
	InterruptIn              byte // 0 = the reader has none
	Class                    byte // bInterfaceClass; 0 = 0B

	// ClockList and RateList are the answers to GET_CLOCK_FREQUENCIES (kHz) and GET_DATA_RATES (bit/s); nil: it stalls.
	ClockList, RateList []uint32
	// LongestMessage is what the firmware really takes, where it is more than it says by MaxMessage; 0: MaxMessage.
	LongestMessage uint32
	// NoAbort makes the class request ABORT stall and PC_to_RDR_Abort unknown.
	NoAbort bool
	// NoClearHalt makes the request to clear an endpoint's halt stall.
	NoClearHalt bool
	// NeedsPowerOff makes GetSlotStatus fail from the start, and from each USB reset, until an IccPowerOff comes.
	NeedsPowerOff bool
	// Verbatim passes the bytes of XfrBlock to the card and back as they are, whatever they are, and neither needs nor checks
	// parameters: the reader has no line to the card.
	Verbatim bool
	// LooseSlots takes bSlot for 0, whatever it is.
	LooseSlots bool
	// ResponsePart is the most response data in one message at extended APDU level; 0: what MaxMessage has room for. Where
	// it is set at short APDU level, the reader chains there too, as some do.
	ResponsePart int
	// WaitingTime is how long the reader waits for a character or a block of the card before it calls it mute; 0: for
	// ever. Real readers take it from the parameters, at about a second.
	WaitingTime time.Duration
	// ExtendEvery asks the host for more time as often as that while the card works; 0: only where the card asks.
	ExtendEvery time.Duration
	// Faults strike each reader of the model.
	Faults []Fault
}

func (m *Model) has(feature uint32) bool { return m.Features&feature != 0 }

// longest is the longest message that the reader takes.
func (m *Model) longest() uint32 { return max(m.MaxMessage, m.LongestMessage) }

// level is the exchange level: one of the three features, or 0 for characters.
func (m *Model) level() uint32 { return m.Features & (FeatureTPDU | FeatureShort | FeatureExtended) }

// InterfaceClass is bInterfaceClass.
func (m *Model) InterfaceClass() byte { return cmp.Or(m.Class, 0x0B) }

// ClassDescriptor makes the 54 octets of the CCID class descriptor.
func (m *Model) ClassDescriptor() []byte {
	b := []byte{54, 0x21}
	le := binary.LittleEndian
	b = le.AppendUint16(b, m.CCID)
	b = append(b, byte(m.Slots-1), m.Voltage)
	b = le.AppendUint32(b, m.Protocols)
	b = le.AppendUint32(b, m.Clock)
	b = le.AppendUint32(b, m.MaxClock)
	b = append(b, m.Clocks)
	b = le.AppendUint32(b, m.DataRate)
	b = le.AppendUint32(b, m.MaxDataRate)
	b = append(b, m.Rates)
	b = le.AppendUint32(b, m.MaxIFSD)
	b = le.AppendUint32(b, m.Synchronous)
	b = le.AppendUint32(b, 0) // dwMechanical
	b = le.AppendUint32(b, m.Features)
	b = le.AppendUint32(b, m.MaxMessage)
	b = append(b, m.GetResponse, m.Envelope)
	return append(b, 0, 0, m.PIN, m.BusySlots) // wLcdLayout, bPINSupport, bMaxCCIDBusySlots
}

// deviceDescriptor makes the device descriptor (USB 2.0 clause 9.6.1).
func (m *Model) deviceDescriptor() []byte {
	b := []byte{18, 1, 0x00, 0x02, 0, 0, 0, 64}
	b = binary.LittleEndian.AppendUint16(b, m.Vendor)
	b = binary.LittleEndian.AppendUint16(b, m.Product)
	b = binary.LittleEndian.AppendUint16(b, m.Release)
	for i, s := range m.strings() {
		if s == "" {
			b = append(b, 0)
		} else {
			b = append(b, byte(i+1))
		}
	}
	return append(b, 1)
}

// strings are the string descriptors from 1.
func (m *Model) strings() [3]string { return [3]string{m.Manufacturer, m.Name, m.Serial} }

// stringDescriptor makes one string descriptor (USB 2.0 clause 9.6.7), or nil.
func (m *Model) stringDescriptor(i byte) []byte {
	if i == 0 {
		return []byte{4, 3, 0x09, 0x04} // English (United States)
	}
	if int(i) > 3 || m.strings()[i-1] == "" {
		return nil
	}
	b := []byte{0, 3}
	for _, u := range utf16.Encode([]rune(m.strings()[i-1])) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	b[0] = byte(len(b))
	return b
}

// configDescriptor makes the configuration with the interface, the class descriptor and the endpoints.
func (m *Model) configDescriptor() []byte {
	endpoints := byte(2)
	if m.InterruptIn != 0 {
		endpoints = 3
	}
	b := []byte{9, 2, 0, 0, 1, 1, 0, 0x80, 50} // bus powered, 100 mA
	b = append(b, 9, 4, 0, 0, endpoints, m.InterfaceClass(), 0, 0, 0)
	b = append(b, m.ClassDescriptor()...)
	endpoint := func(address, attributes byte, size uint16, interval byte) {
		b = append(b, 7, 5, address, attributes, byte(size), byte(size>>8), interval)
	}
	endpoint(m.BulkOut, 2, m.MaxPacket, 0)
	endpoint(m.BulkIn, 2, m.MaxPacket, 0)
	if m.InterruptIn != 0 {
		endpoint(m.InterruptIn, 3, 8, 16)
	}
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}
