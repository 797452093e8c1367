package capture

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"bipd/cat"
	"bipd/trace"
)

// script collects exchanges: command and response APDU in turn.
type script [][]byte

var done = []byte{0x90, 0x00}

// do adds a FETCH and the answer to what it brought.
func (s *script) do(c cat.Command, r cat.GeneralResult, objects ...cat.TLV) {
	answer := cat.Respond(c, cat.Result{General: r}, objects...).Append(nil)
	*s = append(*s, []byte{0x80, insFetch, 0, 0, 0}, append(c.Append(nil), done...),
		append([]byte{0x80, insTerminalResponse, 0, 0, byte(len(answer))}, answer...), done)
}

func (s *script) event(status cat.ChannelStatus) {
	data := cat.ChannelStatusEvent(status).Append(nil)
	*s = append(*s, append([]byte{0x80, insEnvelope, 0, 0, byte(len(data))}, data...), done)
}

// life is what can happen to a channel of the protocol.
func life(p cat.TransportProtocol) script {
	var s script
	server := netip.MustParseAddr("198.51.100.7")
	open := cat.NewCommand(1, cat.OpenImmediate, &cat.OpenChannel{
		Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400,
		Transport: &cat.TransportLevel{Protocol: p, Port: 443}, Destination: &server,
	})
	up := cat.ChannelStatus{Channel: 2, Link: cat.LinkEstablished}
	send := func(qualifier byte, data string) cat.Command {
		return cat.NewChannelCommand(2, qualifier, 2, &cat.SendData{Data: []byte(data)})
	}
	receive := cat.NewChannelCommand(3, 0, 2, &cat.ReceiveData{Length: 3})
	s.do(open, cat.ResultBIPError)
	s.do(open, cat.ResultModified, cat.ChannelStatusObject(up))
	s.do(send(0, "stored"), cat.ResultOK)
	s.do(send(cat.SendImmediately, "refused"), cat.ResultBIPError)
	s.do(send(cat.SendImmediately, " sent"), cat.ResultOK)
	s.do(receive, cat.ResultOK, cat.ChannelDataObject([]byte("one")), cat.ChannelDataLengthObject(3))
	s.do(receive, cat.ResultOK, cat.ChannelDataObject([]byte("two")), cat.ChannelDataLengthObject(0))
	s.do(receive, cat.ResultOK, cat.ChannelDataObject([]byte("cut")), cat.ChannelDataLengthObject(9))
	s.event(cat.ChannelStatus{Channel: 2, Info: cat.StatusDropped})
	s.event(up) // reconnected
	s.do(send(cat.SendImmediately, "again"), cat.ResultOK)
	s.do(cat.NewChannelCommand(4, 0, 2, &cat.CloseChannel{}), cat.ResultOK)
	s.do(send(cat.SendImmediately, "too late"), cat.ResultOK)
	return s
}

// play writes the exchanges and gives the file.
func play(t *testing.T, s script) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(s); i += 2 {
		e := trace.Event{Time: time.Unix(int64(i), 1), Card: "c", APDU: hex.EncodeToString(s[i]), RAPDU: hex.EncodeToString(s[i+1])}
		if err := w.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

// TestLife holds each packet on the network side against what the exchanges tell: > is from the card, < from the server.
func TestLife(t *testing.T) {
	for _, tc := range []struct {
		protocol cat.TransportProtocol
		want     string
	}{
		{cat.UDPClientRemote, ">stored sent <onetwo <cut >again"},
		{cat.TCPClientRemote, ">S <S > >stored sent < <one > <two > <cut > <F >F < >S <S > >again < >F <F >"},
		{cat.TCPServer, ""},
	} {
		var got []string
		for _, p := range read(t, play(t, life(tc.protocol))) {
			if p.on != cardInterface {
				got = append(got, told(p.data))
			}
		}
		if g := strings.Join(got, " "); g != tc.want {
			t.Errorf("%v:\n got %s\nwant %s", tc.protocol, g, tc.want)
		}
	}
}

func told(data []byte) string {
	p := gopacket.NewPacket(data, layers.LayerTypeIPv4, gopacket.Default)
	way := ">"
	if p.NetworkLayer().NetworkFlow().Src().String() == "198.51.100.7" {
		way = "<"
	}
	if tcp, ok := p.TransportLayer().(*layers.TCP); ok && tcp.SYN {
		way += "S"
	} else if ok && tcp.FIN {
		way += "F"
	}
	return way + string(p.TransportLayer().LayerPayload())
}

// FuzzEvent has any APDUs make a file that can be read, with every exchange in it and no time going back.
func FuzzEvent(f *testing.F) {
	for _, p := range []cat.TransportProtocol{cat.UDPClientRemote, cat.TCPClientRemote, cat.TCPServer} {
		var seed []byte
		for _, apdu := range life(p) {
			seed = append(append(seed, byte(len(apdu))), apdu...)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var s script
		for len(in) > 0 && len(s) < 200 {
			n := min(int(in[0]), len(in)-1)
			s, in = append(s, in[1:1+n]), in[1+n:]
		}
		whole := 0
		for i := 0; i+1 < len(s); i += 2 {
			if len(s[i]) > 0 && len(s[i+1]) >= 2 {
				whole++
			}
		}
		packets := read(t, play(t, s))
		if !slices.IsSortedFunc(packets, func(a, b packetIn) int { return a.at.Compare(b.at) }) {
			t.Error("times go back")
		}
		for _, p := range packets {
			if p.on == cardInterface {
				whole--
			}
		}
		if whole != 0 {
			t.Errorf("%d exchanges are missing", whole)
		}
	})
}
