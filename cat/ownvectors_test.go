package cat

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The vectors of this file are put together here, object by object; none is taken from a document.

// octets joins what is given as hex with spaces.
func octets(t testing.TB, parts ...string) []byte {
	t.Helper()
	return unhex(t, strings.ReplaceAll(strings.Join(parts, ""), " ", ""))
}

// template wraps octets into a BER-TLV with the shortest length.
func template(tag byte, value []byte) []byte {
	switch n := len(value); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, value...)
	default:
		return append([]byte{tag, 0x81, byte(n)}, value...)
	}
}

func ptr[T any](v T) *T { return &v }

// ramp is n octets of which each differs from its neighbours.
func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func TestOwnOpenChannel(t *testing.T) {
	head := "81 03 07 40 03 82 02 81 82"
	v4, v6 := netip.MustParseAddr("127.12.34.56"), netip.MustParseAddr("2001:db8:1:2:3:4:5:6")
	def := &BearerDescription{BearerDefault, []byte{}}
	tests := []struct {
		name, objects string
		want          OpenChannel
	}{
		{"IPv4, null local address, empty alpha identifier", "05 00 35 01 03 39 02 05 8E 3E 00 3C 03 02 20 FB 3E 05 21 7F 0C 22 38",
			OpenChannel{Presentation: Presentation{Alpha: &Alpha{[]byte{}}}, Bearer: def, BufferSize: 1422, LocalAddress: &netip.Addr{},
				Transport: &TransportLevel{TCPClientRemote, 8443}, Destination: &v4}},
		{"IPv6 both", "35 01 03 39 02 00 0F 3E 11 57 20010DB8000100020003000400050006 3C 03 01 00 35 3E 11 57 20010DB8000100020003000400050006",
			OpenChannel{Bearer: def, BufferSize: 15, LocalAddress: &v6, Transport: &TransportLevel{UDPClientRemote, 53}, Destination: &v6}},
		{"WLAN with name, login only", "35 01 0A 39 02 04 00 47 0C 03 6F7461 07 6578616D706C65 0D 04 F4 6D 65 00 3C 03 02 01 BB 3E 05 21 7F 0C 22 38",
			OpenChannel{Bearer: &BearerDescription{BearerWLAN, []byte{}}, BufferSize: 1024, NetworkAccessName: ptr(NetworkAccessName("ota.example")),
				Login: &Text{0xF4, []byte{0x6D, 0x65, 0x00}}, Transport: &TransportLevel{TCPClientRemote, 443}, Destination: &v4}},
		{"TCP server without bearer", "39 02 05 78 3C 03 03 1F 90",
			OpenChannel{BufferSize: 1400, Transport: &TransportLevel{TCPServer, 8080}}},
		{"icon, text attribute, frame, null login and password", "1E 02 01 07 35 07 02 03 04 03 04 1F 02 39 02 05 78 0D 00 0D 00 3C 03 02 01 BB 3E 05 21 7F 0C 22 38 D0 04 00 09 00 B4 68 01 02",
			OpenChannel{Presentation: Presentation{Icon: []byte{1, 7}, TextAttribute: []byte{0, 9, 0, 0xB4}, Frame: []byte{2}},
				Bearer: &BearerDescription{BearerPacket, []byte{3, 4, 3, 4, 0x1F, 2}}, BufferSize: 1400, Login: &Text{}, Password: &Text{},
				Transport: &TransportLevel{TCPClientRemote, 443}, Destination: &v4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := template(0xD0, octets(t, head, tt.objects))
			c, err := ParseCommand(b)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.hasBufferSize = true
			if !reflect.DeepEqual(c.Body, &tt.want) {
				t.Errorf("parsed:\n got %#v\nwant %#v", c.Body, &tt.want)
			}
			if got := NewCommand(7, OpenImmediate|OpenAutoReconnect, &tt.want).Append(nil); !bytes.Equal(got, b) {
				t.Errorf("built:\n got %X\nwant %X", got, b)
			}
		})
	}
}

// TestOwnDNSRequest has no transport level, and so no destination.
func TestOwnDNSRequest(t *testing.T) {
	c, err := ParseCommand(octets(t, "D0 12 81 03 01 40 09 82 02 81 82 05 00 35 01 03 39 02 05 78"))
	if err != nil {
		t.Fatal(err)
	}
	if o := c.Body.(*OpenChannel); o.Transport != nil || o.Destination != nil || c.Details.Qualifier&OpenDNSRequest == 0 {
		t.Errorf("%+v", o)
	}
	r := Respond(c, OK, ChannelStatusObject(ChannelStatus{Channel: 2, Link: LinkEstablished}), BearerObject(BearerDescription{Type: BearerDefault}),
		BufferSizeObject(1400), DNSServerObject(netip.MustParseAddr("127.0.0.53")), DNSServerObject(netip.MustParseAddr("2001:db8::35")))
	want := octets(t, "81 03 01 40 09 82 02 82 81 83 01 00 38 02 82 00 35 01 03 39 02 05 78 C0 05 21 7F 00 00 35 C0 11 57 20010DB8000000000000000000000035")
	if got := r.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("\n got %X\nwant %X", got, want)
	}
}

// TestNetworkAccessNames has well-formed names and those that real cards get wrong.
func TestNetworkAccessNames(t *testing.T) {
	tests := []struct{ octets, want string }{
		{"", ""},
		{"08 696E7465726E6574", "internet"},
		{"03 6F7461 07 6578616D706C65", "ota.example"},
		{"08 696E7465726E6574 2E 65 78 61 6D 70 6C 65", "internet.example"}, // one length, then plain text
		{"696E7465726E6574 2E 65 78", "internet.ex"},                        // no length at all
		{"0B 6F74612E6578616D706C65", "ota.example"},                        // a dot within a label
		{"03 6F7461 09 6578616D706C65", "ota.example"},                      // the last length is too long
		{"00", ""},
		{"01 2E", ""},
		{"03 6F00 61", "o.a"},
	}
	for _, tt := range tests {
		v := octets(t, tt.octets)
		n := parseNetworkAccessName(v)
		if string(n) != tt.want {
			t.Errorf("%s: %q, want %q", tt.octets, n, tt.want)
		}
		if again := parseNetworkAccessName(n.tlv().Value); again != n {
			t.Errorf("%s: coded and read again %q, want %q", tt.octets, again, n)
		}
	}
	long := template(0xD0, octets(t, "81 03 01 40 01 82 02 81 82"))
	long = AppendTLV(long, TLV{TagNetworkAccessName, false, bytes.Repeat([]byte{'a'}, 256)})
	_, err := ParseCommand(appendTemplate(nil, 0xD0, long[2:]))
	checkResult(t, err, ResultDataNotUnderstood)
}

// TestOwnLengths has the lengths around which the form changes.
func TestOwnLengths(t *testing.T) {
	for _, n := range []int{0, 1, 126, 127, 128, 200, 229, 237, 255, 256, 65535, 65536} {
		tl := TLV{TagChannelData, true, ramp(n)}
		b := AppendTLV(nil, tl)
		head := 2
		switch {
		case n > 0xFFFF:
			head = 5
		case n > 0xFF:
			head = 4
		case n > 0x7F:
			head = 3
		}
		if len(b) != head+n {
			t.Errorf("%d octets take %d, want %d more", n, len(b), head)
		}
		got, err := ParseTLVs(b)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, tl.Value) || got[0].Tag != tl.Tag || !got[0].CR {
			t.Errorf("%d octets: %v %v", n, got, err)
		}
		if len(got) == 1 && cap(got[0].Value) != n {
			t.Errorf("%d octets: the value's capacity %d reaches beyond it", n, cap(got[0].Value))
		}
	}
	// longer forms than needed are read, too
	for _, s := range []string{"36 81 02 AA BB", "36 82 00 02 AA BB", "36 83 00 00 02 AA BB"} {
		got, err := ParseTLVs(octets(t, s))
		if err != nil || len(got) != 1 || !bytes.Equal(got[0].Value, []byte{0xAA, 0xBB}) {
			t.Errorf("%s: %v %v", s, got, err)
		}
	}
}

func TestOwnTags(t *testing.T) {
	tests := []struct {
		octets string
		want   TLV
	}{
		{"7E 00", TLV{0x7E, false, []byte{}}},
		{"FE 01 05", TLV{0x7E, true, []byte{5}}},
		{"7F 00 7F 01 05", TLV{0x7F, false, []byte{5}}},
		{"7F 80 80 01 05", TLV{0x80, true, []byte{5}}},
		{"7F 7F FF 02 05 06", TLV{0x7FFF, false, []byte{5, 6}}},
		{"7F 81 02 00", TLV{0x0102, true, []byte{}}},
	}
	for _, tt := range tests {
		b := octets(t, tt.octets)
		got, err := ParseTLVs(b)
		if err != nil || !reflect.DeepEqual(got, []TLV{tt.want}) {
			t.Errorf("%s: %v %v, want %v", tt.octets, got, err, tt.want)
		}
		if again := AppendTLV(nil, tt.want); !bytes.Equal(again, b) {
			t.Errorf("%v: %X, want %X", tt.want, again, b)
		}
	}
	for _, s := range []string{"00 00", "80 00", "FF 00", "7F 00 01 00", "7F 80 7E 00", "7F", "7F 01", "36", "36 81", "36 02 00", "36 80", "36 84 00 00 00 01 AA", "36 82 01"} {
		if got, err := ParseTLVs(octets(t, s)); err == nil {
			t.Errorf("%s was taken: %v", s, got)
		}
	}
	got, err := ParseTLVs(octets(t, "81 01 05 36 05"))
	if err == nil || len(got) != 1 {
		t.Errorf("what comes before an error: %v %v", got, err)
	}
}

func TestOwnTexts(t *testing.T) {
	tests := []struct{ octets, want string }{
		{"", ""},
		{"00", ""},
		{"04 41 64 61", "Ada"},
		{"F4 00 1B", "@\x1b"},
		{"F6 41 FF FF", "A"},
		{"08 0041 0416 4F60 D83D DE00", "AЖ你😀"},
		{"08 0041 04", "A"}, // half a character
		{"00 E8 32 9B FD 06", "hello"},
		{"00 31 D9 8C 56 B3 DD 1A", "1234567"}, // seven characters leave seven bits: CR pads them
	}
	for _, tt := range tests {
		text := parseText(octets(t, tt.octets))
		if got := text.Decode(); got != tt.want {
			t.Errorf("text %s: %q, want %q", tt.octets, got, tt.want)
		}
	}
	alphas := []struct{ octets, want string }{
		{"", ""},
		{"4F 70 65 6E", "Open"},
		{"80 0416 4F60", "Ж你"},
		{"81 03 08 96 31 90", "Ж1А"},
		{"81 02 08 96 31 FF FF", "Ж1"}, // padding behind the two characters
		{"82 02 04 10 80 41", "АA"},
		{"81 09 08 96", "Ж"}, // fewer characters than told
	}
	for _, tt := range alphas {
		a := Alpha{octets(t, tt.octets)}
		if got := a.Decode(); got != tt.want {
			t.Errorf("alpha identifier %s: %q, want %q", tt.octets, got, tt.want)
		}
	}
	if got := NewText("user_1@Ñandú"); got.DCS != 0xF4 || got.Decode() != "user_1@Ñand?" {
		t.Errorf("%X %q", got.Data, got.Decode())
	}
}

// TestTextHidden looks for a password in everything that prints one.
func TestTextHidden(t *testing.T) {
	secret := NewText("Sesame")
	o := OpenChannel{Password: &secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := sprintf(verb, secret) + sprintf(verb, o.Password); strings.Contains(s, "Sesame") || strings.Contains(s, "5365") || strings.Contains(s, "0x53") {
			t.Errorf("%s shows the password: %s", verb, s)
		}
	}
}

// TestOwnData has SEND DATA and RECEIVE DATA at their largest.
func TestOwnData(t *testing.T) {
	send := NewChannelCommand(1, SendImmediately, 7, &SendData{Data: ramp(229)})
	b := send.Append(nil)
	if len(b) != 244 || !bytes.HasPrefix(b, octets(t, "D0 81 F1 81 03 01 43 01 82 02 81 27 B6 81 E5")) {
		t.Errorf("%d octets %X", len(b), b[:14])
	}
	c, err := ParseCommand(b)
	if err != nil || !bytes.Equal(c.Body.(*SendData).Data, ramp(229)) {
		t.Errorf("%v", err)
	}
	if n, ok := c.Devices.Destination.Channel(); n != 7 || !ok {
		t.Errorf("channel %d %v", n, ok)
	}
	r := Respond(NewChannelCommand(1, 0, 1, &ReceiveData{}), OK, ChannelDataObject(ramp(MaxReceive)), ChannelDataLengthObject(1000))
	if b := r.Append(nil); len(b) != 255 || !bytes.HasSuffix(b, []byte{0xB7, 0x01, 0xFF}) {
		t.Errorf("a full response to RECEIVE DATA has %d octets", len(b))
	}
}

// TestOwnChannelStatus has the states of clients and of servers.
func TestOwnChannelStatus(t *testing.T) {
	tests := []struct {
		s    ChannelStatus
		want []byte
	}{
		{ChannelStatus{}, []byte{0x00, 0x00}},
		{ChannelStatus{Channel: 3, Link: LinkEstablished}, []byte{0x83, 0x00}},
		{ChannelStatus{Channel: 7, Link: LinkDown, Info: StatusDropped}, []byte{0x07, 0x05}},
		{ChannelStatus{Channel: 2, Link: LinkListen}, []byte{0x42, 0x00}},
	}
	for _, tt := range tests {
		if got := tt.s.tlv(true); !bytes.Equal(got.Value, tt.want) || !got.CR {
			t.Errorf("%v: %X, want %X", tt.s, got.Value, tt.want)
		}
		if got, err := ParseChannelStatus(tt.want); err != nil || got != tt.s {
			t.Errorf("%X: %+v %v", tt.want, got, err)
		}
	}
	for _, n := range []int{0, 1, 3} {
		if _, err := ParseChannelStatus(make([]byte, n)); err == nil {
			t.Errorf("a channel status of %d octets was taken", n)
		}
	}
}

// TestOwnEnvelopes has channels, lengths and times that the documents do not.
func TestOwnEnvelopes(t *testing.T) {
	tests := []struct {
		e    Envelope
		want string
	}{
		{DataAvailableEvent(ChannelStatus{Channel: 5, Link: LinkEstablished}, 254), "D6 0E 99 01 09 82 02 82 81 B8 02 85 00 B7 01 FE"},
		{DataAvailableEvent(ChannelStatus{Channel: 5, Link: LinkEstablished}, 256), "D6 0E 99 01 09 82 02 82 81 B8 02 85 00 B7 01 FF"},
		{ChannelStatusEvent(ChannelStatus{Channel: 6, Info: StatusDropped}), "D6 0B 99 01 0A 82 02 82 81 B8 02 06 05"},
		{LocationStatusEvent(LocationLimited, []byte{1, 2}), "D6 0A 99 01 03 82 02 82 81 9B 01 01"},
		{LocationStatusEvent(LocationNormal, nil), "D6 0A 99 01 03 82 02 82 81 9B 01 00"},
		{TimerExpirationEnvelope(8, TimerValue(17*time.Hour+46*time.Minute+39*time.Second)), "D7 0C 82 02 82 81 A4 01 08 A5 03 71 64 93"},
	}
	for _, tt := range tests {
		want := octets(t, tt.want)
		if got := tt.e.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%v:\n got %X\nwant %X", tt.e, got, want)
		}
		if got, err := ParseEnvelope(want); err != nil || !reflect.DeepEqual(got, tt.e) {
			t.Errorf("%X: %v %v", want, got, err)
		}
	}
	for _, s := range []string{"", "D6", "D0 00", "E0 00", "36 00", "D6 01", "D6 02 99 01", "D6 00 00", "D7 01 00"} {
		if e, err := ParseEnvelope(octets(t, s)); err == nil {
			t.Errorf("%q was taken: %v", s, e)
		}
	}
}

func TestProfileBits(t *testing.T) {
	got := Profile(slices.Concat(FacilityChannels(7), []Facility{FacilityGPRS, FacilityOpenChannel, FacilityProfileDownload})...)
	if want := octets(t, "01 00 00 00 00 00 00 00 00 00 00 01 E2"); !bytes.Equal(got, want) {
		t.Errorf("%X, want %X", got, want)
	}
	if got := Profile(FacilityChannels(5)...); got[12] != 0xA0 {
		t.Errorf("five channels: %X", got)
	}
}
