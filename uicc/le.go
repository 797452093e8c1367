package uicc

// isCase3 tells whether a command APDU of the short form has data but no Le.
func isCase3(capdu []byte) bool {
	return len(capdu) > 5 && len(capdu) == 5+int(capdu[4])
}

// answersData tells of the header of a command with data whether the command is one of case 4, so that its response has
// data (TS 102 221 table 10.5, TS 31.102 clause 7, TS 51.011 clause 9.2; for the class of GlobalPlatform, Card
// Specification 2.3 clause 11.1.5). Callers who know T=0 alone leave its Le out.
func answersData(cla, ins, p1, p2 byte) bool {
	switch ins {
	case 0xA4: // SELECT, unless P2 says that no data is to be returned
		return p2&0x0C != 0x0C
	case 0xC2, // ENVELOPE
		0xA2,       // SEARCH RECORD
		0xCB,       // RETRIEVE DATA: the first block, which carries the tag
		0x88, 0x89, // AUTHENTICATE
		0x78, // GET IDENTITY
		0x7A, // EXCHANGE CAPABILITIES
		0x32: // INCREASE
		return true
	case 0xF2, // GET STATUS; STATUS of a UICC has no data
		0x50: // INITIALIZE UPDATE
		return cla&0x80 != 0
	case 0xE2: // STORE DATA, where P1 says that its response has data; of class 0X it is APPEND RECORD
		return cla&0x80 != 0 && p1&0x01 != 0
	}
	return false
}

// wantsData tells whether the caller of the command waits for response data: Le says so, or the kind of command.
func (c Command) wantsData() bool {
	return c.Le != 0 || len(c.Data) > 0 && answersData(c.CLA, c.INS, c.P1, c.P2)
}

// AppendLe gives a command APDU of the short form as it must be sent where GET RESPONSE is not the way to the card's
// data, that is under T=1 and to readers of APDU level (TS 102 221 clause 7.3.1.2, ISO/IEC 7816-3 clause 12.1): with Le
// 00 where a caller who knows T=0 alone would leave it out. It is built in buf where it differs, else it is capdu itself.
func AppendLe(buf, capdu []byte) []byte {
	if isCase3(capdu) && answersData(capdu[0], capdu[1], capdu[2], capdu[3]) {
		return append(append(buf[:0], capdu...), 0)
	}
	return capdu
}
