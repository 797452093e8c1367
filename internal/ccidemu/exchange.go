package ccidemu

import (
	"context"
	"errors"
	"slices"
	"time"

	"bipd/softuicc"
	"bipd/uicc"
)

// xfrBlock obeys XfrBlock (CCID clause 6.1.4) at the reader's exchange level. The caller holds mu.
func (s *slot) xfrBlock(c *command) {
	if s.told != iccActive {
		s.r.violate("6.1.4", c.raw, "XfrBlock, the last bmICCStatus was %d", s.told)
	}
	if !s.active {
		s.fail(c, errMute)
		return
	}
	m := &s.r.model
	if m.Verbatim {
		s.verbatim(c)
		return
	}
	switch m.level() {
	case FeatureTPDU:
		s.tpdu(c)
	case FeatureShort:
		s.short(c)
	case FeatureExtended:
		s.extended(c)
	default:
		s.characters(c)
	}
}

// failure is the answer where the card gave none.
func failure(err error) reply {
	return reply{bError: errMute, removed: errors.Is(err, uicc.ErrRemoved)}
}

// verbatim hands the octets to the card as they are. A mute card is answered by silence.
func (s *slot) verbatim(c *command) {
	card := s.card
	s.r.worker(s, c, func(ctx context.Context) reply {
		rapdu, err := card.Transmit(ctx, c.data)
		switch {
		case errors.Is(err, uicc.ErrMute), ctx.Err() != nil:
			return reply{silent: true}
		case err != nil:
			return failure(err)
		}
		return reply{data: rapdu, bError: errNone}
	})
}

// tpdu exchanges one TPDU, or a PPS request.
func (s *slot) tpdu(c *command) {
	if c.level() != 0 {
		s.r.violate("6.1.4", c.raw, "wLevelParameter %04X at TPDU level", c.level())
		s.fail(c, errLevel)
		return
	}
	if s.ppsByHost(c) {
		return
	}
	if !s.ready(c) {
		return
	}
	if s.params.protocol == uicc.T1 {
		s.blockTPDU(c)
		return
	}
	if c.specific[0] != 0 {
		s.r.violate("6.1.4", c.raw, "bBWI %02X under T=0", c.specific[0])
	}
	if n := len(c.data); n < 5 || n > 5 && n != 5+int(c.data[4]) {
		s.r.violate("6.1.4", c.raw, "%d octets are no TPDU of T=0", n)
		s.fail(c, errLength)
		return
	}
	if h := c.data[1] >> 4; c.data[0] == 0xFF || h == 6 || h == 9 {
		s.r.violate("6.1.4", c.raw, "CLA %02X INS %02X is no command of T=0", c.data[0], c.data[1])
	}
	contacts := s.contacts
	s.r.worker(s, c, func(ctx context.Context) reply {
		w := s.waiting(ctx, c, 1)
		defer w.stop()
		return exchangeT0(w.ctx, contacts, c.data, w)
	})
}

// ppsByHost exchanges a PPS request that the host makes by itself; it reports whether the message was one.
func (s *slot) ppsByHost(c *command) bool {
	if len(c.data) == 0 || c.data[0] != 0xFF || !s.contacts.Fresh() {
		return false
	}
	m := &s.r.model
	if m.has(FeatureNegotiation | FeaturePPS) {
		s.r.violate("5.1", c.raw, "a PPS request, which dwFeatures %08X leaves to the reader", m.Features)
	}
	if len(c.data) > 2 && c.data[1]&0x10 != 0 && validFiDi(c.data[2]) && rateOf(s.clock, c.data[2]) > m.MaxDataRate+m.MaxDataRate/50 {
		s.r.violate("5.1", c.raw, "PPS asks for %d bit/s, dwMaxDataRate is %d", rateOf(s.clock, c.data[2]), m.MaxDataRate)
	}
	var got []byte
	if err := s.contacts.Characters(s.r.work, c.data, func(b byte) { got = append(got, b) }); err != nil || len(got) == 0 {
		s.fail(c, errMute)
		return true
	}
	s.answer(c, reply{data: got, bError: errNone})
	return true
}

// ready makes the exchanges that the reader makes by itself before the first one of the host, and then tells whether
// reader and card understand each other.
func (s *slot) ready(c *command) bool {
	m := &s.r.model
	if s.contacts.Fresh() && m.has(FeaturePPS) {
		s.ppsOfParameters()
	}
	if why := s.lineFault(); why != "" {
		s.r.violate("6.1.4", c.raw, "%s", why)
		s.fail(c, errParity)
		return false
	}
	return true
}

// blockTPDU exchanges a block of T=1.
func (s *slot) blockTPDU(c *command) {
	if n := len(c.data); n < 4 || n > 3+254+2 {
		s.r.violate("6.1.4", c.raw, "%d octets are no block of T=1", n)
		s.fail(c, errLength)
		return
	}
	if c.data[1]&0xEF == 0xC1 && c.data[2] == 1 && uint32(c.data[3]) > s.r.model.MaxIFSD {
		s.r.violate("5.1", c.raw, "IFS of %d, dwMaxIFSD is %d", c.data[3], s.r.model.MaxIFSD)
	}
	if bwi := c.specific[0]; bwi != s.wtx {
		s.r.violate("6.1.4", c.raw, "bBWI %02X, the card asked for %02X", bwi, s.wtx)
	}
	s.wtx = 0
	contacts := s.contacts
	s.r.worker(s, c, func(ctx context.Context) reply {
		w := s.waiting(ctx, c, max(int(c.specific[0]), 1))
		defer w.stop()
		block, err := contacts.Block(w.ctx, c.data)
		if err != nil {
			return failure(err)
		}
		if len(block) >= 4 && block[1] == 0xC3 {
			w.asked(block[3])
		}
		return reply{data: block, bError: errNone}
	})
}

// characters exchanges characters at character level: it returns as many as wLevelParameter asks for. Under T=1 the host
// sends whole blocks and reads them in parts.
func (s *slot) characters(c *command) {
	if s.ppsByHost(c) || !s.ready(c) {
		return
	}
	contacts, want, one := s.contacts, int(c.level()), s.params.protocol == uicc.T1
	got := slices.Clone(s.chain.rest)
	s.r.worker(s, c, func(ctx context.Context) reply {
		w := s.waiting(ctx, c, max(int(c.specific[0]), 1))
		defer w.stop()
		var err error
		switch {
		case one && len(c.data) > 0:
			got, err = contacts.Block(w.ctx, c.data)
		case !one:
			err = contacts.Characters(w.ctx, c.data, func(b byte) {
				w.heard()
				got = append(got, b)
			})
		}
		if len(got) < want || err != nil && want > 0 {
			w.keep(nil)
			return failure(err)
		}
		w.keep(got[want:])
		return reply{data: got[:want], bError: errNone}
	})
}

// waiting is the reader's clock for one exchange of a card: its waiting time, and the time extensions that the host gets.
type waiting struct {
	s      *slot
	c      *command
	ctx    context.Context // ends also when the waiting time is over
	cancel context.CancelFunc
	limit  time.Duration
	timer  *time.Timer   // nil without a waiting time
	end    chan struct{} // ends the extensions
	done   chan struct{}
}

// waiting starts the clock; multiplier is that of the waiting time (bBWI). The worker's goroutine uses it.
func (s *slot) waiting(ctx context.Context, c *command, multiplier int) *waiting {
	w := &waiting{s: s, c: c, limit: s.r.model.WaitingTime * time.Duration(multiplier)}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if w.limit > 0 {
		w.timer = time.AfterFunc(w.limit, w.cancel)
	}
	if every := s.r.model.ExtendEvery; every > 0 {
		w.end, w.done = make(chan struct{}), make(chan struct{})
		go w.extend(every)
	}
	return w
}

func (w *waiting) extend(every time.Duration) {
	defer close(w.done)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-ticker.C:
			w.null()
		}
	}
}

// null tells the host that the card takes its time.
func (w *waiting) null() {
	w.heard()
	w.s.r.mu.Lock()
	defer w.s.r.mu.Unlock()
	w.s.extend(w.c, 1)
}

// heard starts the waiting time anew: the card has sent something.
func (w *waiting) heard() {
	if w.timer != nil {
		w.timer.Reset(w.limit)
	}
}

func (w *waiting) stop() {
	if w.end != nil {
		close(w.end)
		<-w.done
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.cancel()
}

// asked notes the waiting time that the card asked for.
func (w *waiting) asked(multiplier byte) {
	w.s.r.mu.Lock()
	defer w.s.r.mu.Unlock()
	w.s.wtx = multiplier
}

// exchangeT0 exchanges a TPDU of T=0: it obeys the procedure bytes (ISO/IEC 7816-3 clause 10.3.3), and returns data and
// status word. NULL characters become time extensions.
func exchangeT0(ctx context.Context, contacts *softuicc.Contacts, tpdu []byte, w *waiting) reply {
	p := procedure{ins: tpdu[1], out: len(tpdu) - 5, in: (int(tpdu[4])+255)%256 + 1, null: w.null}
	if p.out > 0 {
		p.in = 0
	}
	feed, rest := tpdu[:5], tpdu[5:]
	for {
		err := contacts.Characters(ctx, feed, func(b byte) {
			w.heard()
			p.take(b)
		})
		switch {
		case p.conflict:
			return reply{bError: errProcedureConflict}
		case p.done:
			return reply{data: p.got, bError: errNone}
		case err != nil || p.granted == 0:
			return failure(err)
		}
		feed, rest = rest[:p.granted], rest[p.granted:]
		p.out -= p.granted
		p.granted = 0
	}
}

// procedure reads what the card sends under T=0.
type procedure struct {
	ins      byte
	in, out  int // octets of data that are still to come from the card, or to go to it
	want     int // of them those that come without another procedure byte
	granted  int // octets that the card has acknowledged
	sw1      bool
	done     bool
	conflict bool
	got      []byte
	null     func()
}

func (p *procedure) take(b byte) {
	switch {
	case p.conflict:
	case p.done, p.granted > 0: // it speaks out of turn
		p.conflict = true
	case p.want > 0:
		p.got = append(p.got, b)
		p.want--
	case p.sw1:
		p.got, p.done = append(p.got, b), true
	case b == 0x60:
		p.null()
	case b>>4 == 6 || b>>4 == 9:
		p.got, p.sw1 = append(p.got, b), true
	case b == p.ins && p.out > 0:
		p.granted = p.out
	case b == ^p.ins && p.out > 0:
		p.granted = 1
	case b == p.ins && p.in > 0:
		p.want, p.in = p.in, 0
	case b == ^p.ins && p.in > 0:
		p.want = 1
		p.in--
	default:
		p.conflict = true
	}
}
