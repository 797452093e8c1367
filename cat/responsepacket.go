package cat

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// responseHeader begins a response packet in the user data of a short message: header of two octets, information element 71, which
// is empty (3GPP TS 31.115 clause 4.4).
var responseHeader = [3]byte{0x02, 0x71, 0x00}

// ResponsePacket is what a secured command packet is answered with, also called proof of receipt (ETSI TS 102 225 clause 5.2).
type ResponsePacket struct {
	TAR      [3]byte // toolkit application reference
	Counter  [5]byte
	Padding  byte   // octets of padding at the end of the data
	Status   byte   // response status code; 00 = PoR OK
	Checksum []byte // redundancy check, cryptographic checksum or digital signature; empty where none was asked for
	Data     []byte // additional response data; where it is ciphered, so are Counter, Padding and Status
}

// responseFixed are the octets of TAR, counter, padding counter and status.
const responseFixed = 3 + 5 + 1 + 1

// ParseResponsePacket reads a response packet, with the user data header before it.
func ParseResponsePacket(b []byte) (ResponsePacket, error) {
	var r ResponsePacket
	if len(b) < 6 || [3]byte(b) != responseHeader {
		return r, errors.New("cat: no response packet")
	}
	packet := b[5:]
	if n := int(binary.BigEndian.Uint16(b[3:])); n != len(packet) {
		return r, fmt.Errorf("cat: response packet of %d octets says that it has %d", len(packet), n)
	}
	header := int(packet[0])
	if header < responseFixed || header+1 > len(packet) {
		return r, fmt.Errorf("cat: response header of %d octets in a packet of %d", header, len(packet))
	}
	h := packet[1 : 1+header]
	copy(r.TAR[:], h)
	copy(r.Counter[:], h[3:])
	r.Padding, r.Status = h[8], h[9]
	r.Checksum, r.Data = h[responseFixed:], packet[1+header:]
	return r, nil
}

// Append appends the packet with its user data header.
func (r ResponsePacket) Append(dst []byte) []byte {
	dst = append(dst, responseHeader[:]...)
	header := responseFixed + len(r.Checksum)
	dst = binary.BigEndian.AppendUint16(dst, uint16(1+header+len(r.Data)))
	dst = append(append(append(dst, byte(header)), r.TAR[:]...), r.Counter[:]...)
	dst = append(append(dst, r.Padding, r.Status), r.Checksum...)
	return append(dst, r.Data...)
}

// StatusText says what the response status code means (ETSI TS 102 225 clause 5.2.2).
func (r ResponsePacket) StatusText() string {
	texts := []string{
		"PoR OK", "RC/CC/DS failed", "counter low", "counter high", "counter blocked", "ciphering error",
		"unidentified security error", "insufficient memory", "more time needed", "TAR unknown", "insufficient security level",
	}
	if int(r.Status) < len(texts) {
		return texts[r.Status]
	}
	return fmt.Sprintf("status %02X", r.Status)
}
