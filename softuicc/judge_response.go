package softuicc

// needsInfo lists the general results that are wrong without additional information (clause 8.12).
var needsInfo = [256]bool{
	0x20: true, 0x21: true, 0x26: true, 0x34: true, 0x35: true, 0x37: true, 0x38: true, 0x39: true, 0x3A: true, 0x3C: true, 0x3D: true,
}

// General results that the judge speaks of.
const (
	resultMissing  = 0x02
	resultModified = 0x07
	resultTimer    = 0x24
	resultBeyond   = 0x30
	resultType     = 0x31
	resultData     = 0x32
	resultValues   = 0x36
	resultBIP      = 0x3A
)

// Additional information of resultBIP (clause 8.12.11).
const (
	bipNoChannel = 0x01
	bipClosed    = 0x02
	bipInvalid   = 0x03
	bipTransport = 0x06
)

// response judges a TERMINAL RESPONSE (clause 6.8).
func (j *judge) response(apdu, data []byte) {
	j.apdu, j.answers = apdu, true
	m := &j.command
	active := j.active
	j.active = false
	l := &j.scratch
	if err := l.read(data); err != nil {
		j.violate("9.1", "TERMINAL RESPONSE to %s: %v", m.name(), err)
		return
	}
	if !active || !j.frame(m, l) {
		return
	}
	result := l.list[2].value
	if !j.result(m, result) || !m.readable {
		return
	}
	general, info := result[0], -1
	if len(result) > 1 {
		info = int(result[1])
	}
	j.offered(m, general)
	switch m.kind() {
	case typeOpen:
		j.opened(m, l, general, info)
	case typeClose, typeSend, typeReceive:
		j.channelResponse(m, l, general, info)
	case typeChannelStatus:
		j.channelList(m, l, general)
	default:
		if general < 0x10 {
			j.performed(m, l)
		} else if m.kind() == typeTimer {
			j.timerRefused(m, general)
		}
	}
}

// frame judges the three objects that every response begins with.
func (j *judge) frame(m *judged, l *objects) bool {
	names := [...]struct {
		tag  uint16
		name string
	}{{tagDetails, "command details"}, {tagDevices, "device identities"}, {tagResult, "result"}}
	for i, want := range names {
		if _, ok := l.find(want.tag); !ok {
			j.violate("6.8", "TERMINAL RESPONSE to %s without %s", m.name(), want.name)
			return false
		}
		if l.list[i].tag != want.tag {
			j.violate("6.8", "TERMINAL RESPONSE to %s: %s are not object %d: wrong order", m.name(), want.name, i+1)
			return false
		}
	}
	for _, o := range l.all()[3:] {
		if o.tag <= tagResult {
			j.violate("6.8", "TERMINAL RESPONSE to %s: object %02X comes twice", m.name(), o.tag)
		}
	}
	if v := l.list[0].value; m.readable && string(v) != string(m.details[:]) {
		j.violate("6.8.1", "command details %X are not those of the command, %X", v, m.details)
	}
	if v := l.list[1].value; len(v) != 2 || v[0] != 0x82 || v[1] != 0x81 {
		j.violate("6.8.2", "device identities %X in the response to %s; they are always 8281, terminal to UICC", v, m.name())
	}
	return true
}

// result judges the result object by itself.
func (j *judge) result(m *judged, v []byte) bool {
	if len(v) == 0 {
		j.violate("8.12", "empty result in the response to %s", m.name())
		return false
	}
	switch g := v[0]; {
	case needsInfo[g] && len(v) == 1:
		j.violate("8.12", "result %02X in the response to %s lacks its additional information", g, m.name())
	case g > 0x08 && g < 0x10, g > 0x14 && g < 0x20, g > 0x27 && g < 0x30, g > 0x3D:
		j.violate("8.12", "result %02X in the response to %s is not assigned", g, m.name())
	case g == resultBIP && !(v[1] <= 0x09 || v[1] >= 0x10 && v[1] <= 0x12):
		j.violate("8.12.11", "BIP error cause %02X is not assigned", v[1])
	case g == resultBIP && (m.kind() < 0x40 || m.kind() > 0x47):
		j.violate("8.12", "BIP error in the response to %s", m.name())
	}
	return true
}

// judgedOffers are the commands of which the judge takes a profile bit at its word: refusing one is a contradiction.
var judgedOffers = [256]bool{
	0x02: true, 0x03: true, 0x04: true, 0x05: true, 0x27: true, 0x40: true, 0x41: true, 0x42: true, 0x43: true, 0x44: true,
}

// offered holds the result against the terminal profile (clause 5.2).
func (j *judge) offered(m *judged, general byte) {
	at, has := commandBits[m.kind()]
	if !has {
		return
	}
	offered := j.profile.Has(at.octet, at.bit)
	if m.kind() == typeLocalInfo && m.qualifier() > 0x01 {
		return // other bits, and a refusal is no contradiction
	}
	if !offered && general < 0x10 {
		j.violate("5.2", "%s was performed, but TERMINAL PROFILE does not offer it (octet %d, bit %d)", m.name(), at.octet, at.bit)
	}
	if !offered || !m.fair || !judgedOffers[m.kind()] || !j.offersOpen(m) {
		return
	}
	switch general {
	case resultBeyond, resultType:
		j.violate("5.2", "%s answered %02X, but TERMINAL PROFILE offers it (octet %d, bit %d)", m.name(), general, at.octet, at.bit)
	case resultData, resultValues:
		j.violate("6.10", "%s is well formed, but answered %02X", m.name(), general)
	}
}

// performed judges the objects that a successful response must bring, channels apart.
func (j *judge) performed(m *judged, l *objects) {
	need := func(tag uint16, name string, length int) []byte {
		v, ok := l.find(tag)
		if !ok {
			j.violate("6.8", "%s performed, but the response has no %s (%02X)", m.name(), name, tag)
		} else if length > 0 && len(v) != length {
			j.violate("6.8", "%s: %s of %d octets instead of %d", m.name(), name, len(v), length)
		}
		return v
	}
	switch m.kind() {
	case typeSetUpEventList:
		j.events = [256]bool{}
		for _, e := range m.events {
			j.events[e] = true
		}
	case typePollInterval:
		if v := need(tagDuration, "duration", 2); len(v) == 2 && (v[0] > 2 || v[1] == 0) {
			j.violate("8.8", "POLL INTERVAL granted with duration %X", v)
		}
	case typeTimer:
		if v := need(tagTimerID, "timer identifier", 1); len(v) == 1 && v[0] != m.timer {
			j.violate("6.8", "TIMER MANAGEMENT of timer %d answered for timer %d", m.timer, v[0])
		}
		if m.qualifier()&3 != 0 {
			j.timerValue(need(tagTimerValue, "timer value", 3))
		}
		if m.timer < 9 && m.qualifier()&3 < 2 {
			j.timers[m.timer] = m.qualifier()&3 == 0
		}
	case typeLocalInfo:
		if o, ok := localObjects[m.qualifier()]; ok {
			need(o.tag, o.name, 0)
		}
	}
}

var localObjects = map[byte]struct {
	tag  uint16
	name string
}{
	0x00: {tagLocationInfo, "location information"}, 0x01: {tagIMEI, "IMEI"}, 0x03: {tagDateTime, "date, time and time zone"},
	0x04: {tagLanguage, "language"}, 0x06: {tagTechnology, "access technology"}, 0x08: {tagIMEISV, "IMEISV"},
}

// timerRefused holds "contradiction with the timer state" against what the judge knows of the timer.
func (j *judge) timerRefused(m *judged, general byte) {
	if general == resultTimer && m.timer < 9 && (m.qualifier()&3 == 0 || j.timers[m.timer]) {
		j.violate("6.4.21", "timer %d: answered \"contradiction with timer state\", but the timer runs or is to start", m.timer)
	}
}

func (j *judge) timerValue(v []byte) {
	if len(v) != 3 {
		return
	}
	for i, b := range v {
		limit := byte(6)
		if i == 0 {
			limit = 3
		}
		if b&0x0F >= limit || b>>4 > 9 || i == 0 && b&0x0F == 2 && b>>4 > 3 {
			j.violate("8.38", "timer value %X is no time of day with swapped nibbles", v)
			return
		}
	}
}
