package uicc

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"
)

// hx decodes a hexadecimal string of a test.
func hx(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// longData is the largest data field.
var longData = bytes.Repeat([]byte{0x5A}, MaxData)

// commands are command APDUs, what they mean, and the bytes that T=0 carries for them.
var commands = []struct {
	name  string
	capdu []byte
	want  Command
	cas   int
	tpdu  []byte
}{
	{"case 1", hx("00440000"), Command{CLA: 0x00, INS: 0x44}, 1, hx("0044000000")},
	{"STATUS, case 2", hx("80F2000C02"), Command{CLA: 0x80, INS: 0xF2, P2: 0x0C, Le: 2}, 2, hx("80F2000C02")},
	{"FETCH of 256 bytes", hx("8012000000"), Command{CLA: 0x80, INS: 0x12, Le: 256}, 2, hx("8012000000")},
	{"TERMINAL PROFILE, case 3", hx("8010000003FFFFFF"), Command{CLA: 0x80, INS: 0x10, Data: hx("FFFFFF")}, 3, hx("8010000003FFFFFF")},
	{"SELECT, case 4", hx("00A40004023F0000"), Command{INS: 0xA4, P2: 4, Data: hx("3F00"), Le: 256}, 4, hx("00A40004023F00")},
	{"case 4, Le 1", hx("A0C200000111" + "01"), Command{CLA: 0xA0, INS: 0xC2, Data: hx("11"), Le: 1}, 4, hx("A0C200000111")},
	{"longest", append(append(hx("80C20000FF"), longData...), 0), Command{CLA: 0x80, INS: 0xC2, Data: longData, Le: 256}, 4,
		append(hx("80C20000FF"), longData...)},
}

func TestCommand(t *testing.T) {
	for _, tt := range commands {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseCommand(tt.capdu)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("parsed %+v, %v, want %+v", got, err, tt.want)
			}
			if got.Case() != tt.cas {
				t.Errorf("case %d, want %d", got.Case(), tt.cas)
			}
			if b, err := got.MarshalBinary(); err != nil || !bytes.Equal(b, tt.capdu) {
				t.Errorf("bytes %X, %v, want %X", b, err, tt.capdu)
			}
			if b, err := got.TPDU(); err != nil || !bytes.Equal(b, tt.tpdu) {
				t.Errorf("TPDU %X, %v, want %X", b, err, tt.tpdu)
			}
			if b, _ := got.AppendBinary([]byte{7}); !bytes.Equal(b, append([]byte{7}, tt.capdu...)) {
				t.Errorf("appended %X", b)
			}
		})
	}
}

func TestParseCommandErrors(t *testing.T) {
	for name, capdu := range map[string][]byte{
		"empty":                  {},
		"half a header":          hx("00A400"),
		"data is short":          hx("00A40004023F"),
		"data is missing":        hx("00A4000403" + "3F00"),
		"a byte is left over":    hx("00A40004023F000000"),
		"Lc is 00":               hx("00A400040000"),
		"extended Le":            hx("00B00000000000"),
		"extended Lc":            append(hx("00D60000000001"), 1),
		"class of PPS":           hx("FF100000"),
		"INS looks like SW1":     hx("0061000000"),
		"INS looks like SW1 9x":  hx("0091000000"),
		"more than a short APDU": make([]byte, MaxCommand+1),
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := ParseCommand(capdu); !errors.Is(err, ErrCommand) {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}

func TestCommandAppendErrors(t *testing.T) {
	for name, c := range map[string]Command{
		"256 bytes of data": {Data: make([]byte, 256)},
		"Le 257":            {Le: 257},
		"Le -1":             {Le: -1},
		"class of PPS":      {CLA: 0xFF},
		"INS":               {INS: 0x6F},
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := c.AppendBinary([]byte{1}); !errors.Is(err, ErrCommand) || !bytes.Equal(b, []byte{1}) {
				t.Errorf("%X, %v", b, err)
			}
			if _, err := c.TPDU(); name != "Le 257" && name != "Le -1" && !errors.Is(err, ErrCommand) {
				t.Errorf("TPDU: %v", err)
			}
		})
	}
}

func TestCommandStringHidesData(t *testing.T) {
	c := Command{CLA: 0, INS: 0x20, P2: 1, Data: []byte("1234\xFF\xFF\xFF\xFF"), Le: 5}
	if got, want := c.String(), "00 20 00 01 Lc 8 Le 5"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzParseCommand: what parses gives the same bytes again, its fields are within their limits, and its TPDU is a
// command APDU that is its own TPDU.
func FuzzParseCommand(f *testing.F) {
	for _, c := range commands {
		f.Add(c.capdu)
	}
	f.Add(hx("00A400040000"))
	f.Fuzz(func(t *testing.T, capdu []byte) {
		c, err := ParseCommand(capdu)
		if err != nil {
			if !errors.Is(err, ErrCommand) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if len(c.Data) > MaxData || c.Le < 0 || c.Le > MaxLe {
			t.Fatalf("out of limits: %v", c)
		}
		if b, err := c.MarshalBinary(); err != nil || !bytes.Equal(b, capdu) {
			t.Fatalf("%X gave %X, %v", capdu, b, err)
		}
		tpdu, err := c.TPDU()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseCommand(tpdu)
		if err != nil {
			t.Fatalf("TPDU %X: %v", tpdu, err)
		}
		if b, err := again.TPDU(); err != nil || !bytes.Equal(b, tpdu) || !bytes.Equal(again.Data, c.Data) {
			t.Fatalf("TPDU %X of TPDU %X, %v", b, tpdu, err)
		}
	})
}
