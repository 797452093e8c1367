package mux

import (
	"bytes"
	"math/rand"
	"testing"
)

// TestDecoderResync damages frames in the ways that lines do; every frame after the
// damaged one must come through.
func TestDecoderResync(t *testing.T) {
	good := frame{dlci: 2, typ: frameUIH, cr: true, info: []byte("good")}
	big := frame{dlci: 3, typ: frameUIH, info: bytes.Repeat([]byte{0xf9, 0x41}, 40)}
	goodBytes := appendBasic(nil, good)
	for name, junk := range map[string][]byte{
		"nothing":                   nil,
		"text of the mode switch":   []byte("\r\nOK\r\nAT\r"),
		"run of flags":              bytes.Repeat([]byte{flagBasic}, 40),
		"flag and text":             []byte("\xf9AT+CMUX=0\r\xf9"),
		"length above N1":           {flagBasic, 0x07, 0xef, 0xfe, 0xfe},
		"length octet lost":         {flagBasic, 0x07, 0xef, 0x61, 0x62, 0x63, 0x64, flagBasic},
		"frame cut in the header":   {flagBasic, 0x07, 0xef},
		"frame cut in the data":     appendBasic(nil, big)[:30],
		"no end flag":               append(bytes.TrimSuffix(appendBasic(nil, big), []byte{flagBasic}), 'x'),
		"address without EA":        {flagBasic, 0x06, 0xef, 0x01, 0x04, flagBasic},
		"unknown control":           {flagBasic, 0x07, 0x00, 0x01, 0x04, flagBasic},
		"two octet length of two":   {flagBasic, 0x07, 0xef, 0x02},
		"FCS wrong, flag within":    {flagBasic, 0x07, 0xef, 0x07, flagBasic, 'b', flagBasic, 0x00, flagBasic},
		"SABM with a damaged octet": {flagBasic, 0x03, 0x3f, 0x01, 0x1d, flagBasic},
	} {
		d := &decoder{n1: 127}
		stream := append(bytes.Clone(junk), goodBytes...)
		stream = append(stream, goodBytes[1:]...) // shares its opening flag
		got := decodeAll(d, stream)
		if d.partial() || len(got) == 0 {
			d.expire()
			got = append(got, drain(d)...)
		}
		var found int
		for _, f := range got {
			if f.dlci == 2 && bytes.Equal(f.info, good.info) {
				found++
			}
		}
		if found != 2 || len(got) > 2 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// TestDecoderAdvancedResync does the same in the advanced option.
func TestDecoderAdvancedResync(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	good := frame{dlci: 2, typ: frameUIH, cr: true, info: all}
	for name, junk := range map[string][]byte{
		"nothing":         nil,
		"text":            []byte("OK\r\n"),
		"run of flags":    bytes.Repeat([]byte{flagAdvanced}, 40),
		"aborted frame":   {flagAdvanced, 0x07, 0xef, 'a', escape, flagAdvanced},
		"endless frame":   append([]byte{flagAdvanced}, bytes.Repeat([]byte{0x07}, 2000)...),
		"wrong FCS":       {flagAdvanced, 0x07, 0xef, 'a', 0x06, flagAdvanced},
		"too short":       {flagAdvanced, 0x07, 0xef, flagAdvanced},
		"unknown control": {flagAdvanced, 0x07, 0x00, 0x00, 0x00, flagAdvanced},
		"too long":        appendAdvanced(nil, frame{dlci: 1, typ: frameUIH, info: make([]byte, 300)}),
	} {
		d := &decoder{n1: 256, advanced: true}
		got := decodeAll(d, append(bytes.Clone(junk), appendAdvanced(nil, good)...))
		if len(got) != 1 || !bytes.Equal(got[0].info, all) || got[0].dlci != 2 {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if coded := appendAdvanced(nil, good); bytes.ContainsAny(coded[1:len(coded)-1], "\x11\x13\x7e") {
		t.Error("XON, XOFF or flag left in a frame")
	}
}

// TestDecoderExpire gives up a frame whose claimed end never comes and finds the
// frames that it had swallowed.
// TestDecoderAborted: escape and flag give a frame up, also where the flag, unescaped, would be the right FCS.
func TestDecoderAborted(t *testing.T) {
	tried := 0
	for i := range 256 {
		whole := appendAdvanced(nil, frame{dlci: 1, typ: frameUA, info: []byte{byte(i)}})
		if whole[len(whole)-2] != flagAdvanced^escapeBit {
			continue
		}
		tried++
		d := &decoder{advanced: true, n1: 64}
		aborted := append(whole[:len(whole)-2:len(whole)-2], escape, flagAdvanced)
		if frames := decodeAll(d, append(aborted, whole...)); len(frames) != 1 {
			t.Errorf("%x: %v", aborted, frames)
		}
	}
	if tried == 0 {
		t.Error("no frame with that FCS")
	}
}

func TestDecoderExpire(t *testing.T) {
	d := &decoder{n1: 512}
	sabm := frame{typ: frameSABM, cr: true, pf: true}
	stream := []byte{flagBasic, 0x07, 0xef, 0xfe, 0x01} // claims 255 octets
	for range 3 {
		stream = appendBasic(stream, sabm)
	}
	stream = append(stream, flagBasic, 0x07, 0xef, 0x09, 'h', 'a')
	if got := decodeAll(d, stream); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
	if !d.partial() {
		t.Fatal("nothing is waited for")
	}
	d.expire()
	if got := drain(d); len(got) != 3 || got[0].typ != frameSABM {
		t.Fatalf("got %v", got)
	}
	if d.partial() {
		t.Error("the last half frame is still waited for")
	}
	if got := decodeAll(d, appendBasic(nil, sabm)); len(got) != 1 {
		t.Errorf("after it: %v", got)
	}
}

// TestDecoderN1 takes N1 octets and not one more.
func TestDecoderN1(t *testing.T) {
	for _, advanced := range []bool{false, true} {
		for _, n1 := range []int{31, 127, 128, 512, 1499} {
			for extra, want := range []int{1, 0} {
				f := frame{dlci: 4, typ: frameUIH, info: bytes.Repeat([]byte{escape}, n1+extra)}
				coded := appendBasic(nil, f)
				if advanced {
					coded = appendAdvanced(nil, f)
				}
				got := decodeAll(&decoder{n1: n1, advanced: advanced}, coded)
				if len(got) != want {
					t.Errorf("N1 %d, %d octets, advanced %t: %d frames", n1, n1+extra, advanced, len(got))
				}
			}
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\xf9\x07\xef\x07\x12\x34\x56\xd3\xf9"), false, uint32(1))     // UIH
	f.Add([]byte("\xff\xf9\x07\x3f\x01\xde\xf9\x07\x73\x01"), false, uint32(2)) // SABM, half a UA
	f.Add([]byte("\xf9\x07\x03\x07\x12\x34\x56\x7a\xf9"), false, uint32(3))     // UI
	f.Add([]byte("\xf9\x07\xef\xfe\x01\xf9\x03\x3f\x01\x1c\xf9"), false, uint32(4))
	f.Add([]byte("\x7e\x07\xef\x12\x34\x56\x05\x7e\x07\x3f\x89\x7e"), true, uint32(5))
	f.Add([]byte("\x7e\x07\x7d\x7e\x7d\x27\x3f\x89\x7e"), true, uint32(6))
	f.Fuzz(func(t *testing.T, in []byte, advanced bool, seed uint32) {
		const n1 = 200
		whole := &decoder{n1: n1, advanced: advanced}
		frames := decodeAll(whole, in)

		// The split does not matter.
		split := &decoder{n1: n1, advanced: advanced}
		r := rand.New(rand.NewSource(int64(seed)))
		var pieces []frame
		for rest := in; len(rest) > 0; {
			n := 1 + r.Intn(min(len(rest), 8))
			pieces = append(pieces, decodeAll(split, rest[:n])...)
			rest = rest[n:]
		}
		sameFrames(t, "split", pieces, frames)

		// Nor does it after the half frame at the end is given up.
		whole.expire()
		split.expire()
		rest := drain(whole)
		sameFrames(t, "expired", drain(split), rest)
		if whole.partial() {
			t.Error("an expired decoder waits")
		}
		frames = append(frames, rest...)

		// What was decoded encodes to the same frames, with or without garbage between.
		var coded []byte
		for _, f := range frames {
			if len(f.info) > n1 || !f.typ.known() {
				t.Fatalf("decoded %v", f)
			}
			if f.dlci > highestDLCI {
				return // such an address may be a flag
			}
			if advanced {
				coded = appendAdvanced(coded, f)
			} else {
				coded = appendBasic(append(coded, "\r\nOK\r\n"...), f)
			}
		}
		sameFrames(t, "again", decodeAll(&decoder{n1: n1, advanced: advanced}, coded), frames)
	})
}

func sameFrames(t *testing.T, what string, got, want []frame) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d frames, want %d", what, len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.dlci != w.dlci || g.typ != w.typ || g.cr != w.cr || g.pf != w.pf || !bytes.Equal(g.info, w.info) {
			t.Errorf("%s: frame %d is %v, want %v", what, i, g, w)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	for _, option := range []string{"basic", "advanced"} {
		for _, n1 := range benchN1 {
			b.Run(option+"/"+itoa(n1), func(b *testing.B) {
				info := make([]byte, n1)
				rand.New(rand.NewSource(1)).Read(info)
				f := frame{dlci: 2, typ: frameUIH, cr: true, info: info}
				d := &decoder{n1: n1, advanced: option == "advanced"}
				var buf []byte
				b.SetBytes(int64(n1))
				b.ReportAllocs()
				for b.Loop() {
					if d.advanced {
						buf = appendAdvanced(buf[:0], f)
					} else {
						buf = appendBasic(buf[:0], f)
					}
					d.feed(buf)
					if _, ok := d.next(); !ok {
						b.Fatal("no frame")
					}
				}
			})
		}
	}
}
