package uicc

// isCase3 tells whether a command APDU of the short form has data but no Le.
func isCase3(capdu []byte) bool {
	return len(capdu) > 5 && len(capdu) == 5+int(capdu[4])
}

// answersData tells of a command with data, of which the caller expects the response through GET RESPONSE, as T=0 has it,
// that it must be sent with Le elsewhere, since T=1 and readers of APDU level have no other way to ask for the data (TS 102
// 221 clause 7.3.1.2, and the cases of commands in table 10.5; ISO/IEC 7816-3 clause 12.1).
func answersData(capdu []byte) bool {
	switch capdu[1] {
	case 0xA4: // SELECT, unless P2 says that no data is to be returned
		return capdu[3]&0x0C != 0x0C
	case 0xC2, // ENVELOPE
		0xA2,       // SEARCH RECORD
		0x88, 0x89, // AUTHENTICATE
		0x32: // INCREASE
		return true
	}
	return false
}

// AppendLe gives a command APDU of the short form as it must be sent where GET RESPONSE is not the way to the card's data: with
// Le 00 where a caller who knows T=0 alone would leave it out. It is built in buf where it differs, else it is capdu itself.
func AppendLe(buf, capdu []byte) []byte {
	if isCase3(capdu) && answersData(capdu) {
		return append(append(buf[:0], capdu...), 0)
	}
	return capdu
}
