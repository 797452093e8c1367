package conformance

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// A GSMTAP packet for SIM (version 2, type 4, sub-type 0 APDU) in UDP in IPv4.
const (
	ipHeader     = 20
	udpHeader    = 8
	gsmtapHeader = 16
	headers      = ipHeader + udpHeader + gsmtapHeader
	gsmtapPort   = 4729
	linkTypeIPv4 = 228
)

// writePcap writes each exchange as one packet: command, then response, as T=0 carries them.
func writePcap(to io.Writer, exchanges []exchange) error {
	w := bufio.NewWriter(to)
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0xA1B2C3D4)
	head = le.AppendUint16(le.AppendUint16(head, 2), 4)
	head = le.AppendUint32(append(head, make([]byte, 8)...), 65535)
	w.Write(le.AppendUint32(head, linkTypeIPv4))
	for _, e := range exchanges {
		p := packet(e)
		record := le.AppendUint32(le.AppendUint32(nil, uint32(e.start.Unix())), uint32(e.start.Nanosecond()/1000))
		w.Write(le.AppendUint32(le.AppendUint32(record, uint32(len(p))), uint32(len(p))))
		w.Write(p)
	}
	return w.Flush() // it keeps the first error
}

func packet(e exchange) []byte {
	be := binary.BigEndian
	n := headers + len(e.capdu) + len(e.rapdu)
	p := be.AppendUint16([]byte{0x45, 0}, uint16(n))
	p = append(p, 0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1)
	p = be.AppendUint16(be.AppendUint16(p, gsmtapPort), gsmtapPort)
	p = be.AppendUint16(be.AppendUint16(p, uint16(n-ipHeader)), 0)
	p = append(p, 2, gsmtapHeader/4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(append(p, e.capdu...), e.rapdu...)
}

// key tells exchanges apart: those alike need to be decoded but once.
func (e exchange) key() string {
	return string(bytes.Join([][]byte{e.capdu, e.rapdu}, []byte{0xFF, 0xFE}))
}
