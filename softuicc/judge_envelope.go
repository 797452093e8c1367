package softuicc

import "fmt"

func amount(n int) string {
	if n == many {
		return "255 octets or more"
	}
	return fmt.Sprintf("%d octets", n)
}

// envelope judges an ENVELOPE that the card accepted (clause 7).
func (j *judge) envelope(apdu, data []byte) {
	j.apdu, j.answers = apdu, false
	tag, content, err := template(data)
	if err == nil {
		err = j.scratch.read(content)
	}
	if err != nil {
		j.violate("9.1", "ENVELOPE: %v", err)
		return
	}
	l := &j.scratch
	switch tag {
	case envelopeEvent:
		j.event(l)
	case envelopeTimer:
		if j.order(l, "timer expiration", tagDevices, tagTimerID, tagTimerValue) && j.devices(l, 0x82) {
			j.timerExpired(l)
		}
	case envelopeSMSPP:
		j.devices(l, 0x83)
		if v, ok := l.find(tagTPDU); !ok || len(v) == 0 {
			j.violate("7.1", "SMS-PP download without SMS TPDU")
		}
	case 0xD3:
		j.menuSelection(l)
	case 0xD2, 0xD4, 0xD5, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF:
	default:
		j.violate("7", "ENVELOPE with template %02X", tag)
	}
}

// order judges that the objects begin with these, in this order.
func (j *judge) order(l *objects, what string, tags ...uint16) bool {
	for i, tag := range tags {
		if i >= l.n || l.list[i].tag != tag {
			j.violate("7", "%s: object %d is not %02X", what, i+1, tag)
			return false
		}
	}
	return true
}

func (j *judge) devices(l *objects, source byte) bool {
	v, ok := l.find(tagDevices)
	if !ok || len(v) != 2 || v[0] != source || v[1] != 0x81 {
		j.violate("8.7", "ENVELOPE with device identities %X instead of %02X81", v, source)
		return false
	}
	return true
}

// event judges an EVENT DOWNLOAD (clause 7.5).
func (j *judge) event(l *objects) {
	if !j.order(l, "event download", tagEventList, tagDevices) {
		return
	}
	list := l.list[0].value
	if len(list) != 1 {
		j.violate("7.5", "event download with %d events; it has one", len(list))
		return
	}
	code := list[0]
	if !j.events[code] {
		j.violate("7.5", "event %02X, to which no SET UP EVENT LIST has subscribed", code)
	}
	if at, ok := eventBits[code]; ok && !j.profile.Has(at.octet, at.bit) {
		j.violate("5.2", "event %02X, which TERMINAL PROFILE does not offer (octet %d, bit %d)", code, at.octet, at.bit)
	}
	switch code {
	case 0x03:
		j.devices(l, 0x82)
		j.locationEvent(l)
	case 0x09:
		if j.devices(l, 0x82) && j.order(l, "Data available", tagEventList, tagDevices, tagChannelStatus, tagDataLength) {
			j.dataAvailable(l.list[2].value, l.list[3].value)
		}
	case 0x0A:
		if j.devices(l, 0x82) && j.order(l, "Channel status", tagEventList, tagDevices, tagChannelStatus) {
			j.channelEvent(l.list[2].value)
		}
	case 0x12:
		j.devices(l, 0x83)
	}
}

func (j *judge) locationEvent(l *objects) {
	v, ok := l.find(tagLocation)
	if !ok || len(v) != 1 || v[0] > 2 {
		j.violate("7.5.4", "Location status event with location status %X", v)
		return
	}
	if _, has := l.find(tagLocationInfo); has != (v[0] == 0) {
		j.violate("7.5.4", "Location status %02X: location information comes with normal service, 00, and only then", v[0])
	}
}

func (j *judge) timerExpired(l *objects) {
	id, value := l.list[1].value, l.list[2].value
	if len(id) != 1 || id[0] < 1 || id[0] > 8 || len(value) != 3 {
		j.violate("7.4", "timer expiration with identifier %X and value %X", id, value)
		return
	}
	j.timerValue(value)
	if !j.timers[id[0]] {
		j.violate("7.4", "timer %d expired, but it does not run", id[0])
	}
	j.timers[id[0]] = false
}

// namedChannel finds the open channel that an event speaks of.
func (j *judge) namedChannel(event string, status []byte) *judgedChannel {
	if len(status) != 2 || status[0]&0x38 != 0 || status[0]&7 == 0 {
		j.violate("8.56", "%s event with channel status %X", event, status)
		return nil
	}
	ch := &j.channels[status[0]&7]
	if !ch.open {
		j.violate("7.5", "%s event for channel %d, which is not open", event, status[0]&7)
		return nil
	}
	return ch
}

// dataAvailable judges the event that is due when data reach an empty Rx buffer (clause 7.5.10).
func (j *judge) dataAvailable(status, length []byte) {
	ch := j.namedChannel("Data available", status)
	if ch == nil {
		return
	}
	n := status[0] & 7
	if len(length) != 1 {
		j.violate("8.54", "Data available event with a channel data length of %d octets", len(length))
		return
	}
	announced := int(length[0])
	switch {
	case announced == 0:
		j.violate("7.5.10", "Data available event for channel %d with no data", n)
	case ch.dropped:
		j.violate("7.5.11", "Data available event for channel %d after the event that its link is dropped", n)
	case ch.unread > 0 && !ch.chained:
		j.violate("7.5.10", "second Data available event for channel %d while %s of the first are unread and no chain has ended since",
			n, amount(ch.unread))
	case ch.tcp() && announced < ch.unread:
		j.violate("8.54", "Data available: channel %d has %s, but %s were announced before", n, amount(announced), amount(ch.unread))
	}
	ch.unread, ch.chained = announced, false
}

// channelEvent judges the event that tells of a change that no command has caused (clause 7.5.11).
func (j *judge) channelEvent(status []byte) {
	ch := j.namedChannel("Channel status", status)
	if ch == nil {
		return
	}
	n, link, info := status[0]&7, status[0]&0xC0, status[1]
	server := ch.request.transport == transportServer
	switch {
	case info != 0 && info != 0x05:
		j.violate("8.56", "Channel status %X: further information %02X is not assigned", status, info)
	case link == 0xC0 || link == linkListen && !server:
		j.violate("8.56", "Channel status %X: no such state", status)
	case link == linkUp && info == 0x05:
		j.violate("8.56", "Channel status %X: established and dropped at once", status)
	case link == linkUp && ch.link == linkUp && !ch.dropped:
		j.violate("7.5.11", "Channel status event for channel %d without a change: the card knows that the link is established", n)
	case link == linkDown && ch.dropped:
		j.violate("7.5.11", "second Channel status event that channel %d is dropped", n)
	case link != linkUp && ch.unread > 0:
		j.violate("7.5.11", "Channel status says that channel %d is dropped before %s in its Rx buffer were read", n, amount(ch.unread))
	}
	ch.dropped = link == linkDown
	ch.lost, ch.overdue = false, 0
	ch.link = link
}
