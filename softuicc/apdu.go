package softuicc

// Status words (ETSI TS 102 221 clause 10.2.1).
const (
	swOK             uint16 = 0x9000
	swToolkitBusy    uint16 = 0x9300
	swMoreData       uint16 = 0x6100 // + octets for GET RESPONSE
	swWrongLength    uint16 = 0x6700
	swChannel        uint16 = 0x6881 // logical channel not supported
	swStructure      uint16 = 0x6981 // command incompatible with file structure
	swSecurity       uint16 = 0x6982
	swBlocked        uint16 = 0x6983
	swInvalidated    uint16 = 0x6984
	swConditions     uint16 = 0x6985
	swNoEF           uint16 = 0x6986
	swWrongData      uint16 = 0x6A80
	swFileNotFound   uint16 = 0x6A82
	swRecordNotFound uint16 = 0x6A83
	swParameters     uint16 = 0x6A86
	swReference      uint16 = 0x6A88
	swOffset         uint16 = 0x6B00
	swExactLength    uint16 = 0x6C00 // + the length that would be right
	swInstruction    uint16 = 0x6D00
	swClass          uint16 = 0x6E00
	swRetries        uint16 = 0x63C0 // + retries left
)

// Instructions (ETSI TS 102 221 table 10.5).
const (
	insTerminalProfile  byte = 0x10
	insFetch            byte = 0x12
	insTerminalResponse byte = 0x14
	insVerify           byte = 0x20
	insManageChannel    byte = 0x70
	insSelect           byte = 0xA4
	insReadBinary       byte = 0xB0
	insReadRecord       byte = 0xB2
	insGetResponse      byte = 0xC0
	insEnvelope         byte = 0xC2
	insStatus           byte = 0xF2
)

// command is a command as the T=0 card sees it: a header, and data after it or not.
type command struct {
	raw                   []byte
	cla, ins, p1, p2, p3  byte
	data                  []byte // Lc octets; nil without
	hasData, wrong, case4 bool
}

// le is the number of octets that P3 asks for.
func (m *command) le() int {
	if m.p3 == 0 {
		return 256
	}
	return int(m.p3)
}

func parseCommand(b []byte) command {
	m := command{raw: b}
	if len(b) < 4 {
		m.wrong = true
		return m
	}
	m.cla, m.ins, m.p1, m.p2 = b[0], b[1], b[2], b[3]
	if len(b) > 4 {
		m.p3 = b[4]
	}
	if len(b) > 5 {
		n := int(m.p3)
		m.case4 = len(b) == 5+n+1 // a full APDU; T=0 drops its Le
		m.wrong = n == 0 || (len(b) != 5+n && !m.case4)
		if !m.wrong {
			m.data, m.hasData = b[5:5+n], true
		}
	}
	return m
}

// answer is a response before the toolkit had its say.
type answer struct {
	data  []byte
	sw    uint16
	hold  bool // an applet may act on this APDU: wait for it
	final bool // 91xx may not take the place of 9000
}

func status(sw uint16) answer { return answer{sw: sw} }

// run is the state of the card since its last reset, toolkit apart.
type run struct {
	df       *file // current directory; never nil
	ef       *file // current file, or nil
	adf      *file // current application, or nil
	record   int   // record pointer: 0 = none yet
	verified bool
	pending  []byte // for GET RESPONSE
}

// process answers one APDU. The caller holds mu.
func (c *Card) process(capdu []byte) answer {
	m := parseCommand(capdu)
	pending := c.run.pending
	c.run.pending = nil
	if m.wrong {
		return status(swWrongLength)
	}
	var a answer
	if sw := c.classOf(&m); sw != swOK {
		a = status(sw)
	} else if m.ins == insGetResponse {
		a = c.getResponse(&m, pending)
	} else {
		a = c.dispatch(&m)
		a.sw = c.warned(capdu, a.sw)
	}
	if c.cfg.GSM {
		a.sw = gsmStatus(a.sw)
	}
	return a
}

// classOf checks CLA against INS (ETSI TS 102 221 clause 10.1.1; 3GPP TS 51.011 clause 9.2).
func (c *Card) classOf(m *command) uint16 {
	if c.cfg.GSM {
		if m.cla != 0xA0 {
			return swClass
		}
		return swOK
	}
	want := byte(0x00)
	switch m.ins {
	case insTerminalProfile, insFetch, insTerminalResponse, insEnvelope, insStatus:
		want = 0x80
	case insSelect, insReadBinary, insReadRecord, insVerify, insManageChannel, insGetResponse:
	default:
		want = m.cla & 0x80 // unknown to both classes
	}
	switch {
	case m.cla == want:
		return swOK
	case m.cla&0xFC == want:
		return swChannel
	}
	return swClass
}

func (c *Card) dispatch(m *command) answer {
	switch m.ins {
	case insSelect:
		return c.selectFile(m)
	case insReadBinary:
		return c.readBinary(m)
	case insReadRecord:
		return c.readRecord(m)
	case insStatus:
		return c.statusCommand(m)
	case insVerify:
		return c.verify(m)
	case insManageChannel:
		return status(swChannel)
	case insTerminalProfile:
		return c.terminalProfile(m)
	case insFetch:
		return c.fetch(m)
	case insTerminalResponse:
		return c.terminalResponse(m)
	case insEnvelope:
		return c.envelope(m)
	}
	return status(swInstruction)
}

// outgoing gives data to a command that has none of its own (T=0 case 2): exactly as many octets as P3 asks for.
func outgoing(m *command, data []byte) answer {
	if m.hasData {
		return status(swWrongLength)
	}
	if m.le() != len(data) {
		return status(swExactLength | uint16(len(data)&0xFF))
	}
	return answer{data: data, sw: swOK}
}

// later keeps response data for GET RESPONSE (T=0 case 4).
func (c *Card) later(data []byte) answer {
	c.run.pending = data
	return status(swMoreData | uint16(len(data)&0xFF))
}

// warned puts the configured warning in the place of 61xx.
func (c *Card) warned(capdu []byte, sw uint16) uint16 {
	if c.cfg.Warning != nil && sw&0xFF00 == swMoreData {
		if w := c.cfg.Warning(capdu); w != 0 {
			return w
		}
	}
	return sw
}

// getResponse fetches what 61xx announced, whole or in parts.
func (c *Card) getResponse(m *command, pending []byte) answer {
	switch {
	case m.p1 != 0 || m.p2 != 0:
		c.run.pending = pending
		return status(swParameters)
	case m.hasData:
		return status(swWrongLength)
	case len(pending) == 0:
		return status(swConditions)
	case m.le() > len(pending):
		c.run.pending = pending
		return status(swExactLength | uint16(len(pending)&0xFF))
	}
	a := answer{data: pending[:m.le()], sw: swOK}
	if rest := pending[m.le():]; len(rest) > 0 {
		a.sw = c.later(rest).sw
	}
	return a
}
