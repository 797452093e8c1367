package cat

import (
	"encoding/binary"
	"net/netip"
)

// Qualifier bits of OPEN CHANNEL (clause 8.6).
const (
	OpenImmediate     byte = 0x01 // link at once; clear = on demand, at the first SEND DATA
	OpenAutoReconnect byte = 0x02
	OpenBackground    byte = 0x04 // answer first, then make the link
	OpenDNSRequest    byte = 0x08 // tell the DNS server addresses
)

// OpenChannel asks for a channel over a packet, WLAN or default bearer, or in UICC server mode (clause 6.6.27).
type OpenChannel struct {
	Presentation
	Bearer            *BearerDescription // nil in UICC server mode only
	BufferSize        uint16             // octets that the card wants for each direction
	NetworkAccessName *NetworkAccessName
	LocalAddress      *netip.Addr // the zero Addr: any
	Login, Password   *Text
	Transport         *TransportLevel // nil in a DNS server address request
	Destination       *netip.Addr

	hasBufferSize bool
}

func (o *OpenChannel) Type() CommandType { return TypeOpenChannel }

func (o *OpenChannel) appendObjects(dst []TLV) []TLV {
	dst = o.appendHead(dst, false)
	if o.Bearer != nil {
		dst = append(dst, o.Bearer.tlv())
	}
	dst = append(dst, bufferSizeTLV(o.BufferSize))
	if o.NetworkAccessName != nil {
		dst = append(dst, o.NetworkAccessName.tlv())
	}
	if o.LocalAddress != nil {
		dst = append(dst, addressTLV(TagOtherAddress, *o.LocalAddress))
	}
	if o.Login != nil {
		dst = append(dst, o.Login.tlv())
	}
	if o.Password != nil {
		dst = append(dst, o.Password.tlv())
	}
	if o.Transport != nil {
		dst = append(dst, o.Transport.tlv())
	}
	if o.Destination != nil {
		dst = append(dst, addressTLV(TagOtherAddress, *o.Destination))
	}
	return o.appendTail(dst)
}

func bufferSizeTLV(n uint16) TLV {
	return TLV{TagBufferSize, false, binary.BigEndian.AppendUint16(nil, n)}
}

func (o *OpenChannel) setObject(t TLV, before []TLV) (bool, error) {
	switch t.Tag {
	case TagBearerDescription:
		b, err := parseBearerDescription(t.Value)
		o.Bearer = &b
		return true, err
	case TagBufferSize:
		if len(t.Value) != 2 {
			return true, notUnderstood("buffer size of %d octets", len(t.Value))
		}
		o.BufferSize, o.hasBufferSize = binary.BigEndian.Uint16(t.Value), true
	case TagNetworkAccessName:
		if len(t.Value) > maxNetworkAccessName {
			return true, notUnderstood("network access name of %d octets", len(t.Value))
		}
		n := parseNetworkAccessName(t.Value)
		o.NetworkAccessName = &n
	case TagOtherAddress: // before the transport level it is the local address, after it the destination
		a, err := parseOtherAddress(t.Value)
		if _, after := Find(before, TagTransportLevel); after {
			o.Destination = &a
		} else {
			o.LocalAddress = &a
		}
		return true, err
	case TagTextString: // the first is the login, the second the password
		text := parseText(t.Value)
		if o.Login == nil {
			o.Login = &text
		} else {
			o.Password = &text
		}
	case TagTransportLevel:
		l, err := parseTransportLevel(t.Value)
		o.Transport = &l
		return true, err
	case TagAddress, TagSubaddress, TagDuration: // of circuit switched and local bearers, which are refused as such
	default:
		return o.Presentation.setObject(t), nil
	}
	return true, nil
}

func (o *OpenChannel) check(qualifier byte) error {
	local := o.Transport != nil && o.Transport.Protocol >= TCPServer && o.Transport.Protocol <= TCPClientLocal
	switch {
	case o.Bearer == nil && !local:
		return valuesMissing("no bearer description")
	case !o.hasBufferSize:
		return valuesMissing("no buffer size")
	case o.Transport == nil || qualifier&OpenDNSRequest != 0:
		return nil
	}
	remote := o.Transport.Protocol == TCPClientRemote || o.Transport.Protocol == UDPClientRemote
	if remote && (o.Destination == nil || !o.Destination.IsValid()) {
		return valuesMissing("no destination address")
	}
	return nil
}
