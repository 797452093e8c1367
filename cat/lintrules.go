package cat

import (
	"fmt"
	"slices"
)

// name is the object's name with its tag.
func (t Tag) name() string {
	if n, ok := objectNames[t]; ok {
		return fmt.Sprintf("%s (%02X)", n, uint16(t))
	}
	return fmt.Sprintf("%02X", uint16(t))
}

// unwrapped is the reason of a parse error without the package's name.
func unwrapped(err error) string {
	const prefix = "cat: "
	if s := err.Error(); len(s) > len(prefix) && s[:len(prefix)] == prefix {
		return s[len(prefix):]
	}
	return err.Error()
}

// number judges command number and type.
func (l *linter) number() {
	if n := l.details.Number; n == 0x00 || n == 0xFF {
		l.fail("8.6", "command number %02X: it is 01 to FE", n)
	}
	if !l.details.Type.Known() {
		l.warn("9.4", "command type %02X is none that is known here: a terminal that does not know it answers 31", byte(l.details.Type))
	}
}

// destination judges the device identities.
func (l *linter) destination() {
	if l.devices == (DeviceIdentities{}) {
		return
	}
	if l.devices.Source != DeviceUICC {
		l.fail("8.7", "the source is %v (%02X): a proactive command comes from the UICC (81)", l.devices.Source, byte(l.devices.Source))
	}
	d := l.devices.Destination
	switch {
	case l.spec.to == nil || slices.Contains(l.spec.to, d):
	case l.spec.to[0] == DeviceChannel(1) && d >= 0x20 && d <= 0x2F:
		l.fail("8.7", "%v for channel %d (%02X): channels are 1 to %d (21 to 27)", l.details.Type, int(d)-0x20, byte(d), MaxChannels)
	case l.spec.to[0] == DeviceChannel(1):
		l.fail(l.clause(), "%v goes to %v (%02X): it goes to a channel (21 to 27)", l.details.Type, d, byte(d))
	default:
		l.fail(l.clause(), "%v goes to %v (%02X): it goes to %v (%02X)", l.details.Type, d, byte(d), l.spec.to[0], byte(l.spec.to[0]))
	}
}

func (l *linter) qualifier() {
	q := l.details.Qualifier
	switch {
	case q&l.spec.reserved != 0:
		l.fail("8.6", "qualifier %02X of %v: the bits %02X are reserved and have to be 0", q, l.details.Type, q&l.spec.reserved)
	case l.spec.highest != 0 && q > l.spec.highest:
		l.warn("8.6", "qualifier %02X of %v has no meaning that is known here", q, l.details.Type)
	case l.details.Type == TypeTimerManagement && q == 0x03:
		l.fail("8.6", "qualifier 03 of TIMER MANAGEMENT is reserved: 00 starts, 01 stops, 02 reads a timer")
	case l.details.Type == TypeOpenChannel && q&OpenBackground != 0 && q&OpenImmediate == 0:
		l.warn("8.6", "qualifier %02X: background mode (bit 3) is one of immediate links; bit 1 is 0, which means on demand", q)
	}
}

// known judges the objects that the command does not have, and comprehension required flags that cost answers.
func (l *linter) known() {
	if l.spec.clause == "" {
		return
	}
	for _, t := range l.objects {
		late := t.Tag == TagTextAttribute || t.Tag == TagFrameIdentifier
		switch {
		case t.Tag == TagCommandDetails, t.Tag == TagDeviceIdentities:
		case !slices.Contains(l.spec.mandatory, t.Tag) && !slices.Contains(l.spec.optional, t.Tag) && !slices.Contains(shown, t.Tag):
			if t.CR {
				l.fail("6.10", "%v has no object %v; with comprehension required the terminal has to refuse the command (32)", l.details.Type, t.Tag.name())
			} else {
				l.warn(l.clause(), "%v has no object %v: terminals pass over it", l.details.Type, t.Tag.name())
			}
		case t.CR && late:
			l.warn("6.10", "object %v with comprehension required: a terminal that does not know it refuses the whole command (32)", t.Tag.name())
		}
	}
}

func (l *linter) mandatory() {
	for _, tag := range l.spec.mandatory {
		if !l.has(tag) {
			l.fail(l.clause(), "%v without its mandatory %v: the terminal answers 36", l.details.Type, tag.name())
		}
	}
	q := l.details.Qualifier
	missing := func(what string) { l.fail(l.clause(), "%v without %s", l.details.Type, what) }
	switch l.details.Type {
	case TypeRefresh:
		if (q == RefreshFCN || q == RefreshInitAndFCN) && !l.has(TagFileList) {
			missing("the file list that this mode needs")
		}
	case TypeSetUpCall:
		if !l.has(TagAddress) && !l.has(tagURL) {
			missing("an address")
		}
	case TypeSendShortMessage:
		if !l.has(TagSMSTPDU) && !l.has(tagCDMATPDU) {
			missing("an SMS TPDU")
		}
	case TypeTimerManagement:
		if q&0x03 == TimerStart && !l.has(TagTimerValue) {
			missing("the timer value that starting needs")
		}
	case TypeLanguageNotification:
		if q&0x01 != 0 && !l.has(TagLanguage) {
			missing("the language that qualifier bit 1 announces")
		}
	}
}

// values judges what stands in the objects.
func (l *linter) values() {
	if l.details.Type == TypeOpenChannel {
		l.openChannel()
		return
	}
	for _, t := range l.objects {
		switch {
		case t.Tag == TagDuration && l.details.Type == TypePollInterval:
			if _, err := parseDuration(t.Value); err != nil {
				l.fail("8.8", "duration %X: it is a unit (00 minutes, 01 seconds, 02 tenths of a second) and 01 to FF of it", t.Value)
			}
		case t.Tag == TagEventList && l.details.Type == TypeSetUpEventList:
			l.events(t.Value)
		case t.Tag == TagTimerIdentifier && l.details.Type == TypeTimerManagement:
			if len(t.Value) != 1 || t.Value[0] < 1 || t.Value[0] > maxTimers {
				l.fail("8.37", "timer identifier %X: a terminal has the timers 01 to %02X", t.Value, maxTimers)
			}
		case t.Tag == TagTimerValue && l.details.Type == TypeTimerManagement:
			l.timerValue(t.Value)
		case t.Tag == TagChannelDataLength && l.details.Type == TypeReceiveData:
			l.dataLength(t.Value)
		case t.Tag == TagChannelData && l.details.Type == TypeSendData && len(t.Value) == 0:
			l.warn("8.53", "SEND DATA with no data")
		}
	}
}

func (l *linter) events(list []byte) {
	for i, e := range list {
		switch {
		case EventCode(e) > eventLastAssigned:
			l.fail("8.25", "event %02X is reserved: terminals refuse the whole list (30)", e)
		case slices.Contains(list[:i], e):
			l.warn("8.25", "%v is in the list twice", EventCode(e))
		}
	}
}

func (l *linter) timerValue(v []byte) {
	switch value, err := parseTimerValue(v); {
	case err != nil:
		l.fail("8.38", "timer value %X: it is hours to 23, minutes and seconds to 59, two digits each with the low one in the high nibble", v)
	case value == 0 && l.details.Qualifier&0x03 == TimerStart:
		l.warn("8.38", "a timer is started with 0 seconds")
	}
}

func (l *linter) dataLength(v []byte) {
	switch {
	case len(v) != 1:
		l.fail("8.54", "channel data length of %d octets: it is one", len(v))
	case v[0] == 0:
		l.fail("8.54", "RECEIVE DATA for 0 octets")
	case v[0] > MaxReceive:
		l.warn("8.54", "RECEIVE DATA for %d octets: one TERMINAL RESPONSE holds %d, so that the answer is shorter, and terminals differ in the result",
			v[0], MaxReceive)
	}
}

// offered judges the command by the TERMINAL PROFILE.
func (l *linter) offered() {
	if l.ctx.Profile == nil {
		return
	}
	lacks := func(f Facility, what string) {
		if !f.In(l.ctx.Profile) {
			l.warn("5.2", "the TERMINAL PROFILE does not offer %s (octet %d bit %d)", what, f.Octet, f.Bit)
		}
	}
	if f, ok := l.details.Type.Facility(); ok {
		lacks(f, l.details.Type.String())
	}
	switch l.details.Type {
	case TypeSetUpEventList:
		list, _ := Find(l.objects, TagEventList)
		for _, e := range list.Value {
			if f, ok := EventCode(e).Facility(); ok {
				lacks(f, "the event "+EventCode(e).String())
			}
		}
	case TypeOpenChannel:
		if t, ok := Find(l.objects, TagTransportLevel); ok && len(t.Value) == 3 {
			if f, ok := TransportProtocol(t.Value[0]).Facility(); ok {
				lacks(f, TransportProtocol(t.Value[0]).String())
			}
		}
		if b, ok := Find(l.objects, TagBearerDescription); ok && len(b.Value) > 0 {
			if f, ok := BearerType(b.Value[0]).Facility(); ok {
				lacks(f, "the bearer "+BearerType(b.Value[0]).String())
			}
		}
		if l.details.Qualifier&OpenDNSRequest != 0 {
			lacks(FacilityDNSRequest, "DNS server address requests")
		}
	}
}

// channel judges a command for a channel by what is open.
func (l *linter) channel() {
	n, ok := l.devices.Destination.Channel()
	if !ok || !l.ctx.Tracked || l.spec.to == nil || l.spec.to[0] != DeviceChannel(1) {
		return
	}
	c := l.ctx.Channels[n]
	if !c.Open {
		l.fail("8.56", "%v for channel %d, which is not open", l.details.Type, n)
		return
	}
	data, ok := Find(l.objects, TagChannelData)
	if l.details.Type != TypeSendData || !ok || c.Buffer == 0 {
		return
	}
	switch size := len(data.Value); {
	case size > c.Buffer:
		l.fail("6.4.30", "SEND DATA of %d octets: the terminal granted a buffer of %d", size, c.Buffer)
	case size+c.Stored > c.Buffer:
		l.fail("6.4.30", "SEND DATA of %d octets, with %d stored before: the terminal granted a buffer of %d", size, c.Stored, c.Buffer)
	}
}
