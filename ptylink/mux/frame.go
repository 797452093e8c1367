package mux

import "fmt"

// frameType is a control octet without its P/F bit (TS 27.010 table 2).
type frameType byte

const (
	frameSABM frameType = 0x2f // set asynchronous balanced mode: opens a DLC
	frameUA   frameType = 0x63 // unnumbered acknowledgement of SABM or DISC
	frameDM   frameType = 0x0f // disconnected mode: refuses
	frameDISC frameType = 0x43 // disconnect: closes a DLC
	frameUIH  frameType = 0xef // unnumbered information, FCS over the header only
	frameUI   frameType = 0x03 // unnumbered information, FCS over header and information
)

// known tells whether this package reads frames of type t. I frames and the
// supervisory frames belong to the error recovery mode, which nobody offers.
func (t frameType) known() bool {
	switch t {
	case frameSABM, frameUA, frameDM, frameDISC, frameUIH, frameUI:
		return true
	}
	return false
}

func (t frameType) String() string {
	switch t {
	case frameSABM:
		return "SABM"
	case frameUA:
		return "UA"
	case frameDM:
		return "DM"
	case frameDISC:
		return "DISC"
	case frameUIH:
		return "UIH"
	case frameUI:
		return "UI"
	}
	return fmt.Sprintf("control %02x", byte(t))
}

const (
	bitEA = 0x01 // last octet of a field (clause 5.2.1.2)
	bitCR = 0x02 // command or response, in the address and message type octets
	bitPF = 0x10 // poll or final, in the control octet

	// maxInfo is the largest information field: 15 bits of length (clause 5.2.1.5).
	maxInfo = 32767
	// overhead is what the basic option adds to a frame at most: two flags, address,
	// control, two length octets, FCS.
	overhead = 7
)

// frame is one frame of TS 27.010 clause 5.2.1, without flags, length and FCS.
type frame struct {
	dlci int  // 0..63
	cr   bool // C/R bit as on the line
	typ  frameType
	pf   bool
	info []byte // at most maxInfo octets
}

func (f frame) String() string {
	return fmt.Sprintf("%v dlci %d cr %t pf %t %d octets", f.typ, f.dlci, f.cr, f.pf, len(f.info))
}

func (f frame) address() byte {
	a := byte(f.dlci)<<2 | bitEA
	if f.cr {
		a |= bitCR
	}
	return a
}

func (f frame) control() byte {
	if f.pf {
		return byte(f.typ) | bitPF
	}
	return byte(f.typ)
}

// Flags of the two options (clauses 5.2.1.1 and 5.2.6).
const (
	flagBasic    = 0xf9
	flagAdvanced = 0x7e
	escape       = 0x7d // clause 5.2.6.2: the next octet has bit 6 complemented
	escapeBit    = 0x20
)

// appendBasic appends f with both flags in the basic option (clause 5.2.1).
func appendBasic(dst []byte, f frame) []byte {
	dst = append(dst, flagBasic)
	header := len(dst)
	dst = append(dst, f.address(), f.control())
	if n := len(f.info); n <= 127 {
		dst = append(dst, byte(n)<<1|bitEA)
	} else {
		dst = append(dst, byte(n)<<1, byte(n>>7))
	}
	sum := fcsSum(fcsStart, dst[header:])
	if f.typ != frameUIH {
		sum = fcsSum(sum, f.info)
	}
	dst = append(dst, f.info...)
	return append(dst, ^sum, flagBasic)
}

// appendAdvanced appends f with both flags in the advanced option (clause 5.2.6).
func appendAdvanced(dst []byte, f frame) []byte {
	header := [2]byte{f.address(), f.control()}
	sum := fcsSum(fcsStart, header[:])
	if f.typ != frameUIH {
		sum = fcsSum(sum, f.info)
	}
	dst = append(dst, flagAdvanced)
	dst = appendStuffed(dst, header[:])
	dst = appendStuffed(dst, f.info)
	dst = appendStuffed(dst, []byte{^sum})
	return append(dst, flagAdvanced)
}

// appendStuffed appends b with flag and escape made transparent, and XON and XOFF
// in either parity too, so that a line with software flow control carries them.
func appendStuffed(dst, b []byte) []byte {
	for _, o := range b {
		switch o {
		case flagAdvanced, escape, 0x11, 0x13, 0x91, 0x93:
			dst = append(dst, escape, o^escapeBit)
		default:
			dst = append(dst, o)
		}
	}
	return dst
}
