package uicc

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
)

func present(v byte) InterfaceByte { return InterfaceByte{v, true} }

// atrs are answers to reset, as sent by the cards named, or after ISO/IEC 7816-3 clause 8.
var atrs = []struct {
	name      string
	b         []byte
	want      ATR
	protocols []Protocol
	fidi      byte
}{
	{"shortest", hx("3B00"), ATR{TS: TSDirect, Groups: []InterfaceGroup{{}}, Historical: []byte{}}, []Protocol{T0}, 0x11},
	{"inverse convention, no TD1", hx("3F6525" + "00" + "2122232425"), ATR{TS: TSInverse,
		Groups: []InterfaceGroup{{TB: present(0x25), TC: present(0)}}, Historical: hx("2122232425")}, []Protocol{T0}, 0x11},
	{"swSIM", hx("3BDF960090103F07008031E0677377696363000073FE210006"), ATR{TS: TSDirect, Groups: []InterfaceGroup{
		{TA: present(0x96), TC: present(0)},
		{T: T0, TA: present(0x10)},                         // after TD1 90; specific mode
		{T: TGlobal, TA: present(0x07), TB: present(0x00)}, // after TD2 3F
	}, Historical: hx("8031E0677377696363000073FE2100")}, []Protocol{T0}, 0x96},
	{"onomondo-uicc", hx("3B9F01801F878031E073FE2100674A4C753034054B25"), ATR{TS: TSDirect, Groups: []InterfaceGroup{
		{TA: present(0x01)}, {T: T0}, {T: TGlobal, TA: present(0x87)},
	}, Historical: hx("8031E073FE2100674A4C753034054B")}, []Protocol{T0}, 0x01},
	{"T=0 and T=1", hx("3B8080" + "01" + "01"), ATR{TS: TSDirect, Groups: []InterfaceGroup{{}, {T: T0}, {T: T1}}, Historical: []byte{}},
		[]Protocol{T0, T1}, 0x11},
	{"T=1 with IFSC and waiting times", hx("3B80" + "81" + "31" + "FE45" + "8B"), ATR{TS: TSDirect, Groups: []InterfaceGroup{
		{}, {T: T1}, {T: T1, TA: present(0xFE), TB: present(0x45)},
	}, Historical: []byte{}}, []Protocol{T1}, 0x11},
}

func TestATR(t *testing.T) {
	for _, tt := range atrs {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseATR(tt.b)
			if err != nil || !reflect.DeepEqual(a, tt.want) {
				t.Fatalf("parsed %+v, %v\nwant   %+v", a, err, tt.want)
			}
			if b, err := a.AppendBinary([]byte{9}); err != nil || !bytes.Equal(b, append([]byte{9}, tt.b...)) {
				t.Errorf("appended %X, %v, want %X", b, err, tt.b)
			}
			if got := a.Protocols(); !reflect.DeepEqual(got, tt.protocols) {
				t.Errorf("protocols %v, want %v", got, tt.protocols)
			}
			if a.FiDi() != tt.fidi {
				t.Errorf("FiDi %02X, want %02X", a.FiDi(), tt.fidi)
			}
		})
	}
}

func TestATRSpecific(t *testing.T) {
	a, err := ParseATR(hx("3B80" + "81" + "31" + "FE45" + "8B"))
	if err != nil {
		t.Fatal(err)
	}
	if g := a.Specific(T1); g.TA != present(0xFE) || g.TB != present(0x45) || g.TC.Present {
		t.Errorf("T=1: %+v", g)
	}
	if g := a.Specific(TGlobal); g != (InterfaceGroup{T: TGlobal}) {
		t.Errorf("T=15: %+v", g)
	}
	if p, ok := a.SpecificMode(); ok {
		t.Errorf("specific mode %v without TA2", p)
	}
	a, err = ParseATR(atrs[2].b)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := a.SpecificMode(); !ok || p != T0 {
		t.Errorf("TA2 10: %v, %v", p, ok)
	}
}

func TestParseATRErrors(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrATR},
		{"TS alone", hx("3B"), ErrATR},
		{"TS not decoded", hx("0300"), ErrATR},
		{"TA1 missing", hx("3B10"), ErrATR},
		{"TD1 missing", hx("3B80"), ErrATR},
		{"historical bytes missing", hx("3B0301" + "02"), ErrATR},
		{"two bytes too many", hx("3B000000"), ErrAfterATR},
		{"a byte behind historical bytes", hx("3B02414200"), ErrAfterATR},
		{"TCK for T=0 alone", hx("3B80" + "00" + "80"), ErrAfterATR},
		{"status word behind it", hx("3B009000"), ErrAfterATR},
		{"TCK absent", hx("3B80" + "01"), ErrTCK},
		{"TCK wrong", hx("3B80" + "01" + "80"), ErrTCK},
		{"a byte after TCK", hx("3B80" + "01" + "8100"), ErrAfterATR},
		{"a byte after a wrong TCK", hx("3B80" + "01" + "8000"), ErrTCK},
		{"longer than any with what follows", append(hx("3B00"), make([]byte, 40)...), ErrAfterATR},
		{"too long", append(append(hx("3BFF"), bytes.Repeat(hx("111111F0"), 4)...), make([]byte, 40)...), ErrATR},
		{"TD chain without end", append(hx("3B80"), bytes.Repeat([]byte{0x80}, 31)...), ErrATR},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseATR(tt.b)
			if !errors.Is(err, tt.want) {
				t.Fatalf("%+v, %v", a, err)
			}
			if tt.want == ErrTCK && a.Protocols()[0] != T1 {
				t.Error("ErrTCK without the ATR")
			}
			if ATRUsable(err) != (tt.want != ErrATR) {
				t.Errorf("%v: usable %v", err, ATRUsable(err))
			}
			if tt.want == ErrAfterATR && a.TS != TSDirect {
				t.Errorf("ErrAfterATR without the ATR: %+v", a)
			}
		})
	}
}

func TestATRAppendErrors(t *testing.T) {
	long := make([]InterfaceGroup, 20)
	for name, a := range map[string]ATR{
		"no group":          {TS: TSDirect},
		"16 historical":     {TS: TSDirect, Groups: make([]InterfaceGroup, 1), Historical: make([]byte, 16)},
		"T of first group":  {TS: TSDirect, Groups: []InterfaceGroup{{T: T1}}},
		"more than 33":      {TS: TSDirect, Groups: long, Historical: make([]byte, 15)},
		"more than 33 only": {TS: TSDirect, Groups: make([]InterfaceGroup, 33)},
	} {
		if b, err := a.AppendBinary([]byte{1}); !errors.Is(err, ErrATR) || len(b) != 1 {
			t.Errorf("%s: %X, %v", name, b, err)
		}
	}
}

// FuzzParseATR: what parses gives the same bytes again, and some protocol is offered.
func FuzzParseATR(f *testing.F) {
	for _, a := range atrs {
		f.Add(a.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseATR(b)
		if err != nil {
			if !errors.Is(err, ErrATR) && !ATRUsable(err) {
				t.Fatalf("error of another kind: %v", err)
			}
			if errors.Is(err, ErrAfterATR) {
				if got, err := a.AppendBinary(nil); err != nil || len(got) >= len(b) || !bytes.HasPrefix(b, got) {
					t.Fatalf("%X gave %X, %v", b, got, err)
				}
			}
			return
		}
		got, err := a.AppendBinary(nil)
		if err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%X gave %X, %v", b, got, err)
		}
		if len(a.Protocols()) == 0 || len(a.Historical) > maxHistorical || len(a.Groups) == 0 {
			t.Fatalf("%+v", a)
		}
	})
}

func ExampleATR_Protocols() {
	a, err := ParseATR([]byte{0x3B, 0x80, 0x80, 0x01, 0x01})
	fmt.Println(a.Protocols(), err)
	// Output: [T=0 T=1] <nil>
}
