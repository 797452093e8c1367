package softuicc

import (
	"context"
	"time"

	"bipd/uicc"
)

// Protocol control bytes of T=1 (ISO/IEC 7816-3 clause 11.3.2.2).
const (
	t1More     = 0x20 // of an I-block: the chain goes on
	t1R        = 0x80 // R-block: N(R) in bit 5, the error below
	t1S        = 0xC0 // S-block
	t1Response = 0x20 // of an S-block

	t1Resynch = 0x00
	t1IFS     = 0x01
	t1Abort   = 0x02
	t1WTX     = 0x03

	t1ErrorEDC   = 0x01 // redundancy code or parity error
	t1ErrorOther = 0x02
)

// Information field sizes (ISO/IEC 7816-3 clause 11.4.2).
const (
	defaultIFS = 32
	maxIFS     = 254
)

// T1Fault is what goes wrong with one block on the line, or what the card does instead of going on.
type T1Fault int

const (
	T1NoFault    T1Fault = iota
	T1BadEDC             // the card's answer arrives with a wrong redundancy code
	T1Lost               // the card's answer does not arrive
	T1Deaf               // the terminal's block arrives damaged: the card asks for it again
	T1NotHeard           // the terminal's block does not arrive
	T1Forgetful          // the card lost its place: it asks again and again until S(RESYNCH request)
	T1AbortChain         // the card ends the terminal's chain by S(ABORT request); no effect but on a block of a chain
)

// T1Config is how a card uses T=1. IFSC and the redundancy code are those of its answer to reset.
type T1Config struct {
	// WTX, if not 0, is asked for by S(WTX request) before each response APDU.
	WTX byte
	// WTXEvery asks for more time, by S(WTX request, 1), each time that the card has worked on a command for so long.
	WTXEvery time.Duration
	// AskIFS, if not 0, makes the card send S(IFS request, AskIFS) before its first response APDU: it can take more from then on.
	AskIFS byte
	// Fault, if set, chooses the fault for the n-th block that the terminal sends after a reset, from 1.
	Fault func(n int, block []byte) T1Fault
}

// T1 is a card seen through its I/O contact: blocks of T=1 (ISO/IEC 7816-3 clause 11). Its response APDUs are those of
// Respond. Its methods are for one goroutine at a time, but Violations.
type T1 struct {
	*line
	cfg T1Config

	blocks int // received since the reset
	ifsc   int // information field that the card takes
	ifsd   int // information field that the terminal takes
	nr     byte
	ns     byte   // of the next I-block
	last   []byte // block to repeat; without NAD change
	in     []byte // command APDU as far as it came
	chain  bool   // the terminal's chain goes on
	out    []byte // response APDU that is not sent yet
	more   bool   // the last I-block sent said that the chain goes on
	lost   bool   // by T1Forgetful
	asked  byte   // PCB of the S-block request that awaits its response; 0 = none
	wanted byte   // INF of that request
	askIFS bool   // S(IFS request) is due
	wtx    bool   // S(WTX request) of the configuration was made for this command
	abort  bool   // S(ABORT request) is to answer the block under way
	work   chan t1Result
	stop   context.CancelFunc // of the work; nil where there is none
}

type t1Result struct {
	answer []byte
	err    error
}

// NewT1 makes the T=1 face of a card. It has no power before Reset.
func NewT1(card uicc.Card, cfg T1Config, lc LineConfig) *T1 {
	return newT1(&line{card: card, cfg: lc}, cfg)
}

func newT1(l *line, cfg T1Config) *T1 {
	return &T1{line: l, cfg: cfg}
}

// Reset activates the card and returns its answer to reset. Errors are those of the card. A command under way ends.
func (t *T1) Reset(ctx context.Context, kind uicc.ResetKind) ([]byte, error) {
	t.endWork()
	b, err := t.reset(ctx, kind)
	t.clear()
	return b, err
}

func (t *T1) clear() {
	t.endWork()
	*t = T1{line: t.line, cfg: t.cfg}
	t.ifsc, t.ifsd, t.askIFS = defaultIFS, defaultIFS, t.cfg.AskIFS != 0
	if ta := t.atr.Specific(uicc.T1).TA; ta.Present && ta.Value >= 1 && ta.Value <= maxIFS {
		t.ifsc = int(ta.Value)
	}
}

// CRC tells whether the card uses the two-byte redundancy code; it has the one-byte LRC otherwise (clause 11.4.4).
func (t *T1) CRC() bool { return t.atr.Specific(uicc.T1).TC.Value&1 != 0 }

// Exchange gives the card one block, or a PPS request as the first thing after a reset, and returns its answer. Errors:
// uicc.ErrMute where nothing comes, uicc.ErrRemoved, or the context's.
func (t *T1) Exchange(ctx context.Context, block []byte) ([]byte, error) {
	if err := t.usable(ctx); err != nil {
		return nil, err
	}
	if t.fresh && len(block) > 0 && block[0] == ppss {
		if len(block) != ppsLength(block) {
			t.mute = true
			t.violate("9.2", block, "PPS request of %d bytes", len(block))
			return nil, uicc.ErrMute
		}
		if answer := t.pps(block); answer != nil {
			return answer, nil
		}
		return nil, uicc.ErrMute
	}
	t.fresh = false
	t.blocks++
	t.abort = false
	fault := T1NoFault
	if t.cfg.Fault != nil {
		fault = t.cfg.Fault(t.blocks, block)
	}
	switch fault {
	case T1NotHeard:
		return nil, uicc.ErrMute
	case T1Deaf:
		return t.reject(t1ErrorEDC), nil
	case T1Forgetful:
		t.lost = true
	case T1AbortChain:
		t.abort = true
	}
	answer, err := t.receive(ctx, block)
	if err != nil {
		return nil, err
	}
	switch fault {
	case T1Lost:
		return nil, uicc.ErrMute
	case T1BadEDC:
		answer = append([]byte(nil), answer...)
		answer[len(answer)-1] ^= 0x55
	}
	return answer, nil
}

// receive answers one block that arrived.
func (t *T1) receive(ctx context.Context, b []byte) ([]byte, error) {
	inf, edc, ok := t.split(b)
	switch {
	case !edc:
		return t.reject(t1ErrorEDC), nil
	case !ok:
		t.violate("11.3.2", b, "malformed block")
		return t.reject(t1ErrorOther), nil
	case b[0] != 0:
		t.violate("11.3.2.1", b, "NAD is %02X, the terminal has agreed on none", b[0])
		return t.reject(t1ErrorOther), nil
	}
	pcb := b[1]
	if pcb&t1S == t1S {
		return t.receiveS(ctx, b, inf)
	}
	if t.lost {
		return t.reject(t1ErrorOther), nil
	}
	if t.asked != 0 {
		// Only the response may follow a request; where it did not arrive, the request is made again (rule 7.1).
		if pcb&t1S == t1R {
			return t.last, nil
		}
		t.violate("11.6.2.3", b, "block %02X follows an S-block request", pcb)
		return t.reject(t1ErrorOther), nil
	}
	if pcb&0x80 == 0 {
		return t.receiveI(ctx, b, inf)
	}
	return t.receiveR(b)
}

// split checks a block's shape and redundancy code.
func (t *T1) split(b []byte) (inf []byte, edc, ok bool) {
	n := 1
	if t.CRC() {
		n = 2
	}
	if len(b) < 3+n || len(b) != 3+int(b[2])+n || b[2] == 0xFF {
		return nil, true, false
	}
	sum := t.edc(b[:len(b)-n])
	for i := range sum {
		if sum[i] != b[len(b)-n+i] {
			return nil, false, false
		}
	}
	return b[3 : len(b)-n], true, t.wellFormed(b[1], b[3:len(b)-n])
}

// wellFormed checks a PCB and the length of what it brings (clause 11.3.2.2 and 11.4.1).
func (t *T1) wellFormed(pcb byte, inf []byte) bool {
	switch {
	case pcb&0x80 == 0:
		return pcb&0x1F == 0 && len(inf) <= t.ifsc
	case pcb&t1S == t1R:
		return pcb&0x2F <= t1ErrorOther && len(inf) == 0
	}
	switch pcb &^ t1Response & 0x3F {
	case t1Resynch, t1Abort:
		return len(inf) == 0
	case t1IFS:
		return len(inf) == 1 && inf[0] >= 1 && inf[0] <= maxIFS
	case t1WTX:
		return len(inf) == 1
	}
	return false
}

// receiveI takes an I-block: a part of a command APDU.
func (t *T1) receiveI(ctx context.Context, b, inf []byte) ([]byte, error) {
	if t.more {
		t.violate("11.6.2.2", b, "I-block while the card's chain goes on")
		return t.reject(t1ErrorOther), nil
	}
	if b[1]>>6&1 != t.nr {
		return t.reject(t1ErrorOther), nil
	}
	t.nr ^= 1
	t.in = append(t.in, inf...)
	t.chain = b[1]&t1More != 0
	if t.chain {
		if len(inf) == 0 {
			t.violate("11.6.2.2", b, "empty block in a chain")
		}
		if t.abort {
			return t.request(t1Abort), nil
		}
		return t.keep(t.block(t1R|t.nr<<4, nil)), nil
	}
	command := t.in
	t.in = nil
	t.start(ctx, command)
	return t.proceed(ctx)
}

// receiveR takes an R-block: a request for the next part of a chain, or to repeat.
func (t *T1) receiveR(b []byte) ([]byte, error) {
	again := b[1]>>4&1 != t.ns // it names the block that was sent last
	switch {
	case t.more && !again:
		return t.part(), nil
	case t.last != nil && t.last[1] == t1S|t1Response|t1IFS && b[1]&t1ErrorEDC == 0:
		return t.block(t1R|t.nr<<4|t1ErrorOther, nil), nil
	case t.last == nil, !again && t.last[1]&0x80 == 0:
		// All that the card sent has arrived, so the terminal's own block was lost: it is to repeat that.
		return t.block(t1R|t.nr<<4|t1ErrorOther, nil), nil
	}
	return t.last, nil
}

// receiveS takes an S-block.
func (t *T1) receiveS(ctx context.Context, b, inf []byte) ([]byte, error) {
	pcb := b[1]
	if t.lost && pcb != t1S|t1Resynch {
		return t.reject(t1ErrorOther), nil
	}
	if pcb&t1Response != 0 {
		return t.receiveResponse(ctx, b, inf)
	}
	switch pcb &^ t1S {
	case t1Resynch:
		t.endWork()
		t.nr, t.ns, t.ifsd = 0, 0, defaultIFS
		t.in, t.chain, t.out, t.more, t.asked, t.lost = nil, false, nil, false, 0, false
		return t.keep(t.block(pcb|t1Response, nil)), nil
	case t1IFS:
		t.ifsd = int(inf[0])
		return t.keep(t.block(pcb|t1Response, inf)), nil
	case t1Abort:
		if !t.more {
			t.violate("11.6.2.3", b, "S(ABORT request) outside a chain")
		}
		t.out, t.more = nil, false
		return t.keep(t.block(pcb|t1Response, nil)), nil
	}
	t.violate("11.6.2.3", b, "S(WTX request) by the terminal")
	return t.reject(t1ErrorOther), nil
}

// receiveResponse takes the response to the card's own S-block request.
func (t *T1) receiveResponse(ctx context.Context, b, inf []byte) ([]byte, error) {
	if t.asked == 0 || b[1] != t.asked|t1Response || len(inf) > 0 && inf[0] != t.wanted {
		t.violate("11.6.2.3", b, "S-block response that answers no request")
		return t.reject(t1ErrorOther), nil
	}
	asked := t.asked &^ t1S
	t.asked = 0
	switch asked {
	case t1Abort:
		t.in, t.chain = nil, false
		return t.keep(t.block(t1R|t.nr<<4, nil)), nil
	case t1IFS:
		t.ifsc = int(t.wanted)
	}
	return t.proceed(ctx)
}

// start has the card work on a command. The work goes on while S-blocks ask for more time, which is why the end of one
// Exchange does not end it.
func (t *T1) start(ctx context.Context, command []byte) {
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.wtx = false
	work := make(chan t1Result, 1)
	t.work = work
	go func() {
		answer, err := Respond(ctx, t.card, command)
		work <- t1Result{answer, err}
	}()
}

// proceed gives what the card says next of the command that it works on.
func (t *T1) proceed(ctx context.Context) ([]byte, error) {
	switch {
	case t.askIFS:
		t.askIFS = false
		return t.request(t1IFS, t.cfg.AskIFS), nil
	case t.cfg.WTX != 0 && !t.wtx:
		t.wtx = true
		return t.request(t1WTX, t.cfg.WTX), nil
	}
	var late <-chan time.Time
	if t.cfg.WTXEvery > 0 {
		timer := time.NewTimer(t.cfg.WTXEvery)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case r := <-t.work:
		t.stop()
		t.stop, t.work = nil, nil
		if r.err != nil {
			return nil, r.err
		}
		t.out = r.answer
		return t.part(), nil
	case <-late:
		return t.request(t1WTX, 1), nil
	case <-ctx.Done():
		t.endWork()
		return nil, ctx.Err()
	}
}

// endWork ends the card's work on a command, if there is any, and forgets its answer.
func (t *T1) endWork() {
	if t.work == nil {
		return
	}
	t.stop()
	<-t.work
	t.stop, t.work = nil, nil
}

// part makes the I-block with the next part of the response APDU.
func (t *T1) part() []byte {
	n := min(len(t.out), t.ifsd)
	pcb := t.ns << 6
	if t.more = n < len(t.out); t.more {
		pcb |= t1More
	}
	b := t.block(pcb, t.out[:n])
	t.out = t.out[n:]
	t.ns ^= 1
	return t.keep(b)
}

// request makes an S-block request and notes that its response must follow.
func (t *T1) request(kind byte, inf ...byte) []byte {
	t.asked = t1S | kind
	if len(inf) > 0 {
		t.wanted = inf[0]
	}
	return t.keep(t.block(t.asked, inf))
}

// reject makes the R-block that asks for the last block again. It is not kept: what it answers is to be repeated, not it.
func (t *T1) reject(reason byte) []byte { return t.block(t1R|t.nr<<4|reason, nil) }

func (t *T1) keep(b []byte) []byte {
	t.last = b
	return b
}

// block makes NAD PCB LEN INF EDC.
func (t *T1) block(pcb byte, inf []byte) []byte {
	b := append([]byte{0, pcb, byte(len(inf))}, inf...)
	return append(b, t.edc(b)...)
}

func (t *T1) edc(b []byte) []byte {
	if t.CRC() {
		crc := crc16(b)
		return []byte{byte(crc >> 8), byte(crc)}
	}
	var lrc byte
	for _, c := range b {
		lrc ^= c
	}
	return []byte{lrc}
}

// crc16 is the two-byte redundancy code (ISO/IEC 7816-3 clause 11.4.4), sent high byte first. The clause refers to ISO/IEC
// 13239 and leaves open whether its final complement is meant; readers that check the code have been seen to expect
// none (00 C1 01 FE is followed by 54 4E).
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
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
