package cat

import "errors"

// Command is a proactive command (clause 6.6): command details, device identities and what the type carries.
type Command struct {
	Details CommandDetails
	Devices DeviceIdentities
	Body    Body
}

// Body is the part of a proactive command that depends on its type.
type Body interface {
	// Type is the type of the command that carries the body.
	Type() CommandType
	// appendObjects appends the body's data objects in the order of clause 6.6.
	appendObjects(dst []TLV) []TLV
	// setObject takes one object. after holds the objects before it, for some mean by position what they mean.
	// It returns false for an object that the command does not have.
	setObject(t TLV, before []TLV) (bool, error)
	// check reports the mandatory values that are missing. The qualifier may decide which those are.
	check(qualifier byte) error
}

// Unsupported is the body of a command that this package does not decode.
type Unsupported struct {
	Command CommandType
	Objects []TLV
}

func (u *Unsupported) Type() CommandType             { return u.Command }
func (u *Unsupported) appendObjects(dst []TLV) []TLV { return append(dst, u.Objects...) }
func (u *Unsupported) check(byte) error              { return nil }
func (u *Unsupported) setObject(t TLV, _ []TLV) (bool, error) {
	u.Objects = append(u.Objects, t)
	return true, nil
}

// NewCommand makes a command from the card to the terminal.
func NewCommand(number, qualifier byte, body Body) Command {
	return Command{CommandDetails{number, body.Type(), qualifier}, DeviceIdentities{DeviceUICC, DeviceTerminal}, body}
}

// NewChannelCommand makes a command from the card to a channel of the terminal (clause 8.7).
func NewChannelCommand(number, qualifier byte, channel int, body Body) Command {
	return Command{CommandDetails{number, body.Type(), qualifier}, DeviceIdentities{DeviceUICC, DeviceChannel(channel)}, body}
}

func newBody(t CommandType) Body {
	switch t {
	case TypeOpenChannel:
		return &OpenChannel{}
	case TypeCloseChannel:
		return &CloseChannel{}
	case TypeReceiveData:
		return &ReceiveData{}
	case TypeSendData:
		return &SendData{}
	case TypeGetChannelStatus:
		return &GetChannelStatus{}
	case TypeRefresh:
		return &Refresh{}
	case TypeMoreTime:
		return &MoreTime{}
	case TypePollInterval:
		return &PollInterval{}
	case TypePollingOff:
		return &PollingOff{}
	case TypeSetUpEventList:
		return &SetUpEventList{}
	case TypeTimerManagement:
		return &TimerManagement{}
	case TypeProvideLocalInformation:
		return &ProvideLocalInformation{}
	case TypeLanguageNotification:
		return &LanguageNotification{}
	case TypeDisplayText:
		return &DisplayText{}
	case TypeSetUpIdleModeText:
		return &SetUpIdleModeText{}
	case TypeSetUpMenu:
		return &SetUpMenu{}
	case TypeSelectItem:
		return &SelectItem{}
	case TypeSendShortMessage:
		return &SendShortMessage{}
	}
	return &Unsupported{Command: t}
}

// ParseCommand reads a proactive command: a BER-TLV with tag D0. An error is a *ResultError that says what to answer;
// the command's details are then given as far as they could be read, for the answer repeats them, and a Body, half filled,
// where details and device identities could be. The command shares b's memory.
func ParseCommand(b []byte) (Command, error) {
	var c Command
	tag, value, err := parseTemplate(b)
	if len(b) == 0 || tag != templateProactive {
		return c, notUnderstood("no proactive command template")
	}
	if err != nil {
		value = afterLength(b[1:])
	}
	tlvs, tlvErr := ParseTLVs(value)
	if derr := c.readFrame(tlvs); derr != nil {
		return c, derr
	}
	c.Body = newBody(c.Details.Type)
	if err = errors.Join(err, tlvErr); err != nil {
		return c, notUnderstood("%v", err)
	}
	return c, c.readBody(tlvs)
}

// afterLength skips the length of a template whose length is wrong, so that the command details behind it can still be answered.
func afterLength(b []byte) []byte {
	if len(b) > 0 && b[0] > 0x80 && b[0] < 0x84 {
		b = b[min(len(b), int(b[0]&0x7F)):]
	}
	return b[min(len(b), 1):]
}

func (c *Command) readFrame(tlvs []TLV) error {
	d, ok := Find(tlvs, TagCommandDetails)
	if !ok {
		return notUnderstood("no command details")
	}
	if len(d.Value) != 3 {
		return notUnderstood("command details of %d octets", len(d.Value))
	}
	c.Details = CommandDetails{d.Value[0], CommandType(d.Value[1]), d.Value[2]}
	ids, ok := Find(tlvs, TagDeviceIdentities)
	if !ok {
		return valuesMissing("no device identities")
	}
	if len(ids.Value) != 2 {
		return notUnderstood("device identities of %d octets", len(ids.Value))
	}
	c.Devices = DeviceIdentities{DeviceID(ids.Value[0]), DeviceID(ids.Value[1])}
	return nil
}

func (c *Command) readBody(tlvs []TLV) error {
	for i, t := range tlvs {
		if t.Tag == TagCommandDetails || t.Tag == TagDeviceIdentities {
			continue
		}
		known, err := c.Body.setObject(t, tlvs[:i])
		if err != nil {
			return err
		}
		if !known && t.CR { // clause 6.10: without the flag the object may be passed over
			return notUnderstood("object %02X with comprehension required", uint16(t.Tag))
		}
	}
	return c.Body.check(c.Details.Qualifier)
}

// Append appends the command as a BER-TLV with tag D0.
func (c Command) Append(dst []byte) []byte {
	tlvs := []TLV{
		{TagCommandDetails, true, []byte{c.Details.Number, byte(c.Details.Type), c.Details.Qualifier}},
		{TagDeviceIdentities, true, []byte{byte(c.Devices.Source), byte(c.Devices.Destination)}},
	}
	return appendTemplate(dst, templateProactive, AppendTLVs(nil, c.Body.appendObjects(tlvs)))
}

// Presentation is what a command wants shown to the user while it runs. A headless terminal logs the text.
type Presentation struct {
	Alpha         *Alpha // nil: the terminal may say what it likes; empty: it should say nothing
	Icon          []byte // icon identifier (clause 8.31), 2 octets
	TextAttribute []byte // clause 8.72, 4 octets an attribute
	Frame         []byte // frame identifier (clause 8.80), 1 octet
}

func (p *Presentation) setObject(t TLV) bool {
	switch t.Tag {
	case TagAlphaIdentifier:
		p.Alpha = &Alpha{t.Value}
	case TagIconIdentifier:
		p.Icon = t.Value
	case TagTextAttribute:
		p.TextAttribute = t.Value
	case TagFrameIdentifier:
		p.Frame = t.Value
	default:
		return false
	}
	return true
}

func (p *Presentation) appendHead(dst []TLV, cr bool) []TLV {
	if p.Alpha != nil {
		dst = append(dst, p.Alpha.tlv(cr))
	}
	if p.Icon != nil {
		dst = append(dst, TLV{TagIconIdentifier, false, p.Icon})
	}
	return dst
}

func (p *Presentation) appendTail(dst []TLV) []TLV {
	if p.TextAttribute != nil {
		dst = append(dst, TLV{TagTextAttribute, true, p.TextAttribute})
	}
	if p.Frame != nil {
		dst = append(dst, TLV{TagFrameIdentifier, false, p.Frame})
	}
	return dst
}
