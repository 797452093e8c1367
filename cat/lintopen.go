package cat

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// openOrder is the order of the objects of OPEN CHANNEL behind the device identities (clause 6.6.27). An other address
// before the transport level is the card's own, one behind it the destination.
var openOrder = []Tag{TagAlphaIdentifier, TagIconIdentifier, TagAddress, TagSubaddress, TagDuration, TagBearerDescription, TagBufferSize,
	TagNetworkAccessName, TagOtherAddress, TagTextString, TagTransportLevel, TagOtherAddress, TagTextAttribute, TagFrameIdentifier}

// openTwice are the objects of which OPEN CHANNEL may have two.
var openTwice = []Tag{TagOtherAddress, TagTextString, TagDuration}

func (l *linter) openChannel() {
	l.order()
	dns := l.details.Qualifier&OpenDNSRequest != 0
	var transport TransportProtocol
	if t, ok := Find(l.objects, TagTransportLevel); ok {
		transport = l.transport(t.Value)
		if dns {
			l.warn("6.6.27", "a DNS server address request with a transport level: terminals pass over it or refuse")
		}
	} else if !dns {
		l.warn("6.4.27", "no UICC/terminal interface transport level: the card would have to send IP packets of its own, which few terminals offer (3A 06)")
	}
	if b, ok := Find(l.objects, TagBearerDescription); ok {
		l.bearer(b.Value)
	} else if transport != TCPServer && transport != UDPClientLocal && transport != TCPClientLocal && transport != DirectChannel {
		l.fail("6.6.27", "OPEN CHANNEL without a bearer description: the terminal answers 36")
	}
	if b, ok := Find(l.objects, TagBufferSize); ok {
		l.bufferSize(b.Value)
	}
	if n, ok := Find(l.objects, TagNetworkAccessName); ok {
		l.accessName(n.Value)
	}
	l.addresses(!dns && (transport == TCPClientRemote || transport == UDPClientRemote))
}

// order judges the order and the number of the objects.
func (l *linter) order() {
	place, last := 0, Tag(0)
	count := map[Tag]int{}
	for _, t := range l.objects {
		if t.Tag == TagCommandDetails || t.Tag == TagDeviceIdentities || !slices.Contains(openOrder, t.Tag) {
			continue
		}
		if count[t.Tag]++; count[t.Tag] == 2 && !slices.Contains(openTwice, t.Tag) || count[t.Tag] == 3 {
			l.fail("6.6.27", "more objects %s than OPEN CHANNEL has", t.Tag.name())
			continue
		}
		next := slices.Index(openOrder[place:], t.Tag)
		if next < 0 {
			l.fail("6.6.27", "%s stands behind %s: terminals tell some objects apart by their order", t.Tag.name(), last.name())
			continue
		}
		place += next
		last = t.Tag
	}
}

// bearerParameters are the least numbers of parameter octets (clause 8.52, 3GPP TS 31.111 clause 8.52).
var bearerParameters = map[BearerType]int{
	BearerCSD: 3, BearerPacket: 6, BearerDefault: 0, 0x04: 0, 0x05: 0, 0x06: 0, 0x07: 0, BearerCDMA: 0, BearerUTRAN: 17, BearerWLAN: 0,
	BearerEUTRAN: 2, BearerNGRAN: 1, 0x10: 0,
}

func (l *linter) bearer(v []byte) {
	if len(v) == 0 {
		l.fail("8.52", "an empty bearer description")
		return
	}
	t, parameters := BearerType(v[0]), len(v)-1
	least, known := bearerParameters[t]
	switch {
	case !known:
		l.fail("8.52", "bearer type %02X is reserved", v[0])
	case parameters < least:
		l.fail("8.52", "bearer description with %d octets of parameters: %v (%02X) has at least %d", parameters, t, v[0], least)
	case t == BearerDefault && parameters > 0:
		l.warn("8.52", "the default bearer has no parameters, here are %d octets", parameters)
	}
}

// commonBuffers are sizes that cards ask for.
var commonBuffers = []uint16{255, 256, 512, 1000, 1024, 1200, 1280, 1300, 1400, 1422, 1460, 1500, 2048, 4096}

func (l *linter) bufferSize(v []byte) {
	if len(v) != 2 {
		l.fail("8.55", "buffer size of %d octets: it is two", len(v))
		return
	}
	size := binary.BigEndian.Uint16(v)
	other := binary.LittleEndian.Uint16(v)
	switch {
	case size == 0:
		l.fail("8.55", "buffer size 0")
	case (size < 16 || size > 8192) && slices.Contains(commonBuffers, other):
		l.warn("8.55", "buffer size %d: are its octets swapped? The high one comes first; the other way round it is %d", size, other)
	}
}

// commonPorts are ports that cards connect to.
var commonPorts = []uint16{53, 80, 123, 443, 853, 1883, 2775, 4059, 4433, 5683, 5684, 8080, 8443, 8883, 9443}

func (l *linter) transport(v []byte) TransportProtocol {
	if len(v) != 3 {
		l.fail("8.59", "transport level of %d octets: it is a protocol and a port of two", len(v))
		return 0
	}
	p, port := TransportProtocol(v[0]), binary.BigEndian.Uint16(v[1:])
	other := binary.LittleEndian.Uint16(v[1:])
	switch {
	case p < UDPClientRemote || p > DirectChannel:
		l.fail("8.59", "transport protocol %02X is reserved", v[0])
	case port == 0 && p != DirectChannel:
		l.fail("8.59", "port 0 of a %v", p)
	case !slices.Contains(commonPorts, port) && slices.Contains(commonPorts, other):
		l.warn("8.59", "port %d: are its octets swapped? The high one comes first; the other way round it is %d", port, other)
	}
	return p
}

// maxAccessName is what a network access name has at most (3GPP TS 23.003 clause 9.1).
const maxAccessName = 100

func (l *linter) accessName(v []byte) {
	switch {
	case len(v) == 0:
		l.warn("8.70", "an empty network access name: leave the object out")
		return
	case len(v) > maxAccessName:
		l.fail("8.70", "network access name of %d octets: it has %d at most", len(v), maxAccessName)
	}
	for rest := v; len(rest) > 0; {
		n := int(rest[0])
		switch {
		case n == 0 || n > 63:
			l.fail("8.70", "network access name: octet %d is no label's length (%02X): each label has its own length before it, and there are no dots",
				len(v)-len(rest)+1, rest[0])
			return
		case n >= len(rest):
			l.fail("8.70", "network access name: a label of %d octets, and %d are left", n, len(rest)-1)
			return
		case bytes.ContainsFunc(rest[1:1+n], notPrintable), bytes.IndexByte(rest[1:1+n], '.') >= 0:
			l.fail("8.70", "network access name: a label with a dot or something unprintable in it")
			return
		}
		rest = rest[1+n:]
	}
}

// addresses judges the local address and the destination.
func (l *linter) addresses(wanted bool) {
	level := slices.IndexFunc(l.objects, func(t TLV) bool { return t.Tag == TagTransportLevel })
	var before, after *TLV
	for i, t := range l.objects {
		switch {
		case t.Tag != TagOtherAddress:
			continue
		case level >= 0 && i > level:
			after = &l.objects[i]
		default:
			before = &l.objects[i]
		}
		l.address(t.Value)
	}
	if !wanted || after != nil && len(after.Value) > 0 {
		return
	}
	switch {
	case before != nil && len(before.Value) > 0:
		l.fail("6.6.27", "no destination: the address before the transport level is the card's own; the destination stands behind it")
	case after != nil:
		l.fail("6.6.27", "a client with an empty destination address")
	default:
		l.fail("6.6.27", "a client without a destination address: the terminal answers 36")
	}
}

func (l *linter) address(v []byte) {
	if _, err := parseOtherAddress(v); err != nil {
		l.fail("8.58", "other address %X: it is 21 and 4 octets (IPv4) or 57 and 16 octets (IPv6)", v)
	}
}
