package softuicc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

// wire is a terminal that speaks characters.
type wire struct {
	t   testing.TB
	ctx context.Context
	t0  *T0
}

func newWire(t testing.TB, c *Card, cfg T0Config) wire {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	w := wire{t, ctx, NewT0(c, cfg, LineConfig{})}
	if _, err := w.t0.Reset(ctx, uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	return w
}

// ask sends characters and returns what the card sends.
func (w wire) ask(characters string) string {
	w.t.Helper()
	var out []byte
	if err := w.t0.Exchange(w.ctx, unhex(w.t, characters), func(c byte) { out = append(out, c) }); err != nil {
		w.t.Fatalf("%s: %v", characters, err)
	}
	return toHex(out)
}

func TestT0ProcedureBytes(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg    T0Config
		script [][2]string
	}{
		"all at once": {T0Config{}, [][2]string{
			{"80F2000C00", "9000"},
			{"00A40004023F", "A4"}, // SELECT: header, ACK, and the first of two characters
			{"00", "611F"},
			{"00C000001F", "C0" + "621D8202782183023F00A50380017" + "18A01058B032F0601C606900100830101" + "9000"},
		}},
		"one by one": {T0Config{AckOne: -1}, [][2]string{
			{"00A4000402", "5B"},
			{"2F", "5B"},
			{"05", "6119"},
			{"00B0000002", "4F" + "65" + "4F" + "6E" + "9000"},
		}},
		"one and then the rest": {T0Config{AckOne: 1}, [][2]string{
			{"00A4080404", "5B"},
			{"7F", "A4"},
			{"FF6F07", "6A82"},
		}},
		"time": {T0Config{Nulls: 2}, [][2]string{
			{"00A4000C02", "6060A4"},
			{"3F00", "9000"},
			{"80F2000C00", "60609000"},
		}},
		"refused before data": {T0Config{}, [][2]string{
			{"00A2000002", "6D00"},
			{"50A4000002", "6E00"},
			{"00A4000400", "6700"}, // P3 = 00: no data for an incoming command
		}},
		"6Cxx": {T0Config{}, [][2]string{{"80F2000001", "6C1F"}, {"80F200001F", "F2" + "621D8202782183023F00A5038001718A01058B032F0601C606900100830101" + "9000"}}},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			w := newWire(t, newCard(t, Config{}), tc.cfg)
			for _, step := range tc.script {
				want(t, step[0], w.ask(step[0]), step[1])
			}
			for _, v := range w.t0.Violations() {
				t.Errorf("violation: %v", v)
			}
		})
	}
}

// A warning comes in place of 61xx, and does not tell the length of the data behind it: 6Cxx does.
func TestT0Warning(t *testing.T) {
	warning := func(capdu []byte) uint16 {
		if capdu[1] == insSelect {
			return 0x6283
		}
		return 0
	}
	w := newWire(t, newCard(t, Config{Warning: warning}), T0Config{})
	fcp := toHex(w.t0.card.(*Card).fcp(w.t0.card.(*Card).root.child(0x2F05)))
	for _, step := range [][2]string{
		{"00A4000402", "A4"},
		{"2F05", "6283"},
		{"00C0000000", "6C19"},
		{"00C0000019", "C0" + fcp + "9000"},
		{"00C0000000", "6985"}, // it was fetched
		{"00A4000402", "A4"},
		{"6F07", "6A82"}, // no data, no warning
		{"00C0000000", "6985"},
	} {
		want(t, step[0], w.ask(step[0]), step[1])
	}
}

func TestT0InvalidInstruction(t *testing.T) {
	w := newWire(t, newCard(t, Config{}), T0Config{})
	w.ask("0060000000")
	w.ask("0092000000")
	if v := w.t0.Violations(); len(v) != 2 {
		t.Errorf("violations %v, want two", v)
	}
}

// speedATR offers Fi 512, Di 16 under T=0; anyATR T=0 and then T=1 with TA1 = 18; oneATR T=1 alone.
var (
	speedATR    = []byte{0x3B, 0x10, 0x95}
	anyATR      = []byte{0x3B, 0x90, 0x18, 0x80, 0x01, 0x09}
	oneATR      = []byte{0x3B, 0x80, 0x81, 0x31, 0xFE, 0x55, 0x9B}
	specificATR = []byte{0x3B, 0x90, 0x95, 0x10, 0x00}
)

func TestPPS(t *testing.T) {
	for name, tc := range map[string]struct {
		atr             []byte
		cfg             LineConfig
		request, answer string // "" = mute
		protocol        uicc.Protocol
		fidi            byte
		violations      int
	}{
		"speed":            {speedATR, LineConfig{}, "FF10957A", "FF10957A", 0, 0x95, 0},
		"slower":           {speedATR, LineConfig{}, "FF10947B", "FF10947B", 0, 0x94, 0},
		"default F":        {speedATR, LineConfig{}, "FF1013FC", "FF1013FC", 0, 0x13, 0},
		"beyond the card":  {speedATR, LineConfig{}, "FF109679", "FF00FF", 0, 0x11, 1},
		"RFU":              {speedATR, LineConfig{}, "FF107F90", "FF00FF", 0, 0x11, 1},
		"no speed asked":   {speedATR, LineConfig{}, "FF00FF", "FF00FF", 0, 0x11, 0},
		"speed refused":    {speedATR, LineConfig{RefuseSpeed: true}, "FF10957A", "FF00FF", 0, 0x11, 0},
		"wrong PCK":        {speedATR, LineConfig{}, "FF109500", "", 0, 0x11, 1},
		"RFU bit":          {speedATR, LineConfig{}, "FF90957A", "", 0, 0x11, 1},
		"T=1 not offered":  {speedATR, LineConfig{}, "FF01FE", "", 0, 0x11, 1},
		"second protocol":  {anyATR, LineConfig{}, "FF1118F6", "FF1118F6", 1, 0x18, 0},
		"to specific mode": {specificATR, LineConfig{}, "FF10957A", "", 0, 0x95, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewContacts(newCard(t, Config{ATR: tc.atr}), ContactsConfig{Line: tc.cfg})
			ctx := context.Background()
			atr, err := c.Reset(ctx, uicc.ColdReset)
			if err != nil {
				t.Fatal(err)
			}
			want(t, "ATR", toHex(atr), toHex(tc.atr))
			want(t, "fresh", c.Fresh(), true)
			var answer []byte
			err = c.Characters(ctx, unhex(t, tc.request), func(b byte) { answer = append(answer, b) })
			if mute := errors.Is(err, uicc.ErrMute); mute != (tc.answer == "") || err != nil && !mute {
				t.Errorf("PPS: %v", err)
			}
			want(t, "answer", toHex(answer), tc.answer)
			want(t, "protocol", c.Protocol(), tc.protocol)
			want(t, "Fi and Di", c.FiDi(), tc.fidi)
			want(t, "violations", len(c.Violations()), tc.violations)
			want(t, "fresh after PPS", c.Fresh(), false)
			if _, err := c.Reset(ctx, uicc.WarmReset); err != nil {
				t.Fatal(err)
			}
			if err := c.Characters(ctx, nil, nil); err != nil {
				t.Errorf("after a warm reset: %v", err)
			}
			if err := c.Off(); err != nil {
				t.Fatal(err)
			}
			if err := c.Characters(ctx, []byte{0}, nil); !errors.Is(err, uicc.ErrMute) {
				t.Errorf("without power: %v", err)
			}
		})
	}
}

func TestT0Thinks(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{})
	c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Stuck }})
	w := newWire(t, c, T0Config{NullEvery: time.Millisecond})
	ctx, cancel := context.WithCancel(w.ctx)
	nulls := 0
	err := w.t0.Exchange(ctx, unhex(t, "80F2000C00"), func(b byte) {
		if b != null {
			t.Errorf("character %02X", b)
		}
		if nulls++; nulls == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("stuck card: %v", err)
	}
	c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Mute }})
	if err := w.t0.Exchange(w.ctx, unhex(t, "80F2000C00"), func(byte) {}); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("mute card: %v", err)
	}
	c.SetQuirks(Quirks{})
	answer := w.ask("80F2000C00")
	for strings.HasPrefix(answer, "60") { // as many as the machine is slow
		answer = answer[2:]
	}
	want(t, "next command", answer, "9000")
}

// FuzzT0 sends any characters, whole and cut in two: the card neither panics nor depends on how they are cut.
func FuzzT0(f *testing.F) {
	f.Add([]byte{0x00, 0xA4, 0x00, 0x04, 0x02, 0x3F, 0x00, 0x00, 0xC0, 0, 0, 0x1F}, uint8(3), int8(1))
	f.Add([]byte{0xFF, 0x10, 0x95, 0x7A, 0x80, 0xF2, 0, 0x0C, 0}, uint8(2), int8(-1))
	f.Fuzz(func(t *testing.T, characters []byte, cut uint8, one int8) {
		at := int(cut)
		if at > len(characters) {
			at = len(characters)
		}
		run := func(parts ...[]byte) string {
			c, err := New(Config{ATR: speedATR})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			t0 := NewT0(c, T0Config{AckOne: int(one)}, LineConfig{})
			if _, err := t0.Reset(context.Background(), uicc.ColdReset); err != nil {
				t.Fatal(err)
			}
			var out []byte
			for _, p := range parts {
				if err := t0.Exchange(context.Background(), p, func(b byte) { out = append(out, b) }); err != nil {
					out = append(out, err.Error()...)
					break
				}
			}
			return string(out)
		}
		if whole, cut := run(characters), run(characters[:at], characters[at:]); whole != cut {
			t.Errorf("%X: answers %X, cut after %d %X", characters, whole, at, cut)
		}
	})
}
