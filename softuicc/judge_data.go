package softuicc

// channelResponse judges the response to a command that is addressed to a channel.
func (j *judge) channelResponse(m *judged, l *objects, general byte, info int) {
	if m.channel == 0 {
		return
	}
	ch := &j.channels[m.channel]
	if !j.channelState(m, ch, general, info) {
		return
	}
	if general >= 0x10 {
		if general == resultBIP && info == bipClosed {
			j.closedUnderneath(m, ch)
		}
		return
	}
	j.channelOrder(m, l)
	switch m.kind() {
	case typeClose:
		if m.qualifier()&1 != 0 && ch.request.transport == transportServer {
			ch.link, ch.unread, ch.stored = linkListen, 0, 0
		} else {
			*ch = judgedChannel{ever: true}
		}
	case typeSend:
		j.sent(m, ch, l)
	case typeReceive:
		j.received(m, ch, l, general)
	}
}

// channelState judges a result against what is known of the channel; false when there is no more to judge.
func (j *judge) channelState(m *judged, ch *judgedChannel, general byte, info int) bool {
	bip := general == resultBIP
	switch {
	case !ch.open && general < 0x10:
		j.violate("6.8", "%s performed on channel %d, which is not open", m.name(), m.channel)
	case !ch.ever && bip && info != bipInvalid:
		j.violate("8.12.11", "%s on channel %d, never opened, answered 3A %02X; identifier not valid is 3A 03", m.name(), m.channel, info)
	case !ch.open && bip && info != bipInvalid && info != bipClosed:
		j.violate("8.12.11", "%s on channel %d, closed, answered 3A %02X; that is 3A 02 or 3A 03", m.name(), m.channel, info)
	case ch.open && bip && info == bipInvalid:
		j.violate("8.12.11", "%s on channel %d answered 3A 03 (identifier not valid), but the channel is open", m.name(), m.channel)
	case ch.open && ch.dropped && bip && info != bipClosed:
		j.violate("8.12.11", "%s on channel %d, reported dropped, answered 3A %02X; channel closed is 3A 02", m.name(), m.channel, info)
	case ch.open && ch.dropped && general < 0x10 && m.kind() == typeSend && ch.request.qualifier()&openReconnect == 0:
		j.violate("6.4.30", "SEND DATA performed on channel %d, which was reported dropped: the data are lost", m.channel)
	}
	return ch.open
}

// closedUnderneath takes note that the terminal answered "channel closed".
func (j *judge) closedUnderneath(m *judged, ch *judgedChannel) {
	if m.kind() == typeReceive && ch.unread > 0 {
		j.violate("6.4.29", "channel %d answered \"channel closed\" while announced data were unread: they are lost", m.channel)
		ch.unread = 0
	}
	if m.kind() == typeClose {
		*ch = judgedChannel{ever: true}
		return
	}
	ch.lost = ch.link != linkListen // else the card knows that there is no client
}

// channelOrder judges which objects follow the result of a success, and their order.
func (j *judge) channelOrder(m *judged, l *objects) {
	var want []uint16
	switch m.kind() {
	case typeSend:
		want = []uint16{tagDataLength}
	case typeReceive:
		want = []uint16{tagData, tagDataLength}
	}
	rest := l.all()[3:]
	for i, tag := range want {
		if _, ok := l.find(tag); !ok {
			j.violate("6.8", "%s performed, but the response has no object %02X", m.name(), tag)
		} else if i < len(rest) && rest[i].tag != tag {
			j.violate("6.8", "%s: object %02X where %02X has its place", m.name(), rest[i].tag, tag)
		}
	}
	for _, o := range rest[min(len(want), len(rest)):] {
		j.violate("6.8", "%s: object %02X does not belong into the response", m.name(), o.tag)
	}
}

// length reads a Channel data length; -1 without a sound one.
func (j *judge) length(m *judged, l *objects) int {
	v, ok := l.find(tagDataLength)
	if !ok {
		return -1
	}
	if len(v) != 1 {
		j.violate("8.54", "%s: channel data length of %d octets", m.name(), len(v))
		return -1
	}
	return int(v[0])
}

// sent judges a successful SEND DATA: what is stored takes room, and never more than was granted.
func (j *judge) sent(m *judged, ch *judgedChannel, l *objects) {
	free := j.length(m, l)
	if m.qualifier()&1 != 0 {
		ch.stored, ch.sent = 0, true
		ch.free = 255
		if free >= 0 {
			ch.free = free
		}
		return
	}
	ch.stored += m.data
	exact := !ch.sent || !ch.tcp() // otherwise the network may have freed some
	switch {
	case ch.stored > ch.buffer:
		j.violate("6.4.30", "SEND DATA: %d octets stored in a Tx buffer of %d and answered with success: data are lost", ch.stored, ch.buffer)
	case free < 0:
	case exact && ch.free < 255 && m.data > ch.free:
		j.violate("6.4.30", "SEND DATA: %d octets stored where %d were free", m.data, ch.free)
	case exact && ch.free < 255 && free > ch.free-m.data:
		j.violate("8.54", "SEND DATA: %d octets free after %d were stored where %d were free", free, m.data, ch.free)
	case exact && free < min(255, ch.buffer-ch.stored):
		j.violate("8.54", "SEND DATA: %d octets free, but only %d of the %d granted are stored", free, ch.stored, ch.buffer)
	}
	if free >= 0 {
		ch.free = free
	}
}

// received judges a successful RECEIVE DATA against what was asked and what was announced.
func (j *judge) received(m *judged, ch *judgedChannel, l *objects, general byte) {
	data, ok := l.find(tagData)
	left := j.length(m, l)
	if !ok || left < 0 {
		return
	}
	n, most := len(data), min(m.asked, maxReceive)
	switch {
	case n > m.asked:
		j.violate("6.4.29", "RECEIVE DATA of %d octets answered with %d", m.asked, n)
	case n < most && general != resultMissing:
		j.violate("6.8", "RECEIVE DATA of %d octets answered with %d and result %02X; missing information is 02", m.asked, n, general)
	case n == m.asked && n > 0 && general == resultMissing:
		j.violate("6.8", "RECEIVE DATA brought all %d octets, but the result is 02, missing information", n)
	}
	switch {
	case ch.tcp() && n < most && left > 0:
		j.violate("6.4.29", "RECEIVE DATA of %d octets brought %d, though %s remain", m.asked, n, amount(left))
	case ch.tcp() && left < many && n+left < ch.unread:
		j.violate("8.54", "%s were announced; %d delivered and %d left are fewer: data are lost", amount(ch.unread), n, left)
	case !ch.tcp() && n == 0 && ch.unread > 0 && most > 0:
		j.violate("8.54", "%s were announced, but RECEIVE DATA brought none", amount(ch.unread))
	}
	ch.unread = left
	if left == 0 {
		ch.chained = false
	}
}
