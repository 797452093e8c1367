package softuicc

import (
	"context"
	"time"

	"bipd/uicc"
)

// null is the procedure byte that asks for more time (ISO/IEC 7816-3 clause 10.3.3).
const null = 0x60

// T0Config is how a card uses its procedure bytes. The zero value acknowledges all data at once and sends no NULL.
type T0Config struct {
	// AckOne is the number of data characters of each command that the card takes or gives one at a time (INS xor FF)
	// before it acknowledges the rest (INS); negative: all.
	AckOne int
	// Nulls is the number of NULL characters before the first other procedure byte of each command.
	Nulls int
	// NullEvery is the time between NULL characters while the card works on a command; 0: none.
	NullEvery time.Duration
}

// T0 is a card seen through its I/O contact: characters of T=0 (ISO/IEC 7816-3 clause 10). Its methods are for one
// goroutine at a time, but Violations.
type T0 struct {
	*line
	cfg T0Config

	pps      []byte // of a PPS request under way
	header   []byte // CLA INS P1 P2 P3, as far as it came
	data     []byte // of an incoming command, behind its header
	incoming bool   // the card waits for data
	granted  int    // data characters that the card has acknowledged and not received
}

// NewT0 makes the T=0 face of a card. It has no power before Reset.
func NewT0(card uicc.Card, cfg T0Config, lc LineConfig) *T0 {
	return newT0(&line{card: card, cfg: lc}, cfg)
}

func newT0(l *line, cfg T0Config) *T0 { return &T0{line: l, cfg: cfg} }

// Reset activates the card and returns its answer to reset. Errors are those of the card.
func (t *T0) Reset(ctx context.Context, kind uicc.ResetKind) ([]byte, error) {
	t.clear()
	return t.reset(ctx, kind)
}

func (t *T0) clear() { t.pps, t.header, t.data, t.incoming, t.granted = nil, nil, nil, false, 0 }

// Exchange gives the card characters and hands each one that the card sends to send, until the card waits for characters
// again. It returns uicc.ErrMute where the card will send nothing although the terminal waits, uicc.ErrRemoved, or
// the context's error.
func (t *T0) Exchange(ctx context.Context, characters []byte, send func(byte)) error {
	for _, c := range characters {
		if err := t.usable(ctx); err != nil {
			return err
		}
		if err := t.receive(ctx, c, send); err != nil {
			t.clear()
			return err
		}
	}
	return t.usable(ctx)
}

// receive takes one character.
func (t *T0) receive(ctx context.Context, c byte, send func(byte)) error {
	switch {
	case len(t.pps) > 0 || t.fresh && c == ppss:
		t.fresh = false
		if t.pps = append(t.pps, c); len(t.pps) == ppsLength(t.pps) {
			request := t.pps
			t.pps = nil
			for _, a := range t.line.pps(request) {
				send(a)
			}
		}
		return nil
	case t.incoming:
		return t.receiveData(ctx, c, send)
	}
	t.fresh = false
	if t.header = append(t.header, c); len(t.header) < 5 {
		return nil
	}
	return t.begin(ctx, send)
}

// begin answers a header.
func (t *T0) begin(ctx context.Context, send func(byte)) error {
	if h := t.header[1] >> 4; h == 6 || h == 9 {
		t.violate("10.3.2", t.header, "INS %02X cannot be told from a status word", t.header[1])
	}
	for range t.cfg.Nulls {
		send(null)
	}
	if !takesData(t.header) {
		return t.execute(ctx, send)
	}
	t.incoming = true
	t.acknowledge(send, len(t.data), int(t.header[4]))
	return nil
}

// takesData tells whether the card expects data after a header. It is known by the instruction alone; a class or an
// instruction that the card does not have is refused before any data.
func takesData(header []byte) bool {
	if cla := header[0]; header[4] == 0 || cla&0xFC != 0x00 && cla&0xFC != 0x80 && cla != 0xA0 {
		return false
	}
	switch header[1] {
	case insTerminalProfile, insTerminalResponse, insVerify, insSelect, insEnvelope:
		return true
	}
	return false
}

// acknowledge sends the procedure byte for the data after the first done of total characters, and notes how many it
// allows.
func (t *T0) acknowledge(send func(byte), done, total int) {
	if t.cfg.AckOne < 0 || done < t.cfg.AckOne {
		t.granted = 1
		send(^t.header[1])
		return
	}
	t.granted = total - done
	send(t.header[1])
}

func (t *T0) receiveData(ctx context.Context, c byte, send func(byte)) error {
	t.data = append(t.data, c)
	total := int(t.header[4])
	if t.granted--; t.granted > 0 {
		return nil
	}
	if len(t.data) < total {
		t.acknowledge(send, len(t.data), total)
		return nil
	}
	return t.execute(ctx, send)
}

// execute has the card process a complete command, and sends its answer.
func (t *T0) execute(ctx context.Context, send func(byte)) error {
	command := append(t.header[:5:5], t.data...)
	answer, err := t.process(ctx, command, send)
	if err != nil {
		return err
	}
	data, sw := answer[:len(answer)-2], answer[len(answer)-2:]
	if le := (int(t.header[4])+255)%256 + 1; len(data) > 0 && len(data) != le {
		data, sw = nil, []byte{0x6F, 0x00} // outgoing data has the length P3 and no other
	}
	for i := 0; i < len(data); {
		t.acknowledge(send, i, len(data))
		for ; t.granted > 0; t.granted-- {
			send(data[i])
			i++
		}
	}
	t.clear()
	send(sw[0])
	send(sw[1])
	return nil
}

// process is Transmit, with NULL characters while it takes its time.
func (t *T0) process(ctx context.Context, command []byte, send func(byte)) ([]byte, error) {
	if t.cfg.NullEvery <= 0 {
		return t.card.Transmit(ctx, command)
	}
	type result struct {
		answer []byte
		err    error
	}
	done := make(chan result, 1)
	go func() {
		answer, err := t.card.Transmit(ctx, command)
		done <- result{answer, err}
	}()
	ticker := time.NewTicker(t.cfg.NullEvery)
	defer ticker.Stop()
	for {
		select {
		case r := <-done:
			return r.answer, r.err
		case <-ticker.C:
			send(null)
		}
	}
}
