package ccidemu

// wLevelParameter of XfrBlock at extended APDU level (CCID clause 6.1.4); bChainParameter of DataBlock has the same values
// (clause 6.2.1).
const (
	chainWhole  = 0x00
	chainFirst  = 0x01
	chainLast   = 0x02
	chainMiddle = 0x03
	chainMore   = 0x10 // no data: the other side goes on
)

// chain is an APDU that takes more than one message.
type chain struct {
	command []byte // parts that came
	open    bool   // more parts are to come
	rest    []byte // of the response; at character level, characters that the host has not asked for
}

// extended takes an APDU or a part of one. The caller holds mu.
func (s *slot) extended(c *command) {
	level := c.level()
	switch {
	case level != chainMore && len(s.chain.rest) > 0:
		s.r.violate("6.1.4", c.raw, "wLevelParameter %04X while %d octets of the response wait", level, len(s.chain.rest))
		s.chain = chain{}
	case s.chain.open && level != chainMiddle && level != chainLast:
		s.r.violate("6.1.4", c.raw, "wLevelParameter %04X while the command goes on", level)
		s.chain = chain{}
	}
	switch level {
	case chainWhole:
		s.apdu(c, c.data)
	case chainFirst, chainMiddle:
		if level == chainMiddle && !s.chain.open || len(c.data) == 0 {
			s.badChain(c)
			return
		}
		s.chain.command, s.chain.open = append(s.chain.command, c.data...), true
		if len(s.chain.command) > 65544 {
			s.badChain(c)
			return
		}
		s.answer(c, reply{bError: errNone, last: chainMore})
	case chainLast:
		if !s.chain.open {
			s.badChain(c)
			return
		}
		capdu := append(s.chain.command, c.data...)
		s.chain = chain{}
		s.apdu(c, capdu)
	case chainMore:
		if len(c.data) > 0 || len(s.chain.rest) == 0 {
			s.badChain(c)
			return
		}
		s.nextPart(c)
	default:
		s.badChain(c)
	}
}

func (s *slot) badChain(c *command) {
	s.r.violate("6.1.4", c.raw, "wLevelParameter %04X with %d octets is not due", c.level(), len(c.data))
	s.chain = chain{}
	s.fail(c, errLevel)
}

// partSize is the most response data in one message; 0 where responses are not chained.
func (s *slot) partSize() int {
	m := &s.r.model
	switch {
	case m.ResponsePart > 0 && m.level()&(FeatureShort|FeatureExtended) != 0:
		return m.ResponsePart
	case m.level() != FeatureExtended:
		return 0
	}
	return int(m.MaxMessage) - headerLength
}

// firstPart answers with a response APDU, or its first part.
func (w *waiting) firstPart(rapdu []byte, part int) reply {
	if len(rapdu) <= part {
		return reply{data: rapdu, bError: errNone}
	}
	w.keep(rapdu[part:])
	return reply{data: rapdu[:part], bError: errNone, last: chainFirst}
}

// keep puts by what the host will ask for.
func (w *waiting) keep(rest []byte) {
	w.s.r.mu.Lock()
	defer w.s.r.mu.Unlock()
	w.s.chain = chain{rest: rest}
}

// nextPart answers with the next part of a response. The caller holds mu.
func (s *slot) nextPart(c *command) {
	part, last := s.chain.rest, byte(chainLast)
	if n := s.partSize(); len(part) > n {
		part, last = part[:n], chainMiddle
	}
	s.chain.rest = s.chain.rest[len(part):]
	s.answer(c, reply{data: part, bError: errNone, last: last})
}
