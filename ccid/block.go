package ccid

// Protocol control bytes of T=1 (ISO/IEC 7816-3 clause 11.3.2.2).
const (
	pcbI        = 0x00 // bit 8 clear
	pcbR        = 0x80
	pcbS        = 0xC0
	pcbKind     = 0xC0
	pcbMore     = 0x20 // I-block: the chain goes on
	pcbResponse = 0x20 // S-block
)

// S-blocks, with pcbS, without pcbResponse.
const (
	sResynch = 0x00
	sIFS     = 0x01
	sAbort   = 0x02
	sWTX     = 0x03
)

// What an R-block says beside N(R).
const (
	rOK    = 0x00
	rEDC   = 0x01 // redundancy code or parity error
	rOther = 0x02
)

// Information field sizes (ISO/IEC 7816-3 clause 11.4.2).
const (
	defaultIFS = 32
	maxIFS     = 254
)

// block is a block of T=1 with node address 00: PCB and information field.
type block struct {
	pcb byte
	inf []byte
}

func iBlock(ns byte, more bool, inf []byte) block {
	pcb := byte(pcbI) | ns<<6
	if more {
		pcb |= pcbMore
	}
	return block{pcb, inf}
}

func rBlock(nr, reason byte) block { return block{pcb: pcbR | nr<<4 | reason} }

func (b block) isI() bool { return b.pcb&0x80 == 0 }
func (b block) isR() bool { return b.pcb&pcbKind == pcbR }

// ns and more are of an I-block, nr of an R-block.
func (b block) ns() byte   { return b.pcb >> 6 & 1 }
func (b block) more() bool { return b.pcb&pcbMore != 0 }
func (b block) nr() byte   { return b.pcb >> 4 & 1 }

// append appends NAD, PCB, LEN, the information field and the redundancy code.
func (b block) append(buf []byte, crc bool) []byte {
	start := len(buf)
	buf = append(buf, 0, b.pcb, byte(len(b.inf)))
	buf = append(buf, b.inf...)
	if crc {
		c := crc16(buf[start:])
		return append(buf, byte(c>>8), byte(c))
	}
	return append(buf, lrc(buf[start:]))
}

// parseBlock reads a block. Where it is none, fault is what an R-block says of it; rOK else.
func parseBlock(buf []byte, crc bool) (b block, fault byte) {
	edc := 1
	if crc {
		edc = 2
	}
	n := len(buf) - edc
	if n < 3 || int(buf[2]) != n-3 || buf[2] == 0xFF {
		return block{}, rOther
	}
	if crc && crc16(buf[:n]) != uint16(buf[n])<<8|uint16(buf[n+1]) || !crc && lrc(buf[:n]) != buf[n] {
		return block{}, rEDC
	}
	b = block{buf[1], buf[3:n:n]}
	if !b.valid() {
		return block{}, rOther
	}
	return b, rOK
}

// valid tells whether the control byte is one, with an information field as it has.
func (b block) valid() bool {
	switch {
	case b.isI():
		return b.pcb&0x1F == 0
	case b.isR():
		return b.pcb&0x2F <= rOther && len(b.inf) == 0
	}
	switch b.pcb &^ (pcbS | pcbResponse) {
	case sResynch, sAbort:
		return len(b.inf) == 0
	case sIFS:
		return len(b.inf) == 1 && b.inf[0] >= 1 && b.inf[0] <= maxIFS
	case sWTX:
		return len(b.inf) == 1
	}
	return false
}

// lrc is the redundancy code of one octet (clause 11.4.4).
func lrc(b []byte) (x byte) {
	for _, v := range b {
		x ^= v
	}
	return x
}

// crc16 is the redundancy code of two octets, the high one first (clause 11.4.4, ISO/IEC 13239 without the final
// complement, as readers have it).
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, v := range b {
		crc ^= uint16(v)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0x8408
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
