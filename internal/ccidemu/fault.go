package ccidemu

import "encoding/binary"

// FaultKind is one way in which a reader fails its driver.
type FaultKind int

const (
	Silent          FaultKind = iota // no answer
	Late                             // the answer comes just before that to the next command
	Twice                            // the answer comes twice
	ForeignSeq                       // an answer with another bSeq comes first
	ForeignSlot                      // an answer for another slot comes first
	StallIn                          // the bulk IN endpoint stalls before the answer
	StallOut                         // the bulk OUT endpoint stalls, and the command is not taken
	Trailing                         // N octets follow the message, within its transfer
	Longer                           // dwLength is N too large
	Shorter                          // dwLength is N too small, or 0
	Cut                              // the message ends after N octets
	Split                            // the message comes in transfers of N octets, N less than a packet
	StrayZLP                         // a transfer without octets follows a message of exactly one packet
	NoZLP                            // a message of full packets is not ended
	DropAbove                        // an answer of more than N octets is lost
	Extend                           // N time extensions come before the answer
	NoErrorBit                       // the answer to a failed command does not say so, and has no data
	NoErrorCode                      // the answer to a failed command has bError 00
	Fail                             // the command is not done and fails with bError N
	Unsupported                      // the command is answered by SlotStatus, failed, bError 00
	EmptyParameters                  // Parameters say dwLength 0, and the structure of T=1 follows all the same
)

// Fault is a fault and when it strikes.
type Fault struct {
	Kind    FaultKind
	Message byte // bMessageType of the commands that it strikes; 0 = all
	Nth     int  // the Nth such command since the fault was set, from 1; 0 = each
	N       int
}

// counted is a fault that counts its commands.
type counted struct {
	Fault
	seen int
}

// SetFaults replaces the reader's faults by those of its model and these.
func (r *Reader) SetFaults(faults ...Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
	for _, f := range append(append([]Fault(nil), r.model.Faults...), faults...) {
		r.faults = append(r.faults, &counted{Fault: f})
	}
}

// striking gives the faults that strike a command of a type. The caller holds mu.
func (r *Reader) striking(typ byte) (strike []Fault) {
	for _, f := range r.faults {
		if f.Message != 0 && f.Message != typ {
			continue
		}
		if f.seen++; f.Nth == 0 || f.Nth == f.seen {
			strike = append(strike, f.Fault)
		}
	}
	return strike
}

// fault finds the fault of a kind that strikes the command.
func (c *command) fault(kind FaultKind) (Fault, bool) {
	for _, f := range c.faults {
		if f.Kind == kind {
			return f, true
		}
	}
	return Fault{}, false
}

// deliver queues the answer to a command, with what its faults make of it. The caller holds mu.
func (r *Reader) deliver(c *command, b []byte) {
	late := r.late
	r.late = nil
	for _, m := range late {
		r.transmit(m, true)
	}
	b = c.distort(b)
	if f, ok := c.fault(Extend); ok {
		for range f.N {
			r.transmit(answer(msgDataBlock, c.slot, c.seq, statusTime|b[7]&3, 1, 0, nil), true)
		}
	}
	if _, ok := c.fault(ForeignSeq); ok {
		r.transmit(answer(b[0], c.slot, c.seq-1, b[7], b[8], b[9], []byte{0x6F, 0xFF}), true)
	}
	if _, ok := c.fault(ForeignSlot); ok {
		r.transmit(answer(b[0], c.slot+1, c.seq, b[7], b[8], b[9], []byte{0x6F, 0xFE}), true)
	}
	if _, ok := c.fault(StallIn); ok {
		r.bulkIn.packets = append(r.bulkIn.packets, packet{stall: true})
	}
	if _, ok := c.fault(Silent); ok {
		r.bulkIn.pump()
		return
	}
	if f, ok := c.fault(DropAbove); ok && len(b) > f.N {
		return
	}
	if _, ok := c.fault(Late); ok {
		r.late = append(r.late, b)
		return
	}
	r.deliverWhole(c, b)
	if _, ok := c.fault(Twice); ok {
		r.deliverWhole(c, b)
	}
}

// deliverWhole queues an answer as the faults of its transfers have it.
func (r *Reader) deliverWhole(c *command, b []byte) {
	if f, ok := c.fault(Split); ok && f.N > 0 && f.N < r.bulkIn.size {
		for len(b) > f.N {
			r.transmit(b[:f.N], true)
			b = b[f.N:]
		}
	}
	if _, ok := c.fault(StrayZLP); ok && len(b) == r.bulkIn.size {
		r.bulkIn.packets = append(r.bulkIn.packets, packet{data: b, last: true}, packet{})
		r.bulkIn.pump()
		return
	}
	_, open := c.fault(NoZLP)
	r.transmit(b, !open)
}

func (r *Reader) transmit(b []byte, zlp bool) {
	r.bulkIn.message(b, zlp)
	r.bulkIn.pump()
}

// distort applies the faults that change the octets of an answer.
func (c *command) distort(b []byte) []byte {
	failed := b[7]&0xC0 == statusFailed
	if _, ok := c.fault(Unsupported); ok {
		b = answer(msgSlotStatus, c.slot, c.seq, b[7]&3|statusFailed, 0, 0, nil)
	}
	if _, ok := c.fault(NoErrorBit); ok && failed {
		b = answer(b[0], c.slot, c.seq, b[7]&3, 0, b[9], nil)
	}
	if _, ok := c.fault(NoErrorCode); ok && failed {
		b[8] = 0
	}
	if _, ok := c.fault(EmptyParameters); ok && b[0] == msgParameters {
		data := append(b[headerLength:len(b):len(b)], 0, 0, 0, 0, 0, 0, 0)[:7]
		b = append(answer(b[0], c.slot, c.seq, b[7], b[8], b[9], nil), data...)
	}
	length := binary.LittleEndian.Uint32(b[1:])
	if f, ok := c.fault(Longer); ok {
		binary.LittleEndian.PutUint32(b[1:], length+uint32(f.N))
	}
	if f, ok := c.fault(Shorter); ok {
		binary.LittleEndian.PutUint32(b[1:], length-min(length, uint32(f.N)))
	}
	if f, ok := c.fault(Trailing); ok {
		b = append(b, make([]byte, f.N)...)
	}
	if f, ok := c.fault(Cut); ok && f.N < len(b) {
		b = b[:f.N]
	}
	return b
}
