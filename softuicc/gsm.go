package softuicc

// gsmStatus gives the status word that a GSM SIM has for the same state (3GPP TS 51.011 clause 9.4).
func gsmStatus(sw uint16) uint16 {
	switch sw & 0xFF00 {
	case swMoreData:
		return 0x9F00 | sw&0xFF
	case swExactLength:
		return 0x6700 | sw&0xFF
	}
	if sw&0xFFF0 == swRetries {
		return 0x9804 // unsuccessful CHV verification, attempts left
	}
	switch sw {
	case swFileNotFound:
		return 0x9404
	case swRecordNotFound:
		return 0x9402 // out of range
	case swNoEF:
		return 0x9400
	case swStructure:
		return 0x9408
	case swSecurity:
		return 0x9804
	case swBlocked:
		return 0x9840
	case swInvalidated:
		return 0x9808 // in contradiction with CHV status
	case swParameters, swReference, swOffset:
		return 0x6B00
	case swConditions, swWrongData:
		return 0x6F00
	}
	return sw
}

// gsmInfo is the response data to SELECT and STATUS (3GPP TS 51.011 clause 9.2.1).
func (c *Card) gsmInfo(f *file) []byte {
	id := []byte{byte(f.fid >> 8), byte(f.fid)}
	if f.kind == kindDF {
		kind, dfs, efs := byte(0x02), byte(0), byte(0)
		if f.parent == nil {
			kind = 0x01
		}
		for _, k := range f.children {
			if k.kind == kindDF {
				dfs++
			} else {
				efs++
			}
		}
		chv := byte(0x80) | c.pins.retries
		features := byte(0x11)
		if c.pins.code == nil {
			features |= 0x80 // CHV1 disabled
		}
		return []byte{0, 0, 0x40, 0, id[0], id[1], kind, 0, 0, 0, 0, 0, 10, features, dfs, efs, 2, 0, chv, 0, 0, 0, 0}
	}
	structure, record := byte(0x00), byte(0)
	if f.kind == kindLinear {
		structure, record = 0x01, byte(len(f.records[0]))
	}
	n := f.size()
	return []byte{0, 0, byte(n >> 8), byte(n), id[0], id[1], 0x04, 0, 0x04, 0xFF, 0x44, 0x01, 2, structure, record}
}
