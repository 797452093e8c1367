package uicc

import (
	"errors"
	"fmt"
)

// Lengths of a short command APDU (ISO/IEC 7816-3 clause 12.1.1).
const (
	MaxData    = 255 // bytes in the command data field
	MaxLe      = 256 // bytes that Le can ask for
	MaxCommand = 4 + 1 + MaxData + 1
)

// InsGetResponse is the instruction that fetches response data under T=0 (TS 102 221 clause 12.1.1).
const InsGetResponse = 0xC0

// ErrCommand is wrapped by every error about the shape of a command APDU.
var ErrCommand = errors.New("uicc: bad command APDU")

// Command is a command APDU of the short form (TS 102 221 clause 10.1, ISO/IEC 7816-3 clause 12.1):
//
//	case 1  CLA INS P1 P2
//	case 2  CLA INS P1 P2 Le
//	case 3  CLA INS P1 P2 Lc Data
//	case 4  CLA INS P1 P2 Lc Data Le
//
// Data is present where it is not empty. Le is the number of bytes that the response may have, 1 to 256 (256 is coded
// as 00), and 0 where the field is absent.
type Command struct {
	CLA, INS, P1, P2 byte
	Data             []byte
	Le               int
}

// GetResponse is the command that fetches le bytes (1 to 256) of response data.
func GetResponse(cla byte, le int) Command {
	return Command{CLA: cla, INS: InsGetResponse, Le: le}
}

// ParseCommand reads a command APDU, strictly: no byte may be missing or left over, Lc may not be 00, and the extended
// form is refused. Data is a part of capdu. Every error wraps ErrCommand.
func ParseCommand(capdu []byte) (Command, error) {
	n := len(capdu)
	if n < 4 {
		return Command{}, fmt.Errorf("%w: %d bytes, a header has 4", ErrCommand, n)
	}
	c := Command{CLA: capdu[0], INS: capdu[1], P1: capdu[2], P2: capdu[3]}
	if err := c.check(); err != nil {
		return Command{}, err
	}
	if n == 4 {
		return c, nil
	}
	p3 := int(capdu[4])
	switch {
	case n == 5:
		c.Le = lengthOf(capdu[4])
	case p3 == 0:
		return Command{}, fmt.Errorf("%w: Lc is 00, the extended form is not supported", ErrCommand)
	case n == 5+p3:
		c.Data = capdu[5:n:n]
	case n == 6+p3:
		c.Data = capdu[5 : n-1 : n-1]
		c.Le = lengthOf(capdu[n-1])
	default:
		return Command{}, fmt.Errorf("%w: Lc is %d, %d bytes follow it", ErrCommand, p3, n-5)
	}
	return c, nil
}

// check refuses what no card may be sent. An INS of 6x or 9x cannot be told from SW1 (ISO/IEC 7816-3 clause 10.3.2), and
// CLA FF begins a PPS request (clause 9).
func (c Command) check() error {
	switch {
	case c.CLA == 0xFF:
		return fmt.Errorf("%w: CLA FF is not a class", ErrCommand)
	case c.INS>>4 == 6, c.INS>>4 == 9:
		return fmt.Errorf("%w: INS %02X is not an instruction", ErrCommand, c.INS)
	case len(c.Data) > MaxData:
		return fmt.Errorf("%w: %d bytes of data, the short form holds %d", ErrCommand, len(c.Data), MaxData)
	case c.Le < 0 || c.Le > MaxLe:
		return fmt.Errorf("%w: Le is %d, the short form holds 1 to %d", ErrCommand, c.Le, MaxLe)
	}
	return nil
}

// Case is 1 to 4: whether the command carries data (3, 4) and whether it expects some (2, 4).
func (c Command) Case() int {
	n := 1
	if c.Le != 0 {
		n++
	}
	if len(c.Data) > 0 {
		n += 2
	}
	return n
}

// AppendBinary appends the command APDU to b. Every error wraps ErrCommand.
func (c Command) AppendBinary(b []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return b, err
	}
	b = append(b, c.CLA, c.INS, c.P1, c.P2)
	if len(c.Data) > 0 {
		b = append(b, byte(len(c.Data)))
		b = append(b, c.Data...)
	}
	if c.Le != 0 {
		b = append(b, byte(c.Le))
	}
	return b, nil
}

// MarshalBinary gives the command APDU.
func (c Command) MarshalBinary() ([]byte, error) {
	return c.AppendBinary(make([]byte, 0, 6+len(c.Data)))
}

// TPDU gives the bytes that T=0 carries for the command (TS 102 221 clause 7.3.1.1, ISO/IEC 7816-3 clause 12.2): case 1
// is sent with P3 = 00, and case 4 without Le, for the card names the length of its response by 61xx.
func (c Command) TPDU() ([]byte, error) {
	switch c.Case() {
	case 1:
		c.Le = MaxLe
	case 4:
		c.Le = 0
	}
	return c.MarshalBinary()
}

// String gives the header, the lengths of both data fields, but not the data, which may hold a secret.
func (c Command) String() string {
	s := fmt.Sprintf("%02X %02X %02X %02X", c.CLA, c.INS, c.P1, c.P2)
	if len(c.Data) > 0 {
		s += fmt.Sprintf(" Lc %d", len(c.Data))
	}
	if c.Le != 0 {
		s += fmt.Sprintf(" Le %d", c.Le)
	}
	return s
}
