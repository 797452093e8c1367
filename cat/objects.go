package cat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// BearerType is the first octet of a Bearer description (clause 8.52).
type BearerType byte

const (
	BearerCSD     BearerType = 0x01
	BearerPacket  BearerType = 0x02 // GPRS, UTRAN packet service, E-UTRAN
	BearerDefault BearerType = 0x03 // default bearer for the requested transport layer
	BearerCDMA    BearerType = 0x08
	BearerUTRAN   BearerType = 0x09 // UTRAN packet service with extended parameters, HSDPA, E-UTRAN
	BearerWLAN    BearerType = 0x0A // (I-)WLAN
	BearerEUTRAN  BearerType = 0x0B // E-UTRAN and mapped UTRAN packet service
	BearerNGRAN   BearerType = 0x0C
)

func (t BearerType) String() string {
	switch t {
	case BearerCSD:
		return "CSD"
	case 0x04:
		return "local link"
	case 0x05:
		return "Bluetooth"
	case 0x06:
		return "IrDA"
	case 0x07:
		return "RS232"
	case BearerPacket:
		return "packet"
	case BearerDefault:
		return "default bearer"
	case BearerCDMA:
		return "cdma2000"
	case BearerUTRAN:
		return "UTRAN packet"
	case BearerWLAN:
		return "WLAN"
	case BearerEUTRAN:
		return "E-UTRAN"
	case BearerNGRAN:
		return "NG-RAN"
	case 0x10:
		return "USB"
	}
	return fmt.Sprintf("bearer %02X", byte(t))
}

// BearerDescription says over what a channel is to run (clause 8.52): type, then parameters as the type has them.
type BearerDescription struct {
	Type       BearerType
	Parameters []byte
}

func parseBearerDescription(v []byte) (BearerDescription, error) {
	if len(v) == 0 {
		return BearerDescription{}, notUnderstood("empty bearer description")
	}
	return BearerDescription{BearerType(v[0]), v[1:]}, nil
}

func (b BearerDescription) tlv() TLV {
	return TLV{TagBearerDescription, false, append([]byte{byte(b.Type)}, b.Parameters...)}
}

// TransportProtocol is the protocol of a UICC/terminal interface transport level (clause 8.59).
type TransportProtocol byte

const (
	UDPClientRemote TransportProtocol = 0x01
	TCPClientRemote TransportProtocol = 0x02
	TCPServer       TransportProtocol = 0x03
	UDPClientLocal  TransportProtocol = 0x04
	TCPClientLocal  TransportProtocol = 0x05
	DirectChannel   TransportProtocol = 0x06
)

func (p TransportProtocol) String() string {
	switch p {
	case UDPClientRemote:
		return "UDP client"
	case TCPClientRemote:
		return "TCP client"
	case TCPServer:
		return "TCP server"
	case UDPClientLocal:
		return "UDP client, local"
	case TCPClientLocal:
		return "TCP client, local"
	case DirectChannel:
		return "direct channel"
	}
	return fmt.Sprintf("transport protocol %02X", byte(p))
}

// TransportLevel is the transport that the card wants (clause 8.59): protocol, then the port, big endian.
type TransportLevel struct {
	Protocol TransportProtocol
	Port     uint16 // destination port of a client, listening port of a server
}

func parseTransportLevel(v []byte) (TransportLevel, error) {
	if len(v) != 3 {
		return TransportLevel{}, notUnderstood("transport level of %d octets", len(v))
	}
	return TransportLevel{TransportProtocol(v[0]), binary.BigEndian.Uint16(v[1:])}, nil
}

func (t TransportLevel) tlv() TLV {
	return TLV{TagTransportLevel, false, binary.BigEndian.AppendUint16([]byte{byte(t.Protocol)}, t.Port)}
}

// Kinds of an Other address (clause 8.58).
const (
	addressIPv4 = 0x21
	addressIPv6 = 0x57
)

// parseOtherAddress reads a kind and 4 or 16 octets. No octets at all mean no particular address (the zero Addr).
func parseOtherAddress(v []byte) (netip.Addr, error) {
	switch {
	case len(v) == 0:
		return netip.Addr{}, nil
	case v[0] == addressIPv4 && len(v) == 5, v[0] == addressIPv6 && len(v) == 17:
		a, _ := netip.AddrFromSlice(v[1:])
		return a, nil
	}
	return netip.Addr{}, notUnderstood("address %X", v)
}

func addressTLV(tag Tag, a netip.Addr) TLV {
	switch {
	case !a.IsValid():
		return TLV{tag, false, nil}
	case a.Is4():
		return TLV{tag, false, append([]byte{addressIPv4}, a.AsSlice()...)}
	}
	return TLV{tag, false, append([]byte{addressIPv6}, a.AsSlice()...)}
}

// NetworkAccessName is an access point name in labels (clause 8.70; 3GPP TS 23.003 clause 9).
type NetworkAccessName string

// parseNetworkAccessName joins the labels with dots. Some cards send one label's length and then plain text with dots
// in it: what can be read of such a name is kept.
func parseNetworkAccessName(v []byte) NetworkAccessName {
	var name []byte
	for rest := v; len(rest) > 0; {
		n := int(rest[0])
		if n == 0 || n >= len(rest) || bytes.ContainsFunc(rest[1:1+n], notPrintable) {
			name = v
			break
		}
		name = append(append(name, '.'), rest[1:1+n]...)
		rest = rest[1+n:]
	}
	labels := bytes.FieldsFunc(name, func(r rune) bool { return r == '.' || notPrintable(r) })
	return NetworkAccessName(bytes.Join(labels, []byte{'.'}))
}

// maxNetworkAccessName is more than any name has (100 octets), and what one label's length can still say.
const maxNetworkAccessName = 255

func notPrintable(r rune) bool { return r <= 0x20 || r >= 0x7F }

func (n NetworkAccessName) tlv() TLV {
	var v []byte
	if n != "" {
		for label := range strings.SplitSeq(string(n), ".") {
			v = append(append(v, byte(len(label))), label...)
		}
	}
	return TLV{TagNetworkAccessName, false, v}
}

// LinkState is what a Channel status says of a link (clause 8.56, bits 8 and 7 of the first octet).
type LinkState byte

const (
	LinkDown        LinkState = 0x00 // client: link not established; server: closed
	LinkListen      LinkState = 0x40 // TCP in UICC server mode
	LinkEstablished LinkState = 0x80
)

// Second octet of a Channel status (clause 8.56).
const (
	StatusNoInfo  byte = 0x00
	StatusDropped byte = 0x05 // link dropped
)

// ChannelStatus is the state of one channel (clause 8.56).
type ChannelStatus struct {
	Channel int // 1..7; 0 = no channel available
	Link    LinkState
	Info    byte
}

// ParseChannelStatus reads the two octets of a Channel status.
func ParseChannelStatus(v []byte) (ChannelStatus, error) {
	if len(v) != 2 {
		return ChannelStatus{}, notUnderstood("channel status of %d octets", len(v))
	}
	return ChannelStatus{int(v[0] & 0x07), LinkState(v[0] & 0xC0), v[1]}, nil
}

func (s ChannelStatus) tlv(cr bool) TLV {
	return TLV{TagChannelStatus, cr, []byte{byte(s.Channel) | byte(s.Link), s.Info}}
}

func (s ChannelStatus) String() string {
	state := "not established"
	switch s.Link {
	case LinkListen:
		state = "listening"
	case LinkEstablished:
		state = "established"
	}
	if s.Info == StatusDropped {
		state = "dropped"
	}
	return fmt.Sprintf("channel %d: link %s", s.Channel, state)
}

// dataLength is the one octet of a Channel data length (clause 8.54): FF means more than 255.
func dataLength(n int) byte { return byte(min(n, 0xFF)) }

func parseByte(v []byte, what string) (byte, error) {
	if len(v) != 1 {
		return 0, notUnderstood("%s of %d octets", what, len(v))
	}
	return v[0], nil
}

// Duration is an interval in the unit in which it was given (clause 8.8).
type Duration struct {
	Unit     byte // 00 minutes, 01 seconds, 02 tenths of a second
	Interval byte // 1..FF
}

// Value converts to a time.Duration.
func (d Duration) Value() time.Duration {
	switch d.Unit {
	case 0x00:
		return time.Duration(d.Interval) * time.Minute
	case 0x01:
		return time.Duration(d.Interval) * time.Second
	}
	return time.Duration(d.Interval) * time.Second / 10
}

func parseDuration(v []byte) (Duration, error) {
	if len(v) != 2 || v[0] > 0x02 || v[1] == 0 {
		return Duration{}, notUnderstood("duration %X", v)
	}
	return Duration{v[0], v[1]}, nil
}

func (d Duration) tlv() TLV { return TLV{TagDuration, true, []byte{d.Unit, d.Interval}} }

// TimerValue is a time as a timer counts it (clause 8.38): hours, minutes and seconds, two digits each with swapped nibbles.
type TimerValue time.Duration

const maxTimerValue = TimerValue(24*time.Hour - time.Second)

func parseTimerValue(v []byte) (TimerValue, error) {
	if len(v) != 3 {
		return 0, notUnderstood("timer value of %d octets", len(v))
	}
	h, m, s := swapped(v[0]), swapped(v[1]), swapped(v[2])
	if h > 23 || m > 59 || s > 59 {
		return 0, notUnderstood("timer value %X", v)
	}
	return TimerValue(time.Duration(h*3600+m*60+s) * time.Second), nil
}

func (t TimerValue) tlv() TLV {
	s := int(time.Duration(min(max(t, 0), maxTimerValue)) / time.Second)
	return TLV{TagTimerValue, true, []byte{swap(s / 3600), swap(s / 60 % 60), swap(s % 60)}}
}

// swapped reads two decimal digits, low nibble first; 100 and more where one is no digit.
func swapped(b byte) int {
	lo, hi := int(b&0x0F), int(b>>4)
	if lo > 9 || hi > 9 {
		return 100
	}
	return lo*10 + hi
}

func swap(n int) byte { return byte(n%10<<4 | n/10) }
