package softuicc

import "bytes"

// selectFile answers SELECT (ETSI TS 102 221 clause 11.1.1).
func (c *Card) selectFile(m *command) answer {
	noData := m.p2 == 0x0C
	if c.cfg.GSM {
		if m.p1 != 0 || m.p2 != 0 {
			return status(swParameters)
		}
	} else if m.p2 != 0x04 && !noData {
		return status(swParameters)
	}
	if !m.hasData {
		return status(swWrongLength)
	}
	f, sw := c.find(m)
	if sw != swOK {
		return status(sw)
	}
	c.enter(f)
	switch {
	case c.cfg.GSM:
		return c.later(c.gsmInfo(f))
	case noData:
		return status(swOK)
	}
	return c.later(c.fcp(f))
}

// find looks the file up in the way that P1 says.
func (c *Card) find(m *command) (*file, uint16) {
	var f *file
	switch m.p1 {
	case 0x00:
		if len(m.data) != 2 {
			return nil, swWrongLength
		}
		f = c.byID(uint16(m.data[0])<<8 | uint16(m.data[1]))
	case 0x04:
		f = c.byAID(m.data)
	case 0x08:
		f = c.byPath(c.root, m.data)
	case 0x09:
		f = c.byPath(c.run.df, m.data)
	default:
		return nil, swParameters
	}
	if f == nil {
		return nil, swFileNotFound
	}
	return f, swOK
}

// byID looks where clause 8.4.1 allows: the MF, the current application, the current directory, its children, its
// parent and its parent's directories.
func (c *Card) byID(fid uint16) *file {
	df := c.run.df
	switch {
	case fid == c.root.fid:
		return c.root
	case fid == 0x7FFF:
		return c.run.adf
	case fid == df.fid && fid != 0:
		return df
	}
	if f := df.child(fid); f != nil {
		return f
	}
	if df.parent == nil {
		return nil
	}
	if df.parent.fid == fid {
		return df.parent
	}
	if f := df.parent.child(fid); f != nil && f.kind == kindDF {
		return f
	}
	return nil
}

// byAID finds an application by its name or the beginning of its name, RID and application code at least.
func (c *Card) byAID(aid []byte) *file {
	if len(aid) < 5 {
		return nil
	}
	for _, f := range c.root.children {
		if f.aid != nil && bytes.HasPrefix(f.aid, aid) {
			return f
		}
	}
	return nil
}

func (c *Card) byPath(from *file, path []byte) *file {
	if len(path) == 0 || len(path)%2 != 0 {
		return nil
	}
	f := from
	for i := 0; i < len(path) && f != nil; i += 2 {
		fid := uint16(path[i])<<8 | uint16(path[i+1])
		if fid == 0x7FFF && i == 0 {
			f = c.run.adf
		} else {
			f = f.child(fid)
		}
	}
	return f
}

// enter makes the file the current one.
func (c *Card) enter(f *file) {
	c.run.record = 0
	if f.kind == kindDF {
		c.run.df, c.run.ef = f, nil
		if f.aid != nil {
			c.run.adf = f
		}
		return
	}
	c.run.df, c.run.ef = f.parent, f
}

// statusCommand answers STATUS (ETSI TS 102 221 clause 11.1.2), at which applets may start a proactive session.
func (c *Card) statusCommand(m *command) answer {
	if m.hasData {
		return status(swWrongLength)
	}
	a := c.directoryInfo(m)
	a.hold = a.sw == swOK
	c.judge.status(a.sw == swOK)
	return a
}

func (c *Card) directoryInfo(m *command) answer {
	if c.cfg.GSM {
		info := c.gsmInfo(c.run.df)
		switch {
		case m.p1 != 0 || m.p2 != 0:
			return status(swParameters)
		case m.p3 == 0 || int(m.p3) > len(info):
			return status(swExactLength | uint16(len(info)))
		}
		return answer{data: info[:m.p3], sw: swOK}
	}
	if m.p1 > 0x02 {
		return status(swParameters)
	}
	switch m.p2 {
	case 0x00:
		return outgoing(m, c.fcp(c.run.df))
	case 0x01:
		if c.run.adf == nil {
			return status(swConditions)
		}
		return outgoing(m, appendTLV(nil, 0x84, c.run.adf.aid))
	case 0x0C:
		if m.p3 != 0 {
			return status(swWrongLength)
		}
		return status(swOK)
	}
	return status(swParameters)
}
