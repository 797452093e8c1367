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

// Standard requests (USB 2.0 clause 9.4).
const (
	requestGetStatus        = 0
	requestClearFeature     = 1
	requestSetFeature       = 3
	requestSetAddress       = 5
	requestGetDescriptor    = 6
	requestGetConfiguration = 8
	requestSetConfiguration = 9
	requestGetInterface     = 10
	requestSetInterface     = 11
)

// control answers a request on the control endpoint: data for one towards the host, or usbfs.ErrStall.
func (r *Reader) control(setup [8]byte) ([]byte, error) {
	requestType, request := setup[0], setup[1]
	value, index := binary.LittleEndian.Uint16(setup[2:]), binary.LittleEndian.Uint16(setup[4:])
	switch requestType & 0x60 {
	case 0x00:
		return r.standardRequest(requestType, request, value)
	case 0x20:
		if requestType&0x1F != 1 || index != 0 {
			r.violate("5.3", setup[:], "a class request that is not for the interface")
			return nil, usbfs.ErrStall
		}
		return r.classRequest(requestType, request, value)
	}
	return nil, usbfs.ErrStall // vendor
}

func (r *Reader) standardRequest(requestType, request byte, value uint16) ([]byte, error) {
	if requestType&0x80 == 0 {
		switch request {
		case requestSetConfiguration:
			r.reset()
			return nil, nil
		case requestClearFeature:
			if r.model.NoClearHalt {
				return nil, usbfs.ErrStall
			}
			return nil, nil
		case requestSetAddress, requestSetFeature, requestSetInterface:
			return nil, nil
		}
		return nil, usbfs.ErrStall
	}
	var b []byte
	switch request {
	case requestGetStatus:
		b = []byte{0, 0}
	case requestGetConfiguration:
		b = []byte{1}
	case requestGetInterface:
		b = []byte{0}
	case requestGetDescriptor:
		switch value >> 8 {
		case 1:
			b = r.model.deviceDescriptor()
		case 2:
			b = r.model.configDescriptor()
		case 3:
			b = r.model.stringDescriptor(byte(value))
		}
	}
	if b == nil {
		return nil, usbfs.ErrStall
	}
	return b, nil
}
