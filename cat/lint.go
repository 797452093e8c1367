package cat

import (
	"errors"
	"fmt"
	"slices"
)

// Severity says how bad a Finding is.
type Severity int

const (
	// SeverityWarning: the specification allows it, or most terminals pass over it, but some do not, or it is hardly meant.
	SeverityWarning Severity = iota
	// SeverityError: the specification forbids it, or a terminal cannot do what the command asks.
	SeverityError
)

func (s Severity) String() string {
	if s == SeverityError {
		return "error"
	}
	return "warning"
}

// Finding is one thing that is wrong with a proactive command.
type Finding struct {
	Severity Severity
	Clause   string // of ETSI TS 102 223, where no other document is named
	Text     string // for the applet's author; it never has a login or a password
}

func (f Finding) String() string { return fmt.Sprintf("%v [%s]: %s", f.Severity, f.Clause, f.Text) }

// LintContext is what a command is judged by beside its own octets. The zero value knows nothing: only the octets are judged.
type LintContext struct {
	Profile []byte // the data of the TERMINAL PROFILE; nil: unknown
	// Tracked says that Channels is the state of the channels. Learn keeps it.
	Tracked  bool
	Channels [MaxChannels + 1]LintChannel // index 0 is not used
}

// LintChannel is a channel as the card has to know it.
type LintChannel struct {
	Open   bool
	Buffer int // octets granted; 0: unknown
	Stored int // octets that SEND DATA stored and that wait to be sent
}

// LintCommand tells what in a proactive command, as FETCH brought it, breaks the specification or will not work
// everywhere. The findings come in the order of the octets, those of the context last; nil: there is nothing to say.
func LintCommand(raw []byte, ctx LintContext) []Finding {
	l := &linter{ctx: ctx}
	if l.frame(raw) {
		l.spec = commandSpecs[l.details.Type]
		l.number()
		l.destination()
		l.qualifier()
		l.known()
		l.mandatory()
		l.values()
		l.refused(raw)
		l.offered()
		l.channel()
	}
	return l.found
}

// refused says why this terminal refuses the command where nothing else has said it yet.
func (l *linter) refused(raw []byte) {
	var re *ResultError
	if _, err := ParseCommand(raw); errors.As(err, &re) && !Errors(l.found) {
		l.fail(l.clause(), "%s: the terminal answers %02X", re.Reason, byte(re.Result.General))
	}
}

// linter judges one command.
type linter struct {
	ctx     LintContext
	found   []Finding
	objects []TLV
	details CommandDetails
	devices DeviceIdentities // zero where they cannot be read
	spec    commandSpec
}

func (l *linter) add(s Severity, clause, format string, args ...any) {
	l.found = append(l.found, Finding{s, clause, fmt.Sprintf(format, args...)})
}
func (l *linter) fail(clause, format string, args ...any) {
	l.add(SeverityError, clause, format, args...)
}
func (l *linter) warn(clause, format string, args ...any) {
	l.add(SeverityWarning, clause, format, args...)
}

// clause is where the specification lists the command's objects.
func (l *linter) clause() string {
	if l.spec.clause != "" {
		return l.spec.clause
	}
	return "6.6"
}

func (l *linter) has(tag Tag) bool { _, ok := Find(l.objects, tag); return ok }

// Clauses of the coding.
const (
	clauseTag    = "TS 101 220 7.1.1"
	clauseLength = "TS 101 220 7.1.2"
	clauseBER    = "TS 101 220 7.2"
)

// maxFetch is the most that one FETCH brings (91xx and Le of one octet, 00 = 256).
const maxFetch = 256

// frame reads the template, the objects and the two that every command has. It reports whether the command's type is known.
func (l *linter) frame(raw []byte) bool {
	if len(raw) == 0 || raw[0] != templateProactive {
		l.fail(clauseBER, "no proactive command: the first octet is not D0 (of %d octets)", len(raw))
		return false
	}
	if len(raw) > maxFetch {
		l.fail("TS 102 221 11.2.3", "%d octets: a FETCH brings %d at most", len(raw), maxFetch)
	}
	_, value, err := parseTemplate(raw)
	switch {
	case err != nil:
		l.fail(clauseLength, "the length behind D0 does not fit the %d octets of the command", len(raw))
		value = afterLength(raw[1:])
	case len(raw) > len(appendTemplate(nil, templateProactive, value)):
		l.warn(clauseLength, "the length behind D0 is longer than it need be: %d is coded in one octet up to 127, as 81 xx up to 255", len(value))
	}
	l.split(value)
	return l.readDetails() && l.readDevices()
}

// split cuts the value into objects, as far as they can be read.
func (l *linter) split(value []byte) {
	for rest := value; len(rest) > 0; {
		t, after, err := parseTLV(rest)
		if err != nil {
			clause := clauseLength
			if rest[0] == 0x00 || rest[0] == 0x80 || rest[0] == 0xFF {
				clause = clauseTag
			}
			l.fail(clause, "octet %d of the value (%02X) begins no object: %v", len(value)-len(rest)+1, rest[0], unwrapped(err))
			return
		}
		if used := len(rest) - len(after); used > len(AppendTLV(nil, t)) {
			l.warn(clauseLength, "the length of object %v is longer than it need be", t.Tag.name())
		}
		l.objects = append(l.objects, t)
		rest = after
	}
}

func (l *linter) readDetails() bool {
	d, ok := Find(l.objects, TagCommandDetails)
	switch {
	case !ok:
		l.fail("8.6", "no command details: the terminal cannot even answer it rightly")
		return false
	case len(d.Value) != 3:
		l.fail("8.6", "command details of %d octets: they are number, type and qualifier", len(d.Value))
		return false
	case l.objects[0].Tag != TagCommandDetails:
		l.fail("6.6", "the command details are not the first object")
	}
	l.details = CommandDetails{d.Value[0], CommandType(d.Value[1]), d.Value[2]}
	if !d.CR {
		l.warn("6.6", "command details without the comprehension required flag (tag 01, not 81)")
	}
	return true
}

func (l *linter) readDevices() bool {
	d, ok := Find(l.objects, TagDeviceIdentities)
	switch {
	case !ok:
		l.fail("8.7", "no device identities: the terminal answers 36")
		return true
	case len(d.Value) != 2:
		l.fail("8.7", "device identities of %d octets: they are source and destination", len(d.Value))
		return true
	case !d.CR:
		l.warn("6.6", "device identities without the comprehension required flag (tag 02, not 82)")
	}
	l.devices = DeviceIdentities{DeviceID(d.Value[0]), DeviceID(d.Value[1])}
	return true
}

// Learn takes note of what the terminal answered to a command: it keeps Channels as the card has to know them.
func (c *LintContext) Learn(command, response []byte) {
	cmd, _ := ParseCommand(command)
	r, _, err := ParseResponse(response)
	if err != nil {
		return
	}
	n, toChannel := cmd.Devices.Destination.Channel()
	performed := r.Result.General < 0x10
	switch {
	case cmd.Details.Type == TypeOpenChannel && performed:
		c.opened(r)
	case !toChannel:
	case cmd.Details.Type == TypeCloseChannel && (performed || r.Result.General == ResultBIPError):
		if performed && c.listens(cmd, r) {
			return
		}
		c.Channels[n] = LintChannel{}
	case cmd.Details.Type == TypeSendData && performed:
		if body, ok := cmd.Body.(*SendData); ok && cmd.Details.Qualifier&SendImmediately == 0 {
			c.Channels[n].Stored += len(body.Data)
		} else {
			c.Channels[n].Stored = 0
		}
	}
}

// listens reports whether a CLOSE CHANNEL sent a server back to listen: the channel stays.
func (c *LintContext) listens(cmd Command, r Response) bool {
	t, ok := Find(r.Objects, TagChannelStatus)
	return ok && cmd.Details.Qualifier&CloseUpkeep != 0 && len(t.Value) == 2 && LinkState(t.Value[0]&0xC0) == LinkListen
}

func (c *LintContext) opened(r Response) {
	status, ok := Find(r.Objects, TagChannelStatus)
	if !ok || len(status.Value) != 2 || status.Value[0]&0x07 == 0 {
		return
	}
	ch := LintChannel{Open: true}
	if b, ok := Find(r.Objects, TagBufferSize); ok && len(b.Value) == 2 {
		ch.Buffer = int(b.Value[0])<<8 | int(b.Value[1])
	}
	c.Channels[status.Value[0]&0x07] = ch
}

// Errors reports whether a finding is an error.
func Errors(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Severity == SeverityError })
}
