package ccidemu

import (
	"encoding/binary"

	"bipd/ccid/usbfs"
)

// Class requests (CCID clause 5.3), and what is said of bmRequestType.
const (
	requestAbort          = 0x01
	requestClockFrequency = 0x02
	requestDataRates      = 0x03

	typeClassOut = 0x21
	typeClassIn  = 0xA1
)

// classRequest answers a class request to the interface: data for one towards the host, or usbfs.ErrStall.
func (r *Reader) classRequest(requestType, request byte, value uint16) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil, usbfs.ErrGone
	}
	setup := []byte{requestType, request, byte(value), byte(value >> 8)}
	switch {
	case requestType == typeClassOut && request == requestAbort:
		if r.model.NoAbort {
			return nil, usbfs.ErrStall
		}
		n := int(value & 0xFF)
		if n >= len(r.slots) {
			r.violate("5.3.1", setup, "ABORT for slot %d", n)
			return nil, usbfs.ErrStall
		}
		r.slots[n].requestAbort(byte(value >> 8))
		return nil, nil
	case requestType == typeClassIn && request == requestClockFrequency && r.model.ClockList != nil:
		return list(r.model.ClockList), nil
	case requestType == typeClassIn && request == requestDataRates && r.model.RateList != nil:
		return list(r.model.RateList), nil
	case requestType == typeClassIn && (request == requestClockFrequency || request == requestDataRates):
		return nil, usbfs.ErrStall
	}
	r.violate("5.3", setup, "a class request that there is not")
	return nil, usbfs.ErrStall
}

func list(values []uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
