package mux

// Frame check sequence of TS 27.010 clause 5.2.1.6 and Annex B: CRC-8 with the
// polynomial x^8+x^2+x+1 in reversed bit order, start value ff, complemented.
const (
	fcsStart      = 0xff
	fcsPolynomial = 0xe0
	// fcsGood is what remains after summing the covered octets and the FCS itself.
	fcsGood = 0xcf
)

// fcsTable is the reversed CRC table of Annex B.3.5.
var fcsTable = makeFCSTable()

func makeFCSTable() (t [256]byte) {
	for i := range t {
		crc := byte(i)
		for range 8 {
			carry := crc & 1
			crc >>= 1
			if carry != 0 {
				crc ^= fcsPolynomial
			}
		}
		t[i] = crc
	}
	return t
}

// fcsSum continues the running sum over b.
func fcsSum(sum byte, b []byte) byte {
	for _, o := range b {
		sum = fcsTable[sum^o]
	}
	return sum
}
