package softuicc

import (
	"fmt"
	"strings"

	"bipd/cat"
)

// Profile is a TERMINAL PROFILE (ETSI TS 102 223 clause 5.2).
type Profile []byte

// Has reports bit 1..8 of octet 1..n; octets that are not there count as zero.
func (p Profile) Has(octet, bit int) bool {
	return octet <= len(p) && p[octet-1]>>(bit-1)&1 != 0
}

// profileBit is a place in the profile.
type profileBit struct{ octet, bit int }

// commandBits says where the profile offers a command.
var commandBits = map[byte]profileBit{
	0x01: {3, 8}, 0x02: {3, 4}, 0x03: {3, 6}, 0x04: {3, 7}, 0x05: {5, 1}, 0x10: {4, 5}, 0x11: {4, 3}, 0x12: {4, 4},
	0x13: {4, 2}, 0x20: {3, 5}, 0x21: {3, 1}, 0x22: {3, 2}, 0x23: {3, 3}, 0x24: {4, 1}, 0x25: {4, 6}, 0x26: {4, 7},
	0x27: {8, 1}, 0x28: {8, 5}, 0x40: {12, 1}, 0x41: {12, 2}, 0x42: {12, 3}, 0x43: {12, 4}, 0x44: {12, 5}, 0x45: {12, 6}, 0x46: {12, 7},
	0x47: {12, 8},
}

// Supports reports whether the terminal offers the command. Commands without a bit of their own count as not offered.
func (p Profile) Supports(t cat.CommandType) bool {
	at, ok := commandBits[byte(t)]
	return ok && p.Has(at.octet, at.bit)
}

// eventBits says where the profile offers an event.
var eventBits = map[byte]profileBit{
	0x00: {5, 2}, 0x01: {5, 3}, 0x02: {5, 4}, 0x03: {5, 5}, 0x04: {5, 6}, 0x05: {5, 7}, 0x06: {5, 8}, 0x07: {6, 1},
	0x08: {6, 2}, 0x09: {6, 3}, 0x0A: {6, 4}, 0x0B: {6, 5}, 0x0C: {6, 6}, 0x0D: {6, 7}, 0x0E: {6, 8},
}

// SupportsEvent reports whether the terminal offers the event.
func (p Profile) SupportsEvent(e cat.EventCode) bool {
	at, ok := eventBits[byte(e)]
	return ok && p.Has(at.octet, at.bit)
}

// Channels is the number of channels that the terminal offers (octet 13, bits 6 to 8).
func (p Profile) Channels() int {
	if len(p) < 13 {
		return 0
	}
	return int(p[12] >> 5)
}

// Transport reports whether the terminal offers the transport protocol (octet 17).
func (p Profile) Transport(t cat.TransportProtocol) bool {
	bits := map[cat.TransportProtocol]int{
		cat.TCPClientRemote: 1, cat.UDPClientRemote: 2, cat.TCPServer: 3, cat.TCPClientLocal: 4, cat.UDPClientLocal: 5, cat.DirectChannel: 6,
	}
	bit, ok := bits[t]
	return ok && p.Has(17, bit)
}

// String lists the commands, events and channels offered.
func (p Profile) String() string {
	var s []string
	for t := range 256 {
		if p.Supports(cat.CommandType(t)) {
			s = append(s, cat.CommandType(t).String())
		}
	}
	for e := range 256 {
		if p.SupportsEvent(cat.EventCode(e)) {
			s = append(s, cat.EventCode(e).String())
		}
	}
	return fmt.Sprintf("%d channels; %s", p.Channels(), strings.Join(s, ", "))
}
