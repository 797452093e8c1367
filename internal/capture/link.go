package capture

import (
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

const (
	ttl        = 64
	maxSegment = 1400 // octets of TCP data in a packet
	window     = 65535
)

// link is one TCP connection, or the packets between one UDP port of the card and the server.
type link struct {
	udp            bool
	client, server netip.AddrPort
	sent, received uint32 // next sequence numbers of the client and of the server
}

// open writes the handshake of TCP.
func (l *link) open(o *output) {
	if l.udp {
		return
	}
	l.segment(o, true, layers.TCP{SYN: true}, nil)
	l.segment(o, false, layers.TCP{SYN: true, ACK: true}, nil)
	l.segment(o, true, layers.TCP{ACK: true}, nil)
}

// end writes the end of TCP, begun by the client or by the server.
func (l *link) end(o *output, byClient bool) {
	if l.udp {
		return
	}
	l.segment(o, byClient, layers.TCP{FIN: true, ACK: true}, nil)
	l.segment(o, !byClient, layers.TCP{FIN: true, ACK: true}, nil)
	l.segment(o, byClient, layers.TCP{ACK: true}, nil)
}

// send writes data from the client or from the server: one datagram, or segments that are acknowledged.
func (l *link) send(o *output, byClient bool, data []byte, comments ...string) {
	if l.udp {
		l.datagram(o, byClient, data, comments)
		return
	}
	for len(data) > 0 {
		n := min(len(data), maxSegment)
		l.segment(o, byClient, layers.TCP{PSH: n == len(data), ACK: true}, data[:n])
		l.segment(o, !byClient, layers.TCP{ACK: true}, nil)
		data = data[n:]
	}
}

func (l *link) ends(byClient bool) (from, to netip.AddrPort) {
	if byClient {
		return l.client, l.server
	}
	return l.server, l.client
}

func (l *link) datagram(o *output, byClient bool, data []byte, comments []string) {
	from, to := l.ends(byClient)
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	ip, header := packetHeader(from.Addr(), to.Addr(), layers.IPProtocolUDP)
	udp.SetNetworkLayerForChecksum(ip)
	o.write(o.network(to.Addr()), comments, []gopacket.SerializableLayer{header, udp, gopacket.Payload(data)})
}

// segment writes one with the flags, and counts what it takes of the sequence numbers.
func (l *link) segment(o *output, byClient bool, flags layers.TCP, data []byte) {
	from, to := l.ends(byClient)
	seq, ack := &l.sent, &l.received
	if !byClient {
		seq, ack = ack, seq
	}
	tcp := flags
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(from.Port()), layers.TCPPort(to.Port())
	tcp.Seq, tcp.Window = *seq, window
	if tcp.ACK {
		tcp.Ack = *ack
	}
	ip, header := packetHeader(from.Addr(), to.Addr(), layers.IPProtocolTCP)
	tcp.SetNetworkLayerForChecksum(ip)
	o.write(o.network(to.Addr()), nil, []gopacket.SerializableLayer{header, &tcp, gopacket.Payload(data)})
	*seq += uint32(len(data))
	if tcp.SYN || tcp.FIN {
		*seq++
	}
}

// packetHeader is an IP header, as the layer that checksums are made with and as the one that is written.
func packetHeader(from, to netip.Addr, protocol layers.IPProtocol) (gopacket.NetworkLayer, gopacket.SerializableLayer) {
	if to.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: ttl, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		return ip, ip
	}
	ip := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	return ip, ip
}
