package ccid

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bipd/internal/ccidemu"
	"bipd/uicc"
)

// qemuDescriptor is of QEMU's usb-ccid, as its device shows it.
const qemuDescriptor = "36211001000701000000a00f000000000100008025000000c2010000fe0000000000000000000000fe04010012000100ffff00000101"

func TestDescriptor(t *testing.T) {
	b := unhex(t, qemuDescriptor)
	d, err := ParseDescriptor(b)
	if err != nil {
		t.Fatal(err)
	}
	if d.Release != 0x0110 || d.Voltages != Volt5|Volt3|Volt1V8 || d.Protocols != 1 || d.DefaultClock != 4000 || d.MaxIFSD != 254 ||
		d.Features != 0x000104FE || d.MaxMessage != 65554 || d.ClassGetResponse != 0xFF || d.ClassEnvelope != 0xFF || d.PINSupport != 1 || d.MaxBusySlots != 1 {
		t.Errorf("%+v", d)
	}
	if d.Level() != LevelTPDU || d.Slots() != 1 || d.Voltages.String() != "5/3/1.8 V" {
		t.Errorf("level %v, %d slots, %v", d.Level(), d.Slots(), d.Voltages)
	}
	if got, _ := d.AppendBinary(nil); !bytes.Equal(got, b) {
		t.Errorf("written as %X", got)
	}
	for _, m := range ccidemu.Models() {
		b := m.ClassDescriptor()
		d, err := FindDescriptor(append([]byte{3, 0x24, 0}, b...))
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if got, _ := d.AppendBinary(nil); !bytes.Equal(got, b) {
			t.Errorf("%s is written as %X", m.Name, got)
		}
		if d.Slots() != m.Slots || uint32(d.Features) != m.Features || d.MaxMessage != m.MaxMessage {
			t.Errorf("%s: %+v", m.Name, d)
		}
	}
}

func TestDescriptorErrors(t *testing.T) {
	change := func(at int, v byte) []byte {
		b := unhex(t, qemuDescriptor)
		b[at] = v
		return b
	}
	for name, b := range map[string][]byte{
		"empty":            nil,
		"short":            unhex(t, qemuDescriptor)[:53],
		"long":             append(unhex(t, qemuDescriptor), 0),
		"length":           change(0, 53),
		"type":             change(1, 0x22),
		"two levels":       change(42, 0x03),
		"tiny messages":    append(append(unhex(t, qemuDescriptor)[:44], 10, 0, 0, 0), unhex(t, qemuDescriptor)[48:]...),
		"nothing but zero": make([]byte, 54),
	} {
		if _, err := ParseDescriptor(b); !errors.Is(err, ErrDescriptor) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := FindDescriptor(b); name != "long" && !errors.Is(err, ErrDescriptor) {
			t.Errorf("%s, searched: %v", name, err)
		}
	}
}

// What a descriptor says beyond reason is cut to what there is.
func TestDescriptorBounds(t *testing.T) {
	d := Descriptor{MaxMessage: 1<<32 - 1, MaxBusySlots: 9, DefaultClock: 1 << 31}
	if d.room() != maxExtended || d.busySlots() != 1 || d.clock() != 1000 {
		t.Errorf("room %d, %d slots busy, %d kHz", d.room(), d.busySlots(), d.clock())
	}
	d = Descriptor{MaxMessage: 11, MaxSlot: 255}
	if d.room() != 1 || d.Slots() != 256 || d.busySlots() != 1 {
		t.Errorf("room %d, %d slots, %d busy", d.room(), d.Slots(), d.busySlots())
	}
}

func TestLevels(t *testing.T) {
	for l, want := range map[Level]string{LevelCharacter: "character", LevelTPDU: "TPDU", LevelShort: "short APDU", LevelExtended: "short and extended APDU", 9: "level 9"} {
		if l.String() != want {
			t.Errorf("%q, want %q", l, want)
		}
	}
	if Voltages(0).String() != "none" {
		t.Error(Voltages(0))
	}
}

func TestMessages(t *testing.T) {
	for _, tc := range []struct {
		c    command
		want string
	}{
		{command{typ: typeGetSlotStatus}, "65 00000000 02 07 000000"},
		{command{typ: typePowerOn, specific: [3]byte{1}}, "62 00000000 02 07 010000"},
		{command{typ: typeXfrBlock, specific: [3]byte{3, 1, 0}, data: []byte{0, 0xA4, 0, 4, 2, 0x3F, 0}}, "6F 07000000 02 07 030100 00A40004023F00"},
	} {
		if got := tc.c.append(nil, 2, 7); !bytes.Equal(got, unhex(t, tc.want)) {
			t.Errorf("%v: %X, want %s", tc.c.typ, got, tc.want)
		}
	}
	for _, tc := range []struct {
		msg  string
		want answer
	}{
		{"80 02000000 00 0D 00 00 00 9000", answer{typ: typeDataBlock, seq: 0x0D, data: []byte{0x90, 0}}},
		{"80 00000000 01 05 80 05 00", answer{typ: typeDataBlock, slot: 1, seq: 5, command: commandExtended, err: 5, data: []byte{}}},
		{"81 00000000 00 03 42 FE 01", answer{typ: typeSlotStatus, seq: 3, icc: iccAbsent, command: commandFailed, err: 0xFE, param: 1, data: []byte{}}},
		{"82 00000000 00 02 00 00 00 0000000000FE00", answer{typ: typeParameters, seq: 2, data: []byte{}}}, // more than announced
	} {
		got := parseAnswer(unhex(t, tc.msg))
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tc.want) {
			t.Errorf("%s: %+v", tc.msg, got)
		}
	}
	for typ, want := range map[messageType]messageType{
		typeSetParameters: typeParameters, typePowerOn: typeDataBlock, typePowerOff: typeSlotStatus, typeGetSlotStatus: typeSlotStatus,
		typeXfrBlock: typeDataBlock, typeAbort: typeSlotStatus, typeSetDataRate: typeDataRate,
	} {
		if typ.answer() != want || strings.HasPrefix(typ.String(), "message") || strings.HasPrefix(want.String(), "message") {
			t.Errorf("%v is answered by %v", typ, typ.answer())
		}
	}
	if got := messageType(0x42).String(); got != "message 42" {
		t.Error(got)
	}
}

func TestSlotChange(t *testing.T) {
	bitmap := []byte{0b11_01_10_00, 0b11}
	for n, want := range []slotChange{{}, {changed: true}, {present: true}, {true, true}, {true, true}, {}} {
		if got := parseSlotChange(bitmap, n); got != want {
			t.Errorf("slot %d: %+v, want %+v", n, got, want)
		}
	}
	if got := parseSlotChange(bitmap, 8); got != (slotChange{}) {
		t.Errorf("beyond the end: %+v", got)
	}
}

func TestSelector(t *testing.T) {
	reader := IDs{Path: "1-1.2", Vendor: 0x08E6, Product: 0x3437, Serial: "21120822", Name: "USB SmartCard Reader"}
	for text, tc := range map[string]struct {
		want    Selector
		matches bool
	}{
		"*":                     {Selector{Slot: AllSlots}, true},
		"*,slot=1":              {Selector{Slot: 1}, true},
		"path=1-1.2":            {Selector{Path: "1-1.2"}, true},
		"path=1-1,slot=3":       {Selector{Path: "1-1", Slot: 3}, false},
		"id=08e6:3437":          {Selector{Vendor: 0x08E6, Product: 0x3437}, true},
		"id=08e6:3438":          {Selector{Vendor: 0x08E6, Product: 0x3438}, false},
		"serial=21120822":       {Selector{Serial: "21120822"}, true},
		"serial=2112":           {Selector{Serial: "2112"}, false},
		"name=smartcard":        {Selector{Name: "smartcard"}, true},
		"name=a=b,c=d,slot=255": {Selector{Name: "a=b,c=d", Slot: 255}, false},
	} {
		s, err := ParseSelector(text)
		if err != nil || s != tc.want || s.String() != text || s.Matches(reader) != tc.matches {
			t.Errorf("%s: %+v, %v, written as %q, matches %v", text, s, err, s, s.Matches(reader))
		}
	}
	if s, err := ParseSelector("id=08E6:3437,slot=0"); err != nil || s.String() != "id=08e6:3437" {
		t.Errorf("%v, %v", s, err)
	}
	for _, text := range []string{"", "x", "path=", "id=", "id=8e6:3437", "id=08e6", "id=zzzz:0000", "id=0000:0001", "usb=1", "*,slot=", "*,slot=256", "*,slot=-1", "path=1-1,slot=x", "**"} {
		if s, err := ParseSelector(text); !errors.Is(err, ErrSelector) {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func TestIDs(t *testing.T) {
	ids := IDs{Path: "1-1.2", Vendor: 0x08E6, Product: 0x3437, Name: "PC Twin"}
	if got := ids.SlotName(1) + ", " + ids.SlotID(1) + ", " + ids.VIDPID(); got != "PC Twin [1-1.2] slot 1, 1-1.2.1, 08e6:3437" {
		t.Error(got)
	}
	ids.Name = ""
	if got := ids.SlotName(0); got != "08e6:3437 [1-1.2] slot 0" {
		t.Error(got)
	}
}

// The parameters of an answer to reset, as SetParameters carries them.
func TestParameters(t *testing.T) {
	as := atrs()
	for _, tc := range []struct {
		atr      string
		protocol uicc.Protocol
		want     string
		wait     time.Duration // at 4 MHz
	}{
		{"plain", uicc.T0, "11 00 00 0A 00", 892800 * time.Microsecond},
		{"inverse, guard time", uicc.T0, "11 02 03 0A 00", 892800 * time.Microsecond},
		{"fast", uicc.T0, "94 00 00 0A 00", 1228800 * time.Microsecond},
		{"WI of 20", uicc.T0, "11 00 00 14 00", 1785600 * time.Microsecond},
		{"class B and C", uicc.T0, "11 00 00 0A 01", 892800 * time.Microsecond},
		{"T=1, LRC", uicc.T1, "11 10 00 45 00 FE 00", 1429503 * time.Microsecond},
		{"T=1, CRC, fast", uicc.T1, "95 11 00 45 00 FE 00", 1428568 * time.Microsecond},
		{"T=1, short blocks", uicc.T1, "13 10 00 45 00 08 00", 1428735 * time.Microsecond},
	} {
		a := as[tc.atr]
		if a.TS == 0 {
			a.TS = uicc.TSDirect
		}
		p := parametersOf(a, tc.protocol, a.FiDi())
		if got := p.appendBinary(nil); !bytes.Equal(got, unhex(t, tc.want)) {
			t.Errorf("%s: % X, want %s", tc.atr, got, tc.want)
		}
		if got := p.waitingTime(Descriptor{DefaultClock: 4000}).Truncate(time.Microsecond); got != tc.wait {
			t.Errorf("%s: waiting time %v, want %v", tc.atr, got, tc.wait)
		}
	}
}

// The rate is TA1's, or a slower one that the reader has.
func TestRates(t *testing.T) {
	d := Descriptor{DefaultClock: 4000, MaxDataRate: 344086}
	for _, tc := range []struct {
		ta1   byte
		max   uint32
		rates []uint32
		want  byte
	}{
		{0x11, 344086, nil, 0x11},
		{0x94, 344086, nil, 0x94},
		{0x97, 344086, nil, 0x96}, // 500000 is too much, 250000 is not
		{0x97, 0, nil, 0x97},
		{0x98, 50000, nil, 0x93},
		{0x18, 344086, nil, 0x18}, // D = 12
		{0x19, 200000, nil, 0x15},
		{0x19, 150000, nil, 0x18},
		{0xF4, 344086, nil, 0x11},
		{0x1F, 344086, nil, 0x11},
		{0x94, 1000, nil, 0x11},
		{0x95, 344086, []uint32{10753, 62500, 250000}, 0x94},
		{0x95, 344086, []uint32{10753}, 0x11},
		{0x12, 344086, []uint32{21400}, 0x12}, // 21505, rounded
		{0x01, 344086, nil, 0x11},
	} {
		d.MaxDataRate = tc.max
		a := uicc.ATR{TS: uicc.TSDirect, Groups: []uicc.InterfaceGroup{{TA: is(tc.ta1)}}}
		if got := d.rateFor(a, tc.rates); got != tc.want {
			t.Errorf("TA1 %02X, at most %d, of %v: %02X, want %02X", tc.ta1, tc.max, tc.rates, got, tc.want)
		}
	}
}

func TestProtocolFor(t *testing.T) {
	as := atrs()
	for _, tc := range []struct {
		reader uint32
		atr    string
		want   uicc.Protocol
		fails  bool
	}{
		{3, "plain", uicc.T0, false},
		{0, "plain", uicc.T0, false},
		{3, "T=0 and T=1", uicc.T0, false},
		{2, "T=0 and T=1", uicc.T1, false},
		{3, "T=1, LRC", uicc.T1, false},
		{1, "T=1, LRC", 0, true},
		{2, "specific mode", 0, true},
		{3, "specific mode", uicc.T0, false},
	} {
		got, err := Descriptor{Protocols: tc.reader}.protocolFor(as[tc.atr])
		if got != tc.want || (err != nil) != tc.fails || err != nil && !errors.Is(err, ErrNotSupported) {
			t.Errorf("%d, %s: %v, %v", tc.reader, tc.atr, got, err)
		}
	}
}

func TestSupplies(t *testing.T) {
	for _, tc := range []struct {
		d    Descriptor
		want []byte
	}{
		{Descriptor{Voltages: Volt5 | Volt3 | Volt1V8}, []byte{power1V8, power3V, power5V}},
		{Descriptor{Voltages: Volt5 | Volt3}, []byte{power3V, power5V}},
		{Descriptor{Voltages: Volt5}, []byte{power5V}},
		{Descriptor{}, []byte{power5V}},
		{Descriptor{Voltages: Volt5 | Volt3, Features: AutoVoltage}, []byte{powerAuto}},
	} {
		var got []byte
		for _, s := range tc.d.supplies() {
			got = append(got, s.selection)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v, want %v", tc.d.Voltages, got, tc.want)
		}
	}
}

func TestTPDU(t *testing.T) {
	for capdu, want := range map[string]string{
		"80F2000C": "80F2000C00", "80F2000016": "80F2000016", "8014000002D100": "8014000002D100", "00A40004023F0000": "00A40004023F00",
	} {
		if got := new(t0).tpdu(unhex(t, capdu)); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: %X, want %s", capdu, got, want)
		}
		cmd, err := uicc.ParseCommand(unhex(t, capdu))
		if err != nil {
			t.Fatal(err)
		}
		if theirs, _ := cmd.TPDU(); !bytes.Equal(theirs, unhex(t, want)) {
			t.Errorf("%s: uicc has %X", capdu, theirs)
		}
	}
}

func TestBlocks(t *testing.T) {
	for _, tc := range []struct {
		b    block
		crc  bool
		want string
	}{
		{iBlock(1, false, []byte{0x90, 0}), false, "00 40 02 9000 D2"},
		{iBlock(0, true, []byte{1}), false, "00 20 01 01 20"},
		{rBlock(1, rEDC), false, "00 91 00 91"},
		{block{pcbS | sIFS, []byte{0xFE}}, false, "00 C1 01 FE 3E"},
		{block{pcbS | sIFS, []byte{0xFE}}, true, "00 C1 01 FE 54 4E"},
	} {
		got := tc.b.append(nil, tc.crc)
		if !bytes.Equal(got, unhex(t, tc.want)) {
			t.Errorf("%+v: % X, want %s", tc.b, got, tc.want)
		}
		if b, fault := parseBlock(got, tc.crc); fault != rOK || b.pcb != tc.b.pcb || !bytes.Equal(b.inf, tc.b.inf) {
			t.Errorf("% X: %+v, %d", got, b, fault)
		}
	}
	for b, want := range map[string]byte{
		"": rOther, "00 40": rOther, "00 40 02 90 D2": rOther, "00 40 02 9000 D3": rEDC, "00 40 01 9000 D2": rOther,
		"00 83 00 83": rOther, "00 80 01 00 81": rOther, "00 C1 00 C1": rOther, "00 C1 01 FF 3F": rOther, "00 C1 01 00 C0": rOther,
		"00 C4 00 C4": rOther, "00 41 00 41": rOther, "00 C0 01 00 C1": rOther,
	} {
		if got, fault := parseBlock(unhex(t, b), false); fault != want {
			t.Errorf("%s: %+v, fault %d, want %d", b, got, fault, want)
		}
	}
}
