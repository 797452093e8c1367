package softuicc

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is one thing that a terminal did against the specifications.
type Violation struct {
	Clause string // of ETSI TS 102 223, where no other document is named
	Text   string // what is wrong, for people
	APDU   string // the command APDU, in hex
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s [%s]", v.Clause, v.Text, v.APDU) }

// maxViolations bounds the list that a card keeps.
const maxViolations = 1000

// Violations returns what the judge has found since the card was made, resets included.
func (c *Card) Violations() []Violation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.judge.list)
}

// judge watches one terminal. It reads the bytes with its own eyes, so that it judges the terminal's codec as well.
type judge struct {
	report func(Violation)
	list   []Violation

	// Since the last reset.
	apdu     []byte // under judgement
	profile  Profile
	profiled bool
	command  judged // between FETCH and TERMINAL RESPONSE
	active   bool   // command is valid
	answers  bool   // the APDU under judgement was a TERMINAL RESPONSE
	events   [256]bool
	channels [8]judgedChannel
	timers   [9]bool // running
	scratch  objects
}

// judged is what the judge wants to know of a proactive command.
type judged struct {
	readable  bool // its command details are
	fair      bool // well formed: a terminal has no reason not to understand it
	details   [3]byte
	device    byte
	channel   int // that the device identities name, or 0
	events    []byte
	asked     int // RECEIVE DATA
	data      int // SEND DATA: octets
	bearer    byte
	bearerAll []byte // the whole bearer description
	buffer    int
	transport byte
	timer     byte
}

func (j *judge) reset() {
	*j = judge{report: j.report, list: j.list}
}

func (j *judge) violate(clause, format string, args ...any) {
	v := Violation{clause, fmt.Sprintf(format, args...), strings.ToUpper(fmt.Sprintf("%x", j.apdu))}
	if len(j.list) < maxViolations {
		j.list = append(j.list, v)
	}
	if j.report != nil {
		j.report(v)
	}
}

// fetchedNothing judges a FETCH although no command was announced.
func (j *judge) fetchedNothing(apdu []byte, profiled bool) {
	j.apdu = apdu
	if !profiled {
		j.violate("5.2", "FETCH before TERMINAL PROFILE")
		return
	}
	j.violate("TS 102 221 11.2.3", "FETCH, but no 91xx has announced a proactive command")
}

// fetched judges a FETCH and takes note of the command that it brought.
func (j *judge) fetched(apdu, command []byte, again bool) {
	j.apdu = apdu
	if again {
		j.violate("6.1", "second FETCH; the command fetched before still waits for its TERMINAL RESPONSE")
		return
	}
	j.command = readJudged(command, &j.scratch)
	j.active = true
}

func (j *judge) strayResponse(apdu []byte) {
	j.apdu = apdu
	j.violate("6.1", "TERMINAL RESPONSE, but no command was fetched")
}

func (j *judge) earlyEnvelope(apdu []byte) {
	j.apdu = apdu
	j.violate("5.2", "ENVELOPE before TERMINAL PROFILE")
}

func (j *judge) envelopeInSession(apdu []byte) {
	j.apdu = apdu
	j.violate("6.1", "ENVELOPE between FETCH and TERMINAL RESPONSE of %s", j.command.name())
}

// status takes note of a STATUS: once the terminal polls again, what it owed the card is overdue.
func (j *judge) status(ok bool) {
	if !ok || j.active || !j.events[0x0A] {
		return
	}
	for n := range j.channels {
		ch := &j.channels[n]
		if !ch.open || !ch.lost || ch.dropped {
			continue
		}
		if ch.overdue++; ch.overdue == 2 {
			j.apdu = nil
			j.violate("7.5.11", "channel %d was answered \"channel closed\", but no Channel status event told of its end", n)
		}
	}
}

// answered learns the status word of an APDU on which applets may act: 9000 to a TERMINAL RESPONSE ends a chain.
func (j *judge) answered(sw uint16) {
	if j.answers && sw == swOK {
		for n := range j.channels {
			j.channels[n].chained = j.channels[n].chained || j.channels[n].unread > 0
		}
	}
	j.answers = false
}

// commandNames are for the judge's sentences.
var commandNames = map[byte]string{
	0x01: "REFRESH", 0x02: "MORE TIME", 0x03: "POLL INTERVAL", 0x04: "POLLING OFF", 0x05: "SET UP EVENT LIST",
	0x13: "SEND SHORT MESSAGE", 0x20: "PLAY TONE", 0x21: "DISPLAY TEXT", 0x22: "GET INKEY", 0x23: "GET INPUT",
	0x24: "SELECT ITEM", 0x25: "SET UP MENU", 0x26: "PROVIDE LOCAL INFORMATION", 0x27: "TIMER MANAGEMENT",
	0x28: "SET UP IDLE MODE TEXT", 0x35: "LANGUAGE NOTIFICATION", 0x40: "OPEN CHANNEL", 0x41: "CLOSE CHANNEL",
	0x42: "RECEIVE DATA", 0x43: "SEND DATA", 0x44: "GET CHANNEL STATUS",
}

func (m *judged) name() string {
	if n, ok := commandNames[m.kind()]; ok {
		return n
	}
	return fmt.Sprintf("command %02X", m.kind())
}

func (m *judged) kind() byte      { return m.details[1] }
func (m *judged) qualifier() byte { return m.details[2] }

// readJudged reads a command as far as it goes.
func readJudged(command []byte, l *objects) judged {
	var m judged
	tag, content, err := template(command)
	m.fair = err == nil && tag == 0xD0
	m.fair = l.read(content) == nil && m.fair
	details, ok := l.find(tagDetails)
	if !ok || len(details) != 3 {
		m.fair = false
		return m
	}
	m.readable = true
	copy(m.details[:], details)
	if v, ok := l.find(tagDevices); ok && len(v) == 2 {
		m.device = v[1]
		if v[1] >= 0x21 && v[1] <= 0x27 {
			m.channel = int(v[1] - 0x20)
		}
	} else {
		m.fair = false
	}
	m.fair = m.readObjects(l) && m.fair
	return m
}

// readObjects takes what matters from the command's objects, and reports whether the mandatory ones are there and sound.
func (m *judged) readObjects(l *objects) bool {
	one := func(tag uint16, into *int) bool {
		v, ok := l.find(tag)
		if !ok || len(v) != 1 {
			return false
		}
		*into = int(v[0])
		return true
	}
	switch m.kind() {
	case typeSetUpEventList:
		v, ok := l.find(tagEventList)
		m.events = v
		return ok && !slices.ContainsFunc(v, func(e byte) bool { return e > 0x1C })
	case typePollInterval:
		v, ok := l.find(tagDuration)
		return ok && len(v) == 2 && v[0] <= 2 && v[1] > 0
	case typeTimer:
		id := 0
		ok := one(tagTimerID, &id)
		m.timer = byte(id)
		value, has := l.find(tagTimerValue)
		return ok && id >= 1 && id <= 8 && (m.qualifier()&3 != 0 || has && len(value) == 3)
	case typeReceive:
		return one(tagDataLength, &m.asked) && m.channel > 0
	case typeSend:
		v, ok := l.find(tagData)
		m.data = len(v)
		return ok && m.channel > 0
	case typeClose:
		return m.channel > 0
	case typeOpen:
		return m.readOpen(l)
	}
	return true
}

func (m *judged) readOpen(l *objects) bool {
	ok := true
	if v, has := l.find(tagBufferSize); has && len(v) == 2 {
		m.buffer = int(v[0])<<8 | int(v[1])
	} else {
		ok = false
	}
	if v, has := l.find(tagTransport); has {
		if len(v) == 3 {
			m.transport = v[0]
		} else {
			ok = false
		}
	}
	if v, has := l.find(tagBearer); has && len(v) > 0 {
		m.bearer, m.bearerAll = v[0], v
	} else if !onTerminal(m.transport) {
		ok = false
	}
	if (m.transport == transportTCP || m.transport == transportUDP) && m.qualifier()&openDNS == 0 {
		ok = ok && hasDestination(l)
	}
	return ok
}

// hasDestination looks for a sound address after the transport level; one before it is the card's own.
func hasDestination(l *objects) bool {
	after := false
	for _, o := range l.all() {
		switch o.tag {
		case tagTransport:
			after = true
		case tagAddress:
			if after {
				return soundAddress(o.value)
			}
		}
	}
	return false
}

func soundAddress(v []byte) bool {
	return len(v) == 5 && v[0] == 0x21 || len(v) == 17 && v[0] == 0x57
}
