package softuicc

// target is the file that a READ means: by short file identifier, which makes it current, or the current one.
func (c *Card) target(sfi byte, bySFI bool) (*file, uint16) {
	if bySFI {
		f := c.run.df.bySFI(sfi)
		if f == nil {
			return nil, swFileNotFound
		}
		c.enter(f)
	}
	f := c.run.ef
	switch {
	case f == nil:
		return nil, swNoEF
	case f.private && c.pins.code != nil && !c.run.verified:
		return nil, swSecurity
	}
	return f, swOK
}

// readBinary answers READ BINARY (ETSI TS 102 221 clause 11.1.3).
func (c *Card) readBinary(m *command) answer {
	if m.hasData {
		return status(swWrongLength)
	}
	bySFI, offset := m.p1&0x80 != 0, int(m.p1)<<8|int(m.p2)
	if bySFI {
		if c.cfg.GSM || m.p1&0x60 != 0 {
			return status(swParameters)
		}
		offset = int(m.p2)
	}
	f, sw := c.target(m.p1&0x1F, bySFI)
	switch {
	case sw != swOK:
		return status(sw)
	case f.kind != kindTransparent:
		return status(swStructure)
	case offset >= len(f.body):
		return status(swOffset)
	}
	rest := f.body[offset:]
	if m.le() > len(rest) {
		return status(swExactLength | uint16(len(rest)&0xFF))
	}
	return answer{data: rest[:m.le()], sw: swOK}
}

// readRecord answers READ RECORD (ETSI TS 102 221 clause 11.1.5).
func (c *Card) readRecord(m *command) answer {
	if m.hasData {
		return status(swWrongLength)
	}
	sfi, mode := m.p2>>3, m.p2&0x07
	if sfi == 0x1F || (c.cfg.GSM && sfi != 0) {
		return status(swParameters)
	}
	f, sw := c.target(sfi, sfi != 0)
	if sw != swOK {
		return status(sw)
	}
	if f.kind != kindLinear {
		return status(swStructure)
	}
	n := int(m.p1)
	switch {
	case mode == 0x04 && n == 0: // current record
		n = c.run.record
	case mode == 0x04:
	case mode == 0x02 && n == 0:
		n = c.run.record + 1
	case mode == 0x03 && n == 0 && c.run.record == 0:
		n = len(f.records)
	case mode == 0x03 && n == 0:
		n = c.run.record - 1
	default:
		return status(swParameters)
	}
	if n < 1 || n > len(f.records) {
		return status(swRecordNotFound)
	}
	a := outgoing(m, f.records[n-1])
	if a.sw == swOK && mode != 0x04 {
		c.run.record = n
	}
	return a
}
