package softuicc

import "bytes"

// Transport protocols (clause 8.59), in the judge's own words.
const (
	transportUDP      = 0x01
	transportTCP      = 0x02
	transportServer   = 0x03
	transportUDPLocal = 0x04
	transportTCPLocal = 0x05
)

// Qualifier bits of OPEN CHANNEL (clause 8.6), in the judge's own words.
const (
	openImmediate  = 0x01
	openReconnect  = 0x02
	openBackground = 0x04
	openDNS        = 0x08
)

// Link states of a Channel status (clause 8.56).
const (
	linkDown   = 0x00
	linkListen = 0x40
	linkUp     = 0x80
)

// many is a Channel data length that stands for itself and all that is more.
const many = 255

// judgedChannel is what the terminal has said of a channel.
type judgedChannel struct {
	open, ever bool
	request    judged // the OPEN CHANNEL
	link       byte   // linkDown, linkListen, linkUp
	dropped    bool   // a Channel status event said so
	lost       bool   // a response said "channel closed"
	overdue    int    // STATUS commands since then
	buffer     int    // granted
	unread     int    // octets known to wait in the Rx buffer; many = that or more
	chained    bool   // a chain has ended with unread data since the last Data available
	stored     int    // octets in the Tx buffer
	sent       bool   // some went out at once
	free       int    // as last told, 255 = more than 255
}

func (ch *judgedChannel) tcp() bool {
	return ch.request.transport != transportUDP && ch.request.transport != transportUDPLocal
}

// onTerminal tells the transports that end on the terminal itself: they need no bearer (ETSI TS 102 223 clause 8.59).
func onTerminal(transport byte) bool {
	return transport == transportServer || transport == transportUDPLocal || transport == transportTCPLocal
}

func (j *judge) openCount() (n int) {
	for i := range j.channels {
		if j.channels[i].open {
			n++
		}
	}
	return n
}

// opened judges the response to OPEN CHANNEL.
func (j *judge) opened(m *judged, l *objects, general byte, info int) {
	if general >= 0x10 {
		j.openRefused(m, l, general, info)
		return
	}
	if m.qualifier()&openDNS != 0 && m.transport == 0 && !j.profile.Has(33, 1) {
		j.violate("5.2", "DNS server address request performed, but TERMINAL PROFILE does not offer it (octet 33, bit 1)")
	}
	if m.transport != 0 && !j.offersTransport(m.transport) {
		j.violate("5.2", "OPEN CHANNEL performed with transport %02X, but TERMINAL PROFILE does not offer it (octet 17)", m.transport)
	}
	j.openOrder(m, l)
	granted := j.grants(m, l, general)
	status, ok := l.find(tagChannelStatus)
	if !ok || len(status) != 2 {
		j.violate("6.8", "OPEN CHANNEL answered %02X, but the response has no sound channel status (38)", general)
		return
	}
	n := int(status[0] & 7)
	switch {
	case n == 0 || status[0]&0x38 != 0:
		j.violate("8.56", "channel status %X names no channel from 1 to 7", status)
		return
	case j.channels[n].open:
		j.violate("6.4.27", "OPEN CHANNEL answered with channel %d, which is open already", n)
	case j.profile.Channels() > 0 && j.openCount() >= j.profile.Channels():
		j.violate("5.2", "OPEN CHANNEL performed, but all %d channels of TERMINAL PROFILE are open", j.profile.Channels())
	}
	j.openLink(m, status)
	request := *m
	request.bearerAll, request.events = nil, nil
	j.channels[n] = judgedChannel{open: true, ever: true, request: request, link: status[0] & 0xC0, buffer: granted, free: 255}
}

// openLink holds the link state against the mode that the qualifier asks for.
func (j *judge) openLink(m *judged, status []byte) {
	link := status[0] & 0xC0
	switch {
	case status[1] != 0:
		j.violate("8.56", "OPEN CHANNEL performed, but channel status %X tells of a dropped link", status)
	case m.transport == transportServer:
		if link != linkListen {
			j.violate("8.56", "channel status %X after OPEN CHANNEL in UICC server mode; the state is listen, 4n", status)
		}
	case link == linkListen, link == 0xC0:
		j.violate("8.56", "channel status %X for a client", status)
	case m.qualifier()&(openImmediate|openBackground|openDNS) == openImmediate && link != linkUp:
		j.violate("6.4.27", "immediate link establishment performed, but channel status %X says that the link is down", status)
	}
}

// openOrder judges which objects follow the result, and their order (clause 6.8).
func (j *judge) openOrder(m *judged, l *objects) {
	rank := map[uint16]int{tagChannelStatus: 1, tagBearer: 2, tagBufferSize: 3, tagDNSServer: 4}
	last := 0
	for _, o := range l.all()[3:] {
		r, known := rank[o.tag]
		if known && r < last {
			j.violate("6.8", "OPEN CHANNEL: object %02X comes too late in the response; the order is 38, 35, 39, 40", o.tag)
		}
		last = max(last, r)
	}
	if m.qualifier()&openDNS == 0 {
		return
	}
	servers := 0
	for _, o := range l.all()[3:] {
		if o.tag != tagDNSServer {
			continue
		}
		servers++
		if !soundAddress(o.value) {
			j.violate("8.111", "DNS server address %X is neither IPv4 nor IPv6", o.value)
		}
	}
	if servers == 0 && m.transport == 0 {
		j.violate("6.8", "DNS server address request performed, but the response names no DNS server (40)")
	}
}

// grants judges bearer description and buffer size of a success, and returns the size granted.
func (j *judge) grants(m *judged, l *objects, general byte) int {
	bearer, ok := l.find(tagBearer)
	same := true
	switch {
	case onTerminal(m.transport) && m.bearerAll == nil:
	case !ok || len(bearer) == 0:
		j.violate("6.8", "OPEN CHANNEL performed, but the response has no bearer description (35)")
	default:
		same = bytes.Equal(bearer, m.bearerAll)
		if bearer[0] != m.bearer && general != resultModified {
			j.violate("6.8", "OPEN CHANNEL with bearer %02X answered with bearer %02X and result %02X", m.bearer, bearer[0], general)
		}
	}
	v, ok := l.find(tagBufferSize)
	if !ok || len(v) != 2 {
		j.violate("6.8", "OPEN CHANNEL performed, but the response has no sound buffer size (39)")
		return m.buffer
	}
	granted := int(v[0])<<8 | int(v[1])
	switch {
	case granted == 0:
		j.violate("8.55", "OPEN CHANNEL performed with a buffer of 0 octets")
	case granted < m.buffer && general != resultModified:
		j.violate("6.4.27", "buffer of %d octets granted instead of %d, but the result is %02X, not 07", granted, m.buffer, general)
	case granted == m.buffer && same && general == resultModified:
		j.violate("6.4.27", "OPEN CHANNEL performed with modification (07), but bearer and buffer are as asked")
	}
	return granted
}

func (j *judge) openRefused(m *judged, l *objects, general byte, info int) {
	if v, ok := l.find(tagChannelStatus); ok && len(v) == 2 && v[0]&0xC0 != 0 {
		j.violate("6.8", "OPEN CHANNEL refused with %02X, but channel status %X tells of a link", general, v)
	}
	if general != resultBIP {
		return
	}
	limit := j.profile.Channels()
	full := limit > 0 && j.openCount() >= limit
	switch {
	case full && info != bipNoChannel:
		j.violate("8.12.11", "OPEN CHANNEL with all %d channels open answered 3A %02X; no channel available is 3A 01", limit, info)
	case !full && info == bipNoChannel:
		j.violate("8.12.11", "OPEN CHANNEL answered 3A 01, but %d of %d channels are open", j.openCount(), limit)
	case info == bipClosed, info == bipInvalid:
		j.violate("8.12.11", "OPEN CHANNEL answered 3A %02X, which speaks of a channel that exists", info)
	case info == bipTransport && m.fair && j.offersOpen(m):
		j.violate("5.2", "transport %02X answered 3A 06 (not available), but TERMINAL PROFILE offers it (octet 17)", m.transport)
	}
}

// channelList judges the response to GET CHANNEL STATUS.
func (j *judge) channelList(m *judged, l *objects, general byte) {
	if general >= 0x10 {
		return
	}
	var seen [8]bool
	statuses := 0
	for _, o := range l.all()[3:] {
		if o.tag != tagChannelStatus {
			continue
		}
		statuses++
		if len(o.value) != 2 {
			j.violate("8.56", "channel status of %d octets", len(o.value))
			continue
		}
		n := o.value[0] & 7
		switch {
		case n > 0 && seen[n]:
			j.violate("6.8", "GET CHANNEL STATUS: channel %d comes twice", n)
		case !j.channels[n].open && o.value[0]&0xC0 != 0:
			j.violate("6.8", "GET CHANNEL STATUS: channel status %X tells of a link, but channel %d is not open", o.value, n)
		case n == 0 && j.openCount() > 0:
			j.violate("6.8", "GET CHANNEL STATUS: channel status %X says that none is open, but %d are", o.value, j.openCount())
		}
		seen[n] = true
	}
	if statuses == 0 {
		j.violate("6.8", "GET CHANNEL STATUS performed, but the response has no channel status (38)")
		return
	}
	for n := 1; n < len(j.channels); n++ {
		if j.channels[n].open && !seen[n] {
			j.violate("6.8", "GET CHANNEL STATUS does not name channel %d, which is open", n)
		}
	}
}
