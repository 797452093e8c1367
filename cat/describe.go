package cat

import (
	"fmt"
	"strings"
)

// DescribeCommand says in one line what a proactive command asks for: type, number, what the qualifier means, and each
// object. Login and password of an OPEN CHANNEL are not shown. What cannot be read is given as hex, masked as by Mask.
func DescribeCommand(raw []byte) string {
	cmd, err := ParseCommand(raw)
	if cmd.Details == (CommandDetails{}) {
		return fmt.Sprintf("unreadable command %X", Mask(raw))
	}
	line := fmt.Sprintf("%v %02X", cmd.Details.Type, cmd.Details.Number)
	if n, ok := cmd.Devices.Destination.Channel(); ok {
		line += fmt.Sprintf(" on channel %d", n)
	}
	if q := cmd.Details.QualifierMeaning(); q != "" {
		line += " (" + q + ")"
	}
	_, value, perr := parseTemplate(raw)
	if perr != nil {
		value = afterLength(raw[1:])
	}
	tlvs, terr := ParseTLVs(value)
	d := describer{command: cmd.Details.Type}
	for _, t := range tlvs {
		if t.Tag != TagCommandDetails && t.Tag != TagDeviceIdentities {
			d.add(t)
		}
	}
	if err != nil && (perr != nil || terr != nil) {
		d.parts = append(d.parts, fmt.Sprintf("and more that cannot be read: %X", Mask(raw)))
	}
	return d.line(line)
}

// DescribeResponse says in one line what the data of a TERMINAL RESPONSE tell: the result, then each object.
func DescribeResponse(raw []byte) string {
	r, _, err := ParseResponse(raw)
	if err != nil {
		return fmt.Sprintf("unreadable response %X: %v", raw, unwrapped(err))
	}
	d := describer{command: r.Details.Type, response: true}
	for _, t := range r.Objects {
		d.add(t)
	}
	return d.line(fmt.Sprintf("%02X %v", byte(r.Result.General), r.Result))
}

// describer collects what is said of the objects, which depends on those before.
type describer struct {
	command  CommandType
	response bool
	parts    []string
	level    bool // the transport level was seen
	texts    int
}

func (d *describer) line(head string) string {
	if len(d.parts) == 0 {
		return head
	}
	return head + ": " + strings.Join(d.parts, ", ")
}

func (d *describer) add(t TLV) {
	d.parts = append(d.parts, d.describe(t))
}

func (d *describer) describe(t TLV) string {
	v := t.Value
	if hasLogin(d.command) && !d.response && t.Tag != TagTextString && !publicTags[t.Tag] {
		return fmt.Sprintf("%s (%d octets, not shown)", t.Tag.name(), len(v)) // it may be a password with a wrong tag
	}
	switch t.Tag {
	case TagAlphaIdentifier:
		return fmt.Sprintf("alpha %q", (&Alpha{v}).Decode())
	case TagTextString:
		if d.command == TypeLaunchBrowser {
			return fmt.Sprintf("text (%d octets, not shown)", len(v))
		}
		if d.command == TypeOpenChannel {
			d.texts++
			return [...]string{"login", "password"}[min(d.texts, 2)-1] + " (not shown)"
		}
		return fmt.Sprintf("text %q", parseText(v).Decode())
	case TagBearerDescription:
		if b, err := parseBearerDescription(v); err == nil && len(b.Parameters) > 0 {
			return fmt.Sprintf("bearer %v %X", b.Type, b.Parameters)
		} else if err == nil {
			return fmt.Sprintf("bearer %v", b.Type)
		}
	case TagBufferSize:
		if len(v) == 2 {
			return fmt.Sprintf("buffer %d", int(v[0])<<8|int(v[1]))
		}
	case TagNetworkAccessName:
		return fmt.Sprintf("network access name %q", string(parseNetworkAccessName(v)))
	case TagTransportLevel:
		d.level = true
		if l, err := parseTransportLevel(v); err == nil {
			return fmt.Sprintf("%v port %d", l.Protocol, l.Port)
		}
	case TagOtherAddress, TagDNSServerAddress:
		return d.address(t)
	case TagChannelData:
		return fmt.Sprintf("%d octets", len(v))
	case TagChannelDataLength:
		return d.dataLength(v)
	case TagChannelStatus:
		if s, err := ParseChannelStatus(v); err == nil {
			return s.String()
		}
	case TagEventList:
		var names []string
		for _, e := range v {
			names = append(names, EventCode(e).String())
		}
		return "events [" + strings.Join(names, ", ") + "]"
	case TagDuration:
		if x, err := parseDuration(v); err == nil {
			return x.Value().String()
		}
	case TagTimerIdentifier:
		if len(v) == 1 {
			return fmt.Sprintf("timer %d", v[0])
		}
	case TagTimerValue:
		if x, err := parseTimerValue(v); err == nil {
			return fmt.Sprintf("%d:%02d:%02d", int(x/3600e9), int(x/60e9)%60, int(x/1e9)%60)
		}
	}
	return anyObject(t)
}

func (d *describer) address(t TLV) string {
	what := "from"
	switch {
	case t.Tag == TagDNSServerAddress && d.command != TypeOpenChannel:
		return anyObject(t)
	case t.Tag == TagDNSServerAddress:
		what = "DNS server"
	case d.level:
		what = "to"
	}
	a, err := parseOtherAddress(t.Value)
	switch {
	case err != nil:
		return anyObject(t)
	case !a.IsValid():
		return what + " any address"
	}
	return what + " " + a.String()
}

func (d *describer) dataLength(v []byte) string {
	if len(v) != 1 {
		return anyObject(TLV{Tag: TagChannelDataLength, Value: v})
	}
	number := fmt.Sprint(v[0])
	if v[0] == 0xFF && d.response {
		number = "more than 255"
	}
	switch {
	case !d.response:
		return number + " octets wanted"
	case d.command == TypeSendData:
		return number + " octets free"
	}
	return number + " octets left"
}

// maxShown is how many octets of an object are shown.
const maxShown = 24

func anyObject(t TLV) string {
	if len(t.Value) > maxShown {
		return fmt.Sprintf("%s %X... (%d octets)", t.Tag.name(), t.Value[:maxShown], len(t.Value))
	}
	return strings.TrimRight(fmt.Sprintf("%s %X", t.Tag.name(), t.Value), " ")
}

// qualifierNames are the meanings of whole qualifiers (clause 8.6).
var qualifierNames = map[CommandType]map[byte]string{
	TypeRefresh: {RefreshInitAndFullFCN: "NAA initialisation and full file change notification", RefreshFCN: "file change notification",
		RefreshInitAndFCN: "NAA initialisation and file change notification", RefreshInit: "NAA initialisation",
		RefreshUICCReset: "UICC reset", 0x05: "NAA application reset", 0x06: "NAA session reset", 0x07: "steering of roaming",
		0x08: "steering of roaming for I-WLAN", 0x09: "eUICC profile state change"},
	TypeCloseChannel: {CloseUpkeep: "the next channel uses the same network access name; a server goes back to listen"},
	TypeSendData:     {0x00: "store", SendImmediately: "send immediately"},
	TypeProvideLocalInformation: {LocalLocation: "location", LocalIMEI: "IMEI", 0x02: "network measurement results", LocalDateTime: "date, time and time zone",
		LocalLanguage: "language", 0x05: "timing advance", LocalAccessTechnology: "access technology", LocalIMEISV: "IMEISV"},
	TypeTimerManagement:      {TimerStart: "start", TimerDeactivate: "stop", TimerGetValue: "read"},
	TypeLanguageNotification: {0x00: "no language in particular", 0x01: "specific language"},
}

// qualifierBits are the meanings of the qualifier's bits, from bit 1 on, set and clear (clause 8.6).
var qualifierBits = map[CommandType][8][2]string{
	TypeOpenChannel: {{"immediate link", "on demand link"}, {"automatic reconnection"}, {"background mode"}, {"DNS server address request"}},
	TypeDisplayText: {0: {"high priority", "normal priority"}, 7: {"wait for the user to clear it", "cleared after a while"}},
	TypeSetUpMenu:   {0: {"soft key preferred"}, 7: {"help available"}},
	TypeSelectItem:  {2: {"soft key preferred"}, 7: {"help available"}},
	TypeGetInkey:    {7: {"help available"}},
	TypeGetInput:    {2: {"hidden"}, 7: {"help available"}},
	TypePlayTone:    {0: {"vibrate"}},
}

// QualifierMeaning says what the command qualifier asks for; empty where it says nothing.
func (d CommandDetails) QualifierMeaning() string {
	if name, ok := qualifierNames[d.Type][d.Qualifier]; ok {
		return name
	}
	bits, ok := qualifierBits[d.Type]
	if !ok {
		if d.Qualifier == 0 {
			return ""
		}
		return fmt.Sprintf("qualifier %02X", d.Qualifier)
	}
	var said []string
	for i, names := range bits {
		which := 1
		if d.Qualifier>>i&1 != 0 {
			which = 0
		}
		if which == 0 && names[0] == "" {
			said = append(said, fmt.Sprintf("bit %d", i+1))
		} else if names[which] != "" {
			said = append(said, names[which])
		}
	}
	return strings.Join(said, ", ")
}
