package capture

import (
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"bipd/uicc"
)

// gsmtapPort is the UDP port of GSMTAP.
const gsmtapPort = 4729

// gsmtapSIM is the header of an APDU: version 2, 4 words, type SIM, sub-type APDU.
var gsmtapSIM = [16]byte{2, 4, 4}

// output takes the packets of one event, and keeps the first error.
type output struct {
	w   *Writer
	at  time.Time
	err error
}

// card writes an exchange. The first packet of a card says whose it is.
func (o *output) card(c *card, capdu, rapdu []byte) {
	var comments []string
	if !c.named {
		c.named = true
		comments = append(comments, "card "+c.name+" is "+c.v4.String())
	}
	if c.lost != "" {
		comments = append(comments, c.lost+" before this packet")
		c.lost = ""
	}
	sent, comment := shown(capdu, rapdu)
	if comment != "" {
		comments = append(comments, comment)
	}
	payload := append(append(gsmtapSIM[:len(gsmtapSIM):len(gsmtapSIM)], sent...), rapdu...)
	ip := &layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolUDP, SrcIP: c.v4.AsSlice(), DstIP: []byte{127, 0, 0, 1}}
	udp := &layers.UDP{SrcPort: gsmtapPort, DstPort: gsmtapPort}
	udp.SetNetworkLayerForChecksum(ip)
	o.write(cardInterface, comments, []gopacket.SerializableLayer{ip, udp, gopacket.Payload(payload)})
}

// shown is the command as dissectors understand it: five header octets, of case 4 no Le, and P3 of a FETCH the length that came. The
// comment says where they will not.
func shown(capdu, rapdu []byte) (sent []byte, comment string) {
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return capdu, "not a command APDU of the short form"
	}
	n := len(rapdu) - 2
	switch cmd.Case() {
	case 1:
		return append(capdu[:4:4], 0), ""
	case 2:
		if !isFetch(cmd) {
			return capdu, ""
		}
		if n == 0 {
			return capdu, "FETCH brought nothing: what is shown of it is the status word misread"
		}
		return append(capdu[:4:4], byte(n)), ""
	}
	return capdu[:5+len(cmd.Data)], ""
}

func isFetch(c uicc.Command) bool { return isToolkit(c) && c.INS == insFetch }

// isToolkit tells the classes of toolkit commands (ETSI TS 102 221 table 10.5; 3GPP TS 51.011 clause 9.2).
func isToolkit(c uicc.Command) bool { return c.CLA == 0x80 || c.CLA == 0xA0 }
