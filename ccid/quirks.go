package ccid

// quirks are what is known of one kind of reader beyond its descriptor.
type quirks struct {
	// zeroLengthOut: a message to the reader that fills its last packet is ended by an empty one. By the standard it is;
	// readers take dwLength instead, and most would take the empty packet for a message.
	zeroLengthOut bool
	// noAbort: aborts are refused, so that none is tried.
	noAbort bool
}

// quirkTable is by vendor and product. Every entry gives its reason: what was seen, and of which reader. What all readers
// must be forgiven (octets behind dwLength, stray empty transfers, answers of earlier commands) is not here, it is done for
// all.
var quirkTable = map[[2]uint16]quirks{
	// QEMU's usb-ccid (7.2): stalls all class requests on the control pipe, and answers PC_to_RDR_Abort as an unknown
	// command. A command that was given up keeps its place in the queue of answers, and later answers come under its
	// number, until the device is reset.
	{0x08E6, 0x4433}: {noAbort: true},
}

// quirksOf gives the quirks of a reader.
func quirksOf(ids IDs) quirks { return quirkTable[[2]uint16{ids.Vendor, ids.Product}] }
