package capture

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"bipd/trace"
)

// packetIn is one packet of a capture.
type packetIn struct {
	on   int
	at   time.Time
	data []byte
}

// read gives the packets of a capture, and wants each to be an IP packet of its interface's version without anything left over.
func read(t *testing.T, file []byte) []packetIn {
	t.Helper()
	options := pcapgo.NgReaderOptions{WantMixedLinkType: true}
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), options)
	if err != nil {
		t.Fatal(err)
	}
	var all []packetIn
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		first := gopacket.Decoder(layers.LayerTypeIPv4)
		if ci.InterfaceIndex == 2 {
			first = layers.LayerTypeIPv6
		}
		p := gopacket.NewPacket(data, first, gopacket.DecodeOptions{DecodeStreamsAsDatagrams: false})
		if p.NetworkLayer() == nil || p.TransportLayer() == nil || p.Metadata().Truncated {
			t.Fatalf("interface %d has %X", ci.InterfaceIndex, data)
		}
		if inner := p.NetworkLayer().LayerPayload(); len(p.NetworkLayer().LayerContents())+len(inner) != len(data) {
			t.Fatalf("octets are left over in %X", data)
		}
		all = append(all, packetIn{ci.InterfaceIndex, ci.Timestamp, data})
	}
}

// gsmtapHeaders are IPv4, UDP and GSMTAP before an APDU.
const gsmtapHeaders = 20 + 8 + 16

// What dissectors do not understand of a command is changed or explained; times keep their nanoseconds, and a command
// without a response is left out.
func TestExchanges(t *testing.T) {
	for _, tc := range []struct{ capdu, rapdu, want string }{
		{"8012000000", "D0030102039000", "8012000005D0030102039000"},
		{"801200000C", "9300", "801200000C9300"},
		{"00A40004023F0000", "9000", "00A40004023F009000"},
		{"80F20000", "9000", "80F20000009000"},
		{"80F2000000", "6C10", "80F20000006C10"},
		{"8014", "6700", "80146700"},
		{"8012000000", "", ""},
	} {
		var file bytes.Buffer
		w, err := NewWriter(&file)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1700000000, 123456789)
		if err := w.Event(trace.Event{Time: at, Card: "c", APDU: tc.capdu, RAPDU: tc.rapdu}); err != nil {
			t.Fatal(err)
		}
		packets := read(t, file.Bytes())
		if tc.want == "" {
			if len(packets) != 0 {
				t.Errorf("%s without a response: %d packets", tc.capdu, len(packets))
			}
			continue
		}
		if len(packets) != 1 || packets[0].on != cardInterface || !packets[0].at.Equal(at) {
			t.Fatalf("%s: %+v", tc.capdu, packets)
		}
		if got := strings.ToUpper(hex.EncodeToString(packets[0].data[gsmtapHeaders:])); got != tc.want {
			t.Errorf("%s %s is written as %s, want %s", tc.capdu, tc.rapdu, got, tc.want)
		}
	}
}

type brokenWriter struct{ left int }

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// A bad event is an error and loses no other; a broken file is an error too.
func TestErrors(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	good := trace.Event{Time: time.Unix(1, 0), APDU: "80F2000000", RAPDU: "9000"}
	for _, bad := range []trace.Event{{APDU: "8"}, {APDU: "80F2000000", RAPDU: "xx"}, {APDU: strings.Repeat("00", 1<<16), RAPDU: "9000"}} {
		if err := w.Event(bad); err == nil || !strings.HasPrefix(err.Error(), "capture: ") {
			t.Errorf("%.20s: %v", bad.APDU, err)
		}
		if err := w.Event(good); err != nil {
			t.Error(err)
		}
	}
	if n := len(read(t, file.Bytes())); n != 3 {
		t.Errorf("%d packets, want 3", n)
	}
	if _, err := NewWriter(&brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("NewWriter: %v", err)
	}
	w, err = NewWriter(&brokenWriter{left: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Event(good); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Event: %v", err)
	}
}
