package cat

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var smsTime = time.Date(2031, 12, 9, 23, 5, 47, 0, time.FixedZone("", 2*3600))

// TestDeliver builds messages whose octets were worked out apart from 3GPP TS 23.040 clause 9.2.2.1.
func TestDeliver(t *testing.T) {
	const when = "13219032507480"
	from := Address{0x91, "4477"}
	tests := []struct {
		name string
		d    Deliver
		want string
	}{
		{"command packet", Deliver{From: from, PID: PIDDataDownload, DCS: DCSDataDownload, Header: []byte{0x70, 0}, Data: []byte{1, 2, 3}},
			"44 04 91 4477 7F F6 " + when + " 06 02 70 00 01 02 03"},
		{"odd number of digits", Deliver{From: Address{0x81, "123"}, PID: 0, DCS: 4, Data: []byte{0xAA}}, "04 03 81 21F3 00 04 " + when + " 01 AA"},
		{"packed text", Deliver{From: from, Text: "hello"}, "04 04 91 4477 00 00 " + when + " 05 E8329BFD06"},
		{"packed text behind a header of 3 octets", Deliver{From: from, Header: []byte{0x70, 0}, Text: "hello"},
			"44 04 91 4477 00 00 " + when + " 09 02 70 00 80 2E B3 D9 6F"},
		{"UCS2", Deliver{From: from, DCS: 8, Text: "Жa"}, "04 04 91 4477 00 08 " + when + " 04 04160061"},
		{"header alone", Deliver{From: from, DCS: 4, Header: []byte{}}, "44 04 91 4477 00 04 " + when + " 01 00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.Time = smsTime
			got, err := tt.d.TPDU()
			if err != nil || !bytes.Equal(got, octets(t, tt.want)) {
				t.Errorf("\n got %X %v\nwant %X", got, err, octets(t, tt.want))
			}
		})
	}
}

func TestDeliverFaults(t *testing.T) {
	from := Address{0x91, "44"}
	tests := []struct {
		name string
		d    Deliver
		want string
	}{
		{"too much data", Deliver{From: from, DCS: 4, Data: make([]byte, 141)}, "141 octets"},
		{"too much with its header", Deliver{From: from, DCS: 4, Header: make([]byte, 2), Data: make([]byte, 138)}, "141 octets"},
		{"too much text", Deliver{From: from, Text: strings.Repeat("a", 161)}, "141 octets"},
		{"header too long", Deliver{From: from, Header: make([]byte, 256)}, "header of 256"},
		{"unknown coding", Deliver{From: from, DCS: 0xEC, Text: "a"}, "EC is not known"},
		{"no such character", Deliver{From: from, Text: "Ж"}, "'Ж'"},
		{"data and text", Deliver{From: from, Text: "a", Data: []byte{1}}, "both"},
		{"number too long", Deliver{From: Address{0x91, strings.Repeat("1", 21)}, Data: []byte{1}, DCS: 4}, "21 digits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.Time = smsTime
			if b, err := tt.d.TPDU(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%X %v, want %q", b, err, tt.want)
			}
		})
	}
	if b, err := (Deliver{From: from, Text: strings.Repeat("a", 160), Time: smsTime}).TPDU(); err != nil || len(b) != 4+2+7+1+140 {
		t.Errorf("160 characters: %d octets, %v", len(b), err)
	}
}

// TestPackSubmit packs texts with each form of validity period, and behind a header.
func TestPackSubmit(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"text", "01 00 09 91 10325476F8 40 F4 05 68656C6C6F", "01 00 09 91 10325476F8 40 F0 05 E8329BFD06"},
		{"Send SM", "01 00 09 91 10325476F8 40 F4 07 53656E6420534D", "01 00 09 91 10325476F8 40 F0 07 D3B29B0C9A3601"},
		{"validity of one octet", "11 00 02 81 21 00 04 A7 01 61", "11 00 02 81 21 00 00 A7 01 61"},
		{"validity of seven octets", "19 00 02 81 21 00 04 01020304050607 01 61", "19 00 02 81 21 00 00 01020304050607 01 61"},
		{"header", "41 00 02 81 21 00 04 08 02 70 00 68656C6C6F", "41 00 02 81 21 00 00 09 02 70 00 802EB3D96F"},
		{"nothing", "01 00 02 81 21 00 04 00", "01 00 02 81 21 00 00 00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := octets(t, tt.in)
			before := bytes.Clone(in)
			got, err := PackSubmit(in)
			if err != nil || !bytes.Equal(got, octets(t, tt.want)) {
				t.Errorf("\n got %X %v\nwant %X", got, err, octets(t, tt.want))
			}
			if !bytes.Equal(in, before) {
				t.Error("the card's octets were changed")
			}
		})
	}
	for _, bad := range []string{"", "01 00", "00 00 02 81 21 00 04 01 61", "01 00 14 81 21", "01 00 02 81 21 00 04 05 61", "41 00 02 81 21 00 04 01 05",
		"11 00 02 81 21 00 04 A7", "01 00 02 81 21 00 04 A1" + strings.Repeat("61", 161)} {
		if got, err := PackSubmit(octets(t, bad)); err == nil {
			t.Errorf("%s was packed: %X", bad, got)
		}
	}
}

func FuzzPackSubmit(f *testing.F) {
	f.Add(octets(f, "01 00 09 91 10325476F8 40 F4 05 68656C6C6F"))
	f.Add(octets(f, "51 00 02 81 21 00 04 A7 08 02 70 00 68656C6C6F"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		got, err := PackSubmit(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the card's octets were changed")
		}
		if err != nil {
			return
		}
		if len(got) > len(b)+1 || len(got) < len(b)*3/4 || got[0] != b[0] { // fill bits behind a header may take an octet
			t.Fatalf("%X became %X", b, got)
		}
	})
}

func FuzzAddress(f *testing.F) {
	f.Add(octets(f, "91 44 77 F0"))
	f.Add(octets(f, "81 A1 CB"))
	f.Fuzz(func(t *testing.T, v []byte) {
		a, err := parseAddress(v[:min(len(v), 0xFF)])
		if err != nil {
			return
		}
		if again, err := parseAddress(a.tlv(true).Value); err != nil || again != a {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
		if a.Number == "" {
			return
		}
		if read, err := NewAddress(a.String()); err != nil || read.Number != a.Number {
			t.Fatalf("%q was read as %+v, %v", a, read, err)
		}
	})
}

func FuzzResponsePacket(f *testing.F) {
	f.Add(octets(f, "02 71 00 000B 0A 150621 0000000001 00 00"))
	f.Add(octets(f, "02 71 00 0011 0E 150621 0000000001 00 09 AABBCCDD 0102"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseResponsePacket(b)
		if err != nil {
			return
		}
		if again := p.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%X became %X", b, again)
		}
	})
}

func TestResponsePacket(t *testing.T) {
	b := octets(t, "02 71 00 0011 0E B00010 0000000007 03 09 AABBCCDD 0102")
	p, err := ParseResponsePacket(b)
	if err != nil || p.TAR != [3]byte{0xB0, 0, 0x10} || p.Counter[4] != 7 || p.Padding != 3 || p.StatusText() != "TAR unknown" ||
		!bytes.Equal(p.Checksum, octets(t, "AABBCCDD")) || !bytes.Equal(p.Data, []byte{1, 2}) {
		t.Errorf("%+v %v", p, err)
	}
	p.Status = 0x42
	if p.StatusText() != "status 42" {
		t.Error(p.StatusText())
	}
	for _, bad := range []string{"", "027100", "02710000", "027000000B0A15062100000000010000", "0271000005" + "0A15062100", "027100000C0A15062100000000010000", "027100000B0B15062100000000010000"} {
		if p, err := ParseResponsePacket(octets(t, bad)); err == nil {
			t.Errorf("%s was taken: %+v", bad, p)
		}
	}
}
