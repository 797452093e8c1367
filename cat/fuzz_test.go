package cat

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"
)

func FuzzParseTLVs(f *testing.F) {
	addVectors(f, "terminal_response") // it is a list of objects
	f.Add(octets(f, "81 03 01 40 01 82 02 81 82 35 01 03 39 02 05 78"))
	f.Add(octets(f, "B6 81 80", "00"))
	f.Add(AppendTLV(nil, TLV{TagChannelData, true, ramp(200)}))
	f.Add(AppendTLV(nil, TLV{0x0102, true, ramp(300)}))
	f.Add(octets(f, "7F 00 7F 01 05 36 82 00 01 AA 36 83 00 00 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tlvs, err := ParseTLVs(b)
		n := 0
		for _, o := range tlvs {
			if cap(o.Value) != len(o.Value) {
				t.Fatal("appending to a value would overwrite the next object")
			}
			n += len(o.Value) + 2
		}
		if n > len(b) {
			t.Fatalf("%d octets of objects in %d", n, len(b))
		}
		if err == nil && n == 0 && len(b) > 0 {
			t.Fatalf("nothing was read from %X, and no error", b)
		}
		again := AppendTLVs(nil, tlvs)
		if err == nil && len(again) > len(b) { // equal where every length has its shortest form
			t.Fatalf("%d octets became %d", len(b), len(again))
		}
		got, err := ParseTLVs(again)
		if err != nil || !reflect.DeepEqual(got, tlvs) {
			t.Fatalf("parse, append, parse:\n got %v %v\nwant %v", got, err, tlvs)
		}
	})
}

func FuzzParseCommand(f *testing.F) {
	addVectors(f, "proactive")
	for _, s := range []string{
		"D0 1E 81 03 01 40 03 82 02 81 82 05 00 35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 00 00 0A",
		"D0 2A 81 03 01 40 01 82 02 81 82 35 01 0A 39 02 04 00 47 04 03 6F 74 61 3E 00 0D 02 F4 61 0D 02 F4 62 3C 03 01 00 35 3E 05 21 7F 01 02 03",
		"D0 0E 81 03 01 42 00 82 02 81 21 05 00 B7 01 ED",
		"D0 0D 81 03 01 43 01 82 02 81 27 B6 02 01 02",
		"D0 0F 81 03 01 05 00 82 02 81 82 99 04 03 09 0A 12",
		"D0 11 81 03 01 27 00 82 02 81 82 A4 01 01 A5 03 00 10 00",
		"D0 0D 81 03 01 03 00 82 02 81 82 84 02 01 1E",
		"D0 10 81 03 01 01 01 82 02 81 82 92 05 01 3F 00 2F E2",
		"D0 0D 81 03 01 35 01 82 02 81 82 AD 02 73 65",
		"D0 1A 81 03 01 21 80 82 02 81 02 8D 0F 04 48 65 6C 6C 6F 20 74 6F 20 79 6F 75 21 21 21",
	} {
		f.Add(octets(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		checkDetailsGiven(t, b, c)
		if err != nil {
			var re *ResultError
			if !errors.As(err, &re) {
				t.Fatalf("error %v has no result for the card", err)
			}
			if g := re.Result.General; g != ResultDataNotUnderstood && g != ResultValuesMissing {
				t.Fatalf("result %v", re.Result)
			}
			return
		}
		if c.Body.Type() != c.Details.Type {
			t.Fatalf("a %T for %v", c.Body, c.Details.Type)
		}
		got, err := ParseCommand(c.Append(nil))
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("parse, append, parse:\n got %#v %v\nwant %#v", got, err, c)
		}
	})
}

// checkDetailsGiven sees that the details of a command are given where its objects can be read up to them.
func checkDetailsGiven(t *testing.T, b []byte, c Command) {
	t.Helper()
	tag, value, err := parseTemplate(b)
	if err != nil || tag != templateProactive {
		return
	}
	tlvs, _ := ParseTLVs(value)
	d, ok := Find(tlvs, TagCommandDetails)
	if !ok || len(d.Value) != 3 {
		return
	}
	if got := []byte{c.Details.Number, byte(c.Details.Type), c.Details.Qualifier}; !bytes.Equal(got, d.Value) {
		t.Fatalf("details %X, want %X", got, d.Value)
	}
}

func FuzzParseResponse(f *testing.F) {
	addVectors(f, "terminal_response")
	f.Add(octets(f, "81 03 01 40 01 82 02 82 81 83 01 00 38 02 81 00 35 01 03 39 02 05 78"))
	f.Add(octets(f, "81 03 01 42 00 82 02 82 81 83 02 3A 02"))
	f.Add(octets(f, "81 03 01 27 02 82 02 82 81 83 01 24 A4 01 01"))
	f.Add(octets(f, "83 01 20"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := ParseResponse(b)
		if err != nil {
			return
		}
		if r.Result.General.NeedsInfo() && len(r.Result.Info) == 0 {
			t.Fatalf("%v without additional information was taken", r.Result)
		}
		got, devices, err := ParseResponse(r.Append(nil))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("parse, append, parse:\n got %#v %v\nwant %#v", got, err, r)
		}
		if devices != (DeviceIdentities{DeviceTerminal, DeviceUICC}) {
			t.Fatalf("device identities %v", devices)
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	addVectors(f, "envelope")
	f.Add(octets(f, "D6 0E 99 01 09 82 02 82 81 B8 02 81 00 B7 01 FF"))
	f.Add(octets(f, "D7 0C 82 02 82 81 A4 01 01 A5 03 00 10 00"))
	f.Add(octets(f, "D1 81 06 82 02 83 81 0B 00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnvelope(b)
		if err != nil {
			return
		}
		if code, ok := e.Event(); ok != (e.Tag == templateEventDownload && hasOneEvent(e, code)) {
			t.Fatalf("event %v %v of %v", code, ok, e.Objects)
		}
		again := e.Append(nil)
		got, err := ParseEnvelope(again)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("parse, append, parse:\n got %v %v\nwant %v", got, err, e)
		}
		if len(again) > len(b) {
			t.Fatalf("%d octets became %d", len(b), len(again))
		}
	})
}

func hasOneEvent(e Envelope, code EventCode) bool {
	i := slices.IndexFunc(e.Objects, func(o TLV) bool { return o.Tag == TagEventList })
	return i >= 0 && len(e.Objects[i].Value) == 1 && e.Objects[i].Value[0] == byte(code)
}

func FuzzTexts(f *testing.F) {
	f.Add(octets(f, "00 E8 32 9B FD 06"))
	f.Add(octets(f, "08 0416 D83D DE00"))
	f.Add(octets(f, "81 03 08 96 31 90"))
	f.Add(octets(f, "82 03 04 10 96 31 90"))
	f.Add(octets(f, "80 4F 60 00"))
	f.Add([]byte("internet"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, alpha, name := parseText(b), Alpha{b}, parseNetworkAccessName(b[:min(len(b), maxNetworkAccessName)])
		for _, s := range []string{text.Decode(), alpha.Decode(), string(name)} {
			if !utf8.ValidString(s) {
				t.Fatalf("%q is no UTF-8", s)
			}
		}
		if n := utf8.RuneCountInString(text.Decode()); n > len(b)*8/7 {
			t.Fatalf("%d characters of %d octets", n, len(b))
		}
		if n := utf8.RuneCountInString(alpha.Decode()); n > len(b) {
			t.Fatalf("%d characters of %d octets", n, len(b))
		}
		coded := NewText(gsmString(b))
		if coded.Decode() != gsmString(b) {
			t.Fatalf("coded again: %q, want %q", coded.Decode(), gsmString(b))
		}
		if again := parseNetworkAccessName(name.tlv().Value); again != name {
			t.Fatalf("name %q, coded again %q", name, again)
		}
	})
}
