package softuicc

import (
	"context"
	"testing"

	"bipd/cat"
)

// channelScript runs an applet against a terminal that answers OPEN CHANNEL and then every command alike.
func channelScript(b *testing.B, applet Applet, response func(m []byte) []byte) {
	c := newCard(b, Config{Applets: []Applet{applet}})
	e := newTerminal(b, c)
	ctx := context.Background()
	e.profile()
	m := e.fetch()
	e.respond(m, "830100 38028100 350103 39020578")
	fetch := []byte{0x80, 0x12, 0, 0, 0}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for e.sw>>8 != 0x91 { // the applet took longer than its think time
			e.expectStatus()
		}
		fetch[4] = byte(e.sw)
		r, err := c.Transmit(ctx, fetch)
		if err != nil {
			b.Fatal(err)
		}
		r, err = c.Transmit(ctx, response(r))
		if err != nil {
			b.Fatal(err)
		}
		e.sw = uint16(r[0])<<8 | uint16(r[1])
	}
	b.StopTimer()
	clean(b, c)
}

var openTCP = &cat.OpenChannel{
	Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400,
	Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: 80}, Destination: &loopback,
}

// BenchmarkSendCycle is FETCH and TERMINAL RESPONSE of a SEND DATA of 229 octets.
func BenchmarkSendCycle(b *testing.B) {
	data := make([]byte, MaxSend)
	channelScript(b, func(ctx context.Context, tk *Toolkit) error {
		if _, err := tk.OpenChannel(ctx, openTCP, cat.OpenImmediate); err != nil {
			return err
		}
		for {
			if _, err := tk.SendData(ctx, 1, data, true); err != nil {
				return onlyReset(err)
			}
		}
	}, cycleResponse([]byte{0x83, 1, 0, 0xB7, 1, 0xFF}))
}

// BenchmarkReceiveCycle is FETCH and TERMINAL RESPONSE of a RECEIVE DATA of 237 octets.
func BenchmarkReceiveCycle(b *testing.B) {
	channelScript(b, func(ctx context.Context, tk *Toolkit) error {
		if _, err := tk.OpenChannel(ctx, openTCP, cat.OpenImmediate); err != nil {
			return err
		}
		p := make([]byte, maxReceive)
		for {
			if _, _, err := tk.ReceiveData(ctx, 1, p); err != nil {
				return onlyReset(err)
			}
		}
	}, cycleResponse(append(append([]byte{0x83, 1, 0, 0xB6, 0x81, maxReceive}, make([]byte, maxReceive)...), 0xB7, 1, 0xFF)))
}

// BenchmarkStreamCycle is the same through a Conn, which asks for the next block by itself.
func BenchmarkStreamCycle(b *testing.B) {
	c := newCard(b, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, DialParams{Transport: cat.TCPClientRemote, Remote: discard, Qualifier: cat.OpenImmediate})
		if err != nil {
			return err
		}
		p := make([]byte, 32<<10)
		for {
			if _, err := conn.Read(p); err != nil {
				return onlyReset(err)
			}
		}
	}}})
	e := newTerminal(b, c)
	ctx := context.Background()
	e.profile()
	e.respond(e.fetch(), "830100")
	e.respond(e.fetch(), "830100 38028100 350103 39020578")
	e.envelope("D60E 990109 82028281 B8028100 B701FF")
	response := cycleResponse(append(append([]byte{0x83, 1, 0, 0xB6, 0x81, maxReceive}, make([]byte, maxReceive)...), 0xB7, 1, 0xFF))
	fetch := []byte{0x80, 0x12, 0, 0, 0}
	b.ReportAllocs()
	b.ResetTimer()
	b.SetBytes(maxReceive)
	for range b.N {
		for e.sw>>8 != 0x91 { // the reader is behind
			e.expectStatus()
		}
		fetch[4] = byte(e.sw)
		r, _ := c.Transmit(ctx, fetch)
		r, err := c.Transmit(ctx, response(r))
		if err != nil {
			b.Fatal(err)
		}
		e.sw = uint16(r[0])<<8 | uint16(r[1])
	}
	b.StopTimer()
	clean(b, c)
}

// cycleResponse makes TERMINAL RESPONSE APDUs with always the same objects, without allocating.
func cycleResponse(objects []byte) func(m []byte) []byte {
	apdu := append([]byte{0x80, 0x14, 0, 0, byte(9 + len(objects)), 0x81, 3, 0, 0, 0, 0x82, 2, 0x82, 0x81}, objects...)
	return func(m []byte) []byte {
		at := 4
		if m[1] == 0x81 {
			at = 5
		}
		copy(apdu[7:10], m[at:at+3])
		return apdu
	}
}
