package capture

import (
	"net/netip"

	"bipd/cat"
	"bipd/uicc"
)

// Instructions of the toolkit (ETSI TS 102 221 clause 10.1.2).
const (
	insTerminalProfile  = 0x10
	insFetch            = 0x12
	insTerminalResponse = 0x14
	insEnvelope         = 0xC2
)

// card is what is known of one card from its APDUs.
type card struct {
	name     string
	named    bool       // in the capture
	v4, v6   netip.Addr // invented
	lost     string     // events before the next packet, for a comment
	fetching bool       // the last command was FETCH
	command  *cat.Command
	channels [cat.MaxChannels + 1]*channel // by their identifiers
}

// channel is one BIP channel as client.
type channel struct {
	udp    bool
	server netip.AddrPort
	stored []byte // waits for an immediate SEND DATA
	part   []byte // of a datagram that the card has not read to its end
	link   *link  // nil: none stands
}

// exchange follows the toolkit and writes what went over the network. Proactive commands and answers that cannot be read change nothing.
func (c *card) exchange(o *output, capdu, rapdu []byte) {
	cmd, err := uicc.ParseCommand(capdu)
	if err != nil {
		return
	}
	wasFetching := c.fetching
	c.fetching = isFetch(cmd)
	switch {
	case c.fetching, wasFetching && cmd.INS == uicc.InsGetResponse:
		c.fetched(rapdu)
	case !isToolkit(cmd):
	case cmd.INS == insTerminalProfile: // the card was reset: no channel is left
		for id := range c.channels {
			c.end(o, id)
		}
		c.command = nil
	case cmd.INS == insTerminalResponse:
		c.answered(o, cmd.Data)
	case cmd.INS == insEnvelope:
		c.event(o, cmd.Data)
	}
}

func (c *card) fetched(rapdu []byte) {
	if len(rapdu) < 2 {
		return
	}
	command, err := cat.ParseCommand(rapdu[:len(rapdu)-2])
	if c.command = nil; err == nil {
		c.command = &command
	}
}

// answered takes a TERMINAL RESPONSE: only now it is known what became of the command.
func (c *card) answered(o *output, data []byte) {
	command := c.command
	c.command = nil // one that is sent again tells nothing new
	r, _, err := cat.ParseResponse(data)
	if err != nil || command == nil || r.Details != command.Details || r.Result.General >= cat.ResultTerminalUnable {
		return
	}
	if body, ok := command.Body.(*cat.OpenChannel); ok {
		c.opened(o, body, r)
		return
	}
	id, ok := command.Devices.Destination.Channel()
	if !ok || c.channels[id] == nil {
		return
	}
	ch := c.channels[id]
	switch body := command.Body.(type) {
	case *cat.SendData:
		ch.stored = append(ch.stored, body.Data...)
		if command.Details.Qualifier&cat.SendImmediately != 0 || len(ch.stored) > maxStored {
			ch.up(o, c)
			ch.link.send(o, true, ch.stored)
			ch.stored = nil
		}
	case *cat.ReceiveData:
		ch.received(o, c, r.Objects)
	case *cat.CloseChannel:
		c.end(o, id)
	}
}

// maxStored is more than a Tx buffer holds with what a command adds only where one is not understood here.
const maxStored = 60_000

// opened takes the answer to OPEN CHANNEL. One that only asks for DNS servers has no transport, and of a server no
// APDU tells the peer.
func (c *card) opened(o *output, body *cat.OpenChannel, r cat.Response) {
	t, _ := cat.Find(r.Objects, cat.TagChannelStatus)
	status, err := cat.ParseChannelStatus(t.Value)
	if err != nil || status.Channel == 0 || body.Transport == nil {
		return
	}
	c.end(o, status.Channel) // events may have been lost
	p := body.Transport.Protocol
	ch := &channel{udp: p == cat.UDPClientRemote || p == cat.UDPClientLocal}
	if !ch.udp && p != cat.TCPClientRemote && p != cat.TCPClientLocal {
		return
	}
	addr := netip.AddrFrom4([4]byte{127, 0, 0, 1}) // a local client may name none
	if body.Destination != nil && body.Destination.IsValid() {
		addr = body.Destination.Unmap()
	}
	ch.server = netip.AddrPortFrom(addr, body.Transport.Port)
	c.channels[status.Channel] = ch
	if status.Link == cat.LinkEstablished {
		ch.up(o, c)
	}
}

// event takes an ENVELOPE, of which only Channel status tells something.
func (c *card) event(o *output, data []byte) {
	e, err := cat.ParseEnvelope(data)
	if code, ok := e.Event(); err != nil || !ok || code != cat.EventChannelStatus {
		return
	}
	t, _ := cat.Find(e.Objects, cat.TagChannelStatus)
	status, err := cat.ParseChannelStatus(t.Value)
	if err != nil || c.channels[status.Channel] == nil {
		return
	}
	if ch := c.channels[status.Channel]; status.Link == cat.LinkEstablished {
		ch.up(o, c)
	} else {
		ch.down(o, false)
	}
}

// hole takes note that events were lost: which command is outstanding is not known, nor what the channels have carried.
func (c *card) hole(what string) {
	if c.lost != "" {
		what = c.lost + ", " + what
	}
	c.lost, c.fetching, c.command = what, false, nil
	for _, ch := range c.channels {
		if ch == nil {
			continue
		}
		ch.stored, ch.part = nil, nil
		if ch.link != nil {
			ch.link.sent++
			ch.link.received++
		}
	}
}

// end forgets the channel, which the terminal closed.
func (c *card) end(o *output, id int) {
	if ch := c.channels[id]; ch != nil {
		ch.down(o, true)
		c.channels[id] = nil
	}
}

// up makes a link where none stands: on demand the first data need one, and no event tells of it.
func (ch *channel) up(o *output, c *card) {
	if ch.link != nil {
		return
	}
	client := c.v4
	if ch.server.Addr().Is6() {
		client = c.v6
	}
	ch.link = &link{udp: ch.udp, client: netip.AddrPortFrom(client, o.w.nextPort()), server: ch.server}
	ch.link.open(o)
}

// down ends the link, from the side of the client or of the server.
func (ch *channel) down(o *output, byClient bool) {
	if ch.link == nil {
		return
	}
	if len(ch.part) > 0 {
		ch.link.send(o, false, ch.part, "the card did not read the rest of this datagram")
	}
	ch.link.end(o, byClient)
	ch.link, ch.part, ch.stored = nil, nil, nil
}

// received takes the answer to RECEIVE DATA. A datagram ends where nothing is left.
func (ch *channel) received(o *output, c *card, objects []cat.TLV) {
	data, ok := cat.Find(objects, cat.TagChannelData)
	if !ok || len(data.Value) == 0 {
		return
	}
	ch.up(o, c)
	if !ch.udp {
		ch.link.send(o, false, data.Value)
		return
	}
	ch.part = append(ch.part, data.Value...)
	left, ok := cat.Find(objects, cat.TagChannelDataLength)
	if !ok || len(left.Value) != 1 || left.Value[0] == 0 || len(ch.part) > maxStored {
		ch.link.send(o, false, ch.part)
		ch.part = nil
	}
}
