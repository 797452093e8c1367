package softuicc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

// network makes a connection for an OPEN CHANNEL; network is "tcp" or "udp".
type network func(network, address string) (net.Conn, error)

// bipTerminal is a correct terminal with a network behind it: it polls the card, performs the BIP commands and sends the
// two events. One goroutine, that of serve, talks to the card.
type bipTerminal struct {
	*terminal
	dial    network
	grant   int // buffer size it grants at most
	chans   [8]*simChannel
	arrived chan struct{}
	fetches map[byte]int // commands by type
	polls   int
}

// simChannel is one channel: what the network has brought and what waits to go out.
type simChannel struct {
	conn    net.Conn
	udp     bool
	link    byte // 80 up, 00 down
	tell    bool // a Channel status event is due
	demand  func() (net.Conn, error)
	buffer  int
	in      chan []byte // from the reader; closed at the end
	rx      [][]byte    // TCP: one block; UDP: datagrams
	tx      []byte
	told    bool // Data available was sent for what is in rx
	ended   bool
	dropped bool
}

func newBIPTerminal(t *terminal, dial network) *bipTerminal {
	return &bipTerminal{terminal: t, dial: dial, grant: 1400, arrived: make(chan struct{}, 1), fetches: map[byte]int{}}
}

// serve runs the card until done is closed.
func (b *bipTerminal) serve(done <-chan struct{}) {
	b.profile()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer b.closeAll()
	for {
		for b.sw>>8 == 0x91 {
			m := b.terminal.fetch()
			b.fetches[commandType(m)]++
			b.command(0x14, append(frame(m), b.perform(m)...))
		}
		b.collect()
		if b.event() {
			continue
		}
		timer.Reset(2 * time.Millisecond)
		select {
		case <-done:
			return
		case <-b.arrived:
		case <-timer.C:
			b.polls++
			b.expectStatus()
		}
	}
}

func (b *bipTerminal) closeAll() {
	for n, ch := range b.chans {
		if ch != nil {
			ch.close()
			b.chans[n] = nil
		}
	}
}

func (ch *simChannel) close() {
	if ch.conn == nil {
		return
	}
	ch.conn.Close()
	for range ch.in { // let the reader end
	}
}

// collect takes what the readers have, as far as the buffers hold it.
func (b *bipTerminal) collect() {
	for _, ch := range b.chans {
		for ch != nil && ch.in != nil && !ch.ended && ch.room() {
			select {
			case p, ok := <-ch.in:
				if !ok {
					ch.ended = true
				} else if ch.udp || len(ch.rx) == 0 {
					ch.rx = append(ch.rx, p)
				} else {
					ch.rx[0] = append(ch.rx[0], p...)
				}
				continue
			default:
			}
			break
		}
	}
}

func (ch *simChannel) room() bool {
	n := 0
	for _, p := range ch.rx {
		n += len(p)
	}
	return n < ch.buffer
}

func (ch *simChannel) status(n int) []byte {
	info := byte(0)
	if ch.dropped {
		info = 0x05
	}
	return []byte{0x38 | 0x80, 2, ch.link | byte(n), info}
}

// event sends the one event that is most due.
func (b *bipTerminal) event() bool {
	for n, ch := range b.chans {
		if ch == nil {
			continue
		}
		switch {
		case ch.tell:
			ch.tell = false
		case len(ch.rx) > 0 && !ch.told:
			ch.told = true
			objects := append([]byte{0x99, 1, 0x09, 0x82, 2, 0x82, 0x81}, ch.status(n)...)
			b.sendEvent(append(objects, 0xB7, 1, byte(min(255, len(ch.rx[0])))))
			return true
		case ch.ended && len(ch.rx) == 0 && !ch.dropped:
			ch.link, ch.dropped = 0, true
		default:
			continue
		}
		b.sendEvent(append([]byte{0x99, 1, 0x0A, 0x82, 2, 0x82, 0x81}, ch.status(n)...))
		return true
	}
	return false
}

func (b *bipTerminal) sendEvent(objects []byte) {
	b.command(0xC2, append([]byte{0xD6, byte(len(objects))}, objects...))
}

// perform does a command and returns the objects of the response, result first.
func (b *bipTerminal) perform(m []byte) []byte {
	var l objects
	_, content, err := template(m)
	if err != nil || l.read(content) != nil {
		return []byte{0x83, 1, resultData}
	}
	details, _ := l.find(tagDetails)
	devices, _ := l.find(tagDevices)
	if details[1] == typeOpen {
		return b.open(&l, details[2])
	}
	if details[1] < 0x41 || details[1] > 0x43 {
		return []byte{0x83, 1, 0}
	}
	n := int(devices[1] - 0x20)
	ch := b.chans[n]
	if ch == nil {
		return []byte{0x83, 2, resultBIP, bipInvalid}
	}
	switch details[1] {
	case typeClose:
		ch.close()
		b.chans[n] = nil
	case typeSend:
		data, _ := l.find(tagData)
		return ch.send(b, data, details[2]&1 != 0)
	case typeReceive:
		asked, _ := l.find(tagDataLength)
		b.collect()
		return ch.receive(int(asked[0]))
	}
	return []byte{0x83, 1, 0}
}

func (b *bipTerminal) open(l *objects, qualifier byte) []byte {
	n := 1
	for n < 8 && b.chans[n] != nil {
		n++
	}
	if n == 8 {
		return []byte{0x83, 2, resultBIP, bipNoChannel}
	}
	transport, _ := l.find(tagTransport)
	address, _ := l.find(tagAddress)
	bearer, _ := l.find(tagBearer)
	size, _ := l.find(tagBufferSize)
	ip, _ := netip.AddrFromSlice(address[1:])
	to := netip.AddrPortFrom(ip, binary.BigEndian.Uint16(transport[1:])).String()
	name := "tcp"
	if transport[0] == transportUDP {
		name = "udp"
	}
	ch := &simChannel{udp: name == "udp", buffer: int(binary.BigEndian.Uint16(size))}
	result := byte(0)
	if ch.buffer > b.grant {
		ch.buffer, result = b.grant, resultModified
	}
	ch.demand = func() (net.Conn, error) { return b.dial(name, to) }
	switch {
	case qualifier&openImmediate == 0:
	case qualifier&openBackground != 0:
		ch.tell = true
		if ch.connect(b) != nil {
			ch.dropped = true
		}
	default:
		if ch.connect(b) != nil {
			return []byte{0x83, 2, resultBIP, 0}
		}
	}
	status := ch.status(n)
	if qualifier&openBackground != 0 {
		status[2], status[3] = byte(n), 0
	}
	b.chans[n] = ch
	r := append([]byte{0x83, 1, result}, status...)
	r = appendTLV(r, tagBearer, bearer)
	return appendTLV(r, tagBufferSize, []byte{byte(ch.buffer >> 8), byte(ch.buffer)})
}

// connect makes the link and starts its reader.
func (ch *simChannel) connect(b *bipTerminal) error {
	conn, err := ch.demand()
	if err != nil {
		return err
	}
	ch.conn, ch.link, ch.in = conn, 0x80, make(chan []byte)
	size := min(ch.buffer, 1000)
	if ch.udp {
		size = ch.buffer
	}
	go func() {
		defer close(ch.in)
		for {
			p := make([]byte, size)
			n, err := conn.Read(p)
			if n > 0 {
				select {
				case b.arrived <- struct{}{}:
				default:
				}
				ch.in <- p[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

func (ch *simChannel) send(b *bipTerminal, data []byte, now bool) []byte {
	if ch.dropped {
		return []byte{0x83, 2, resultBIP, bipClosed}
	}
	if len(ch.tx)+len(data) > max(ch.buffer, MaxSend) {
		return []byte{0x83, 2, resultBIP, 0x04}
	}
	ch.tx = append(ch.tx, data...)
	if now {
		if ch.conn == nil {
			if ch.connect(b) != nil {
				return []byte{0x83, 2, resultBIP, 0}
			}
		}
		ch.conn.SetWriteDeadline(time.Now().Add(wait))
		if _, err := ch.conn.Write(ch.tx); err != nil {
			ch.tx = nil
			return []byte{0x83, 2, resultBIP, bipClosed}
		}
		ch.tx = nil
	}
	return []byte{0x83, 1, 0, 0xB7, 1, byte(min(255, max(0, ch.buffer-len(ch.tx))))}
}

func (ch *simChannel) receive(asked int) []byte {
	var data []byte
	if len(ch.rx) > 0 {
		n := min(asked, maxReceive, len(ch.rx[0]))
		data = ch.rx[0][:n]
		if ch.rx[0] = ch.rx[0][n:]; len(ch.rx[0]) == 0 {
			ch.rx, ch.told = ch.rx[1:], false
		}
	}
	left := 0
	if len(ch.rx) > 0 && ch.told {
		left = len(ch.rx[0])
	}
	result := byte(0)
	if len(data) < min(asked, maxReceive) {
		result = resultMissing
	}
	r := appendTLV([]byte{0x83, 1, result}, 0x80|tagData, data)
	return append(r, 0xB7, 1, byte(min(255, left)))
}
