package ccid

// headerLength is the length of the header of every bulk message (CCID clause 6): bMessageType, dwLength, bSlot, bSeq and
// three octets that are the message's own.
const headerLength = 10
