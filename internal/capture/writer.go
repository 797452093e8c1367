// Package capture writes the APDUs of a trace as a pcapng that Wireshark opens: the exchanges with the card as GSMTAP, and
// beside them, on the same time line, the network side of each channel as the APDUs tell it.
package capture

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"bipd/trace"
)

// Writer writes events as one pcapng with the interfaces "card" and "bip-net", both of link type 228 (IPv4). IPv6 packets have no
// place there: at the first of them an interface "bip-net6" of link type 229 is added.
//
// "card" has each exchange in one GSMTAP packet (version 2, type 4, sub-type 0) to UDP port 4729: header, data, response
// data, status word. "bip-net" is reconstructed: OPEN CHANNEL and its answer give the connection, SEND DATA and RECEIVE
// DATA its octets, CLOSE CHANNEL or the event Channel status its end. Segment sizes, acknowledgements, client ports and the times
// within an exchange are invented, and a client's address too: card n is 192.0.2.n and 2001:db8::n. Channels in UICC
// server mode are left out, for no APDU names the client. What the card did not fetch is not there.
//
// Where events were lost, the statistics of "card" count them as dropped at once, the next packet of every card has a comment,
// and the sequence numbers of every connection leave out an octet, so that dissectors tell of a segment that was not
// captured.
//
// Each packet is handed on at once. A Writer is for one goroutine.
type Writer struct {
	ng    *pcapgo.NgWriter
	net6  int // the interface of IPv6 packets; 0 = none yet
	cards map[string]*card
	port  uint16 // of the newest connection's client
	lost  uint64 // events so far
}

// The interfaces, in the order in which they are written.
const (
	cardInterface = iota
	netInterface
)

// NewWriter writes the head of the file to w.
func NewWriter(w io.Writer) (*Writer, error) {
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "bipctl trace"}}
	ng, err := pcapgo.NewNgWriterInterface(w, interfaceOf("card", layers.LinkTypeIPv4, "APDUs as GSMTAP"), options)
	if err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if _, err := ng.AddInterface(interfaceOf("bip-net", layers.LinkTypeIPv4, reconstructed)); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	if err := ng.Flush(); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return &Writer{ng: ng, cards: make(map[string]*card), port: firstPort - 1}, nil
}

const reconstructed = "network side of BIP channels, reconstructed from the APDUs"

func interfaceOf(name string, link layers.LinkType, description string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, Description: description, LinkType: link, TimestampResolution: 9}
}

// Event writes what the event tells; one without a command APDU tells nothing. A command without a response is left out
// of "card". An event whose hex cannot be read, or that fits no packet, is an error, and those after it can be written
// all the same; so is what the underlying writer reports.
func (w *Writer) Event(e trace.Event) error {
	if e.Lost > 0 {
		return w.hole(e)
	}
	if e.APDU == "" {
		return nil
	}
	capdu, err := hex.DecodeString(e.APDU)
	if err != nil {
		return fmt.Errorf("capture: command APDU: %w", err)
	}
	rapdu, err := hex.DecodeString(e.RAPDU)
	if err != nil {
		return fmt.Errorf("capture: response APDU: %w", err)
	}
	c := w.card(e.Card)
	o := output{w: w, at: e.Time}
	c.exchange(&o, capdu, rapdu) // what it was about happened before the exchange: its packets come first
	if len(rapdu) >= 2 {
		o.card(c, capdu, rapdu)
	}
	if o.err == nil {
		o.err = w.ng.Flush()
	}
	if o.err != nil {
		return fmt.Errorf("capture: %w", o.err)
	}
	return nil
}

// hole writes that events were lost.
func (w *Writer) hole(e trace.Event) error {
	w.lost += uint64(e.Lost)
	for _, c := range w.cards {
		c.hole(e.What)
	}
	stats := pcapgo.NgInterfaceStatistics{LastUpdate: e.Time, PacketsReceived: pcapgo.NgNoValue64, PacketsDropped: w.lost}
	err := w.ng.WriteInterfaceStats(cardInterface, stats)
	if err == nil {
		err = w.ng.Flush()
	}
	if err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	return nil
}

// card is the one with the name.
func (w *Writer) card(name string) *card {
	c := w.cards[name]
	if c == nil {
		n := byte(len(w.cards)%254 + 1)
		c = &card{name: name, v4: netip.AddrFrom4([4]byte{192, 0, 2, n}),
			v6: netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: n})}
		if w.lost > 0 {
			c.lost = fmt.Sprintf("%d events lost", w.lost)
		}
		w.cards[name] = c
	}
	return c
}

// Client ports are those of RFC 6335 clause 6 for the purpose, one after the other.
const firstPort = 49152

func (w *Writer) nextPort() uint16 {
	w.port = max(w.port+1, firstPort) // after 65535 comes 0
	return w.port
}

// write adds a packet to the interface that fits it, without handing it on.
func (o *output) write(on int, comments []string, packet []gopacket.SerializableLayer) {
	if o.err != nil {
		return
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if o.err = gopacket.SerializeLayers(buf, options, packet...); o.err != nil {
		return
	}
	b := buf.Bytes()
	if len(b) > maxPacket {
		o.err = fmt.Errorf("packet of %d octets", len(b))
		return
	}
	info := gopacket.CaptureInfo{Timestamp: o.at, CaptureLength: len(b), Length: len(b), InterfaceIndex: on}
	o.err = o.w.ng.WritePacketWithOptions(info, b, pcapgo.NgPacketOptions{Comments: comments})
}

// maxPacket is the largest IPv4 packet.
const maxPacket = 65535

// network is the interface of packets to and from the address.
func (o *output) network(a netip.Addr) int {
	if a.Is4() {
		return netInterface
	}
	if o.w.net6 == 0 && o.err == nil {
		o.w.net6, o.err = o.w.ng.AddInterface(interfaceOf("bip-net6", layers.LinkTypeIPv6, reconstructed))
	}
	return o.w.net6
}
