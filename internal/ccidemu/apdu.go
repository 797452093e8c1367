package ccidemu

import (
	"context"

	"bipd/softuicc"
	"bipd/uicc"
)

// short takes an APDU at short APDU level. The standard has whole APDUs there; readers that chain their responses all the
// same are asked for the next part as at extended level. The caller holds mu.
func (s *slot) short(c *command) {
	waits := len(s.chain.rest) > 0
	switch {
	case waits && c.level() == chainMore && len(c.data) == 0:
		s.nextPart(c)
	case waits, c.level() != chainWhole:
		s.r.violate("6.1.4", c.raw, "wLevelParameter %04X at short APDU level, %d octets of a response wait", c.level(), len(s.chain.rest))
		s.chain = chain{}
		s.fail(c, errLevel)
	default:
		s.apdu(c, c.data)
	}
}

// apdu exchanges a command APDU: the reader does what the protocol needs (CCID clause 3.2.2).
func (s *slot) apdu(c *command, capdu []byte) {
	if !s.ready(c) {
		return
	}
	card, contacts, one := s.card, s.contacts, s.params.protocol == uicc.T1
	part := s.partSize()
	s.r.worker(s, c, func(ctx context.Context) reply {
		w := s.waiting(ctx, c, 1)
		defer w.stop()
		if len(capdu) < 4 {
			return reply{bError: errLength}
		}
		var rep reply
		if one {
			rapdu, err := softuicc.Respond(w.ctx, card, capdu)
			if err != nil {
				return failure(err)
			}
			rep = reply{data: rapdu, bError: errNone}
		} else {
			rep = apduT0(capdu, func(tpdu []byte) reply { return exchangeT0(w.ctx, contacts, tpdu, w) })
		}
		if part == 0 || rep.bError != errNone {
			return rep
		}
		return w.firstPart(rep.data, part)
	})
}

// apduT0 carries an APDU by T=0 as ISO/IEC 7816-3 clause 12.2 and ETSI TS 102 221 clause 7.3.1.1 have it: a command of case 1
// goes with P3 = 00; 6Cxx repeats one of case 2; the data of one of case 4 is fetched, whether 61xx announces it or it waits
// behind a warning. Without Le there is nothing to fetch: the host hears the status word.
func apduT0(capdu []byte, exchange func(tpdu []byte) reply) reply {
	n := len(capdu)
	switch {
	case n == 4:
		return exchange(append(capdu[:4:4], 0))
	case n == 5:
		rep := exchange(capdu)
		if sw1, sw2 := rep.status(); sw1 == 0x6C {
			return exchange(append(capdu[:4:4], sw2))
		}
		return rep
	case capdu[4] == 0: // the extended form, which no card here knows
		return reply{data: []byte{0x67, 0x00}, bError: errNone}
	case n == 5+int(capdu[4]):
		return exchange(capdu)
	case n != 6+int(capdu[4]):
		return reply{bError: errLength}
	}
	rep := exchange(capdu[:n-1])
	sw1, sw2 := rep.status()
	get := []byte{capdu[0], 0xC0, 0, 0, sw2}
	if get[0] != 0xA0 {
		get[0] &^= 0x80 // UICCs have GET RESPONSE in the interindustry class alone, which bClassGetResponse FF forgets
	}
	warning := sw1 == 0x62 || sw1 == 0x63
	switch {
	case warning:
		get[4] = 0
	case sw1 != 0x61 && sw1 != 0x9F:
		return rep
	}
	last := exchange(get)
	if sw1, sw2 := last.status(); sw1 == 0x6C {
		get[4] = sw2
		last = exchange(get)
	}
	if last.bError != errNone || !warning {
		return last
	}
	if sw1, _ := last.status(); sw1 == 0x90 {
		last.data = append(last.data[:len(last.data)-2], rep.data...)
	} else if sw1 != 0x91 {
		return rep // there is no data
	}
	return last
}

// status gives SW1 and SW2 of an answer that has them, 0 else.
func (r reply) status() (sw1, sw2 byte) {
	n := len(r.data)
	if r.bError != errNone || n < 2 {
		return 0, 0
	}
	return r.data[n-2], r.data[n-1]
}
