package softuicc

import (
	"bytes"
	"context"
	"encoding/hex"
	"strings"
	"testing"

	"bipd/uicc"
)

// exchange is one APDU and its answer: data, status word; "~" before data means that it begins so.
type exchange struct{ apdu, answer string }

func play(t *testing.T, card uicc.Card, exchanges []exchange) {
	t.Helper()
	e := newTerminal(t, card)
	for i, x := range exchanges {
		r, err := card.Transmit(e.ctx, unhex(t, x.apdu))
		if err != nil {
			t.Fatalf("%d: %s: %v", i, x.apdu, err)
		}
		got := strings.ToUpper(hex.EncodeToString(r))
		wanted := strings.ReplaceAll(x.answer, " ", "")
		if begin, ok := strings.CutPrefix(wanted, "~"); ok {
			if !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, "9000") {
				t.Errorf("%d: %s: answer %s, want %s...9000", i, x.apdu, got, begin)
			}
		} else if got != wanted {
			t.Errorf("%d: %s: answer %s, want %s", i, x.apdu, got, wanted)
		}
	}
}

func TestUICC(t *testing.T) {
	cases := map[string]struct {
		cfg       Config
		exchanges []exchange
	}{
		"select and read": {Config{ICCID: "8949012345678901236"}, []exchange{
			{"00A40004023F00", "611F"},
			{"00C000001F", "~621D 82027821 83023F00"},
			{"00A4000C022FE2", "9000"},
			{"00B0000000", "6C0A"},
			{"00B000000A", "98941032547698103 2F6 9000"},
			{"00B0000804", "6C02"},
			{"00B0000A01", "6B00"},
			{"00B0820002", "9894 9000"},
			{"00B2010430", "6981"},
			{"00A4000C026FFF", "6A82"},
			{"00A4010C023F00", "6A86"},
			{"00A40000023F00", "6A86"},
			{"00A4000C", "6700"},
			{"00A4000C033F0000", "6700"},
			{"00A4000C023F", "6700"},
		}},
		"case 4 with Le, GET RESPONSE in parts": {Config{}, []exchange{
			{"00A40004023F0000", "611F"},
			{"00C0000004", "621D8202 611B"},
			{"00C0000030", "6C1B"},
			{"00C001001B", "6A86"},
			{"00C000001B", "~7821"},
			{"00C000001B", "6985"},
			{"00A40004023F00", "611F"},
			{"80F2000C00", "9000"},
			{"00C000001F", "6985"},
		}},
		"EF_DIR and the USIM": {Config{Label: "tester", IMSI: "262011234567890"}, []exchange{
			{"00A4080C022F00", "9000"},
			{"00B2010400", "6C30"},
			{"00B2010430", "~611A4F10A0000000871002FFFFFFFF89030200005006746573746572FFFF"},
			{"00B2020430", "~FFFF"},
			{"00B2030430", "6A83"},
			{"00B2000230", "~611A"},
			{"00B2000230", "~FFFF"},
			{"00B2000230", "6A83"},
			{"00B2000330", "~611A"},
			{"00B2000430", "~611A"},
			{"00B2000530", "6A86"},
			{"00B201F430", "~611A"},
			{"00B0000000", "6981"},
			{"00A4040C07A0000000871002", "9000"},
			{"00A4040C07A0000000871004", "6A82"},
			{"00A4040C04A0000000", "6A82"},
			{"00A4040C10A0000000871002FFFFFFFF8903020000", "9000"},
			{"00A4000C026F07", "9000"},
			{"00B0000009", "08 29 26 10 21 43 65 87 09 9000"},
			{"00A4080C047FFF6FAD", "9000"},
			{"00B0000004", "00000002 9000"},
			{"00A4090C026F05", "9000"},
			{"00B0000002", "656E 9000"},
			{"80F2000100", "6C12"},
			{"80F2000112", "8410A0000000871002FFFFFFFF8903020000 9000"},
			{"80F2000000", "6C2D"},
			{"80F200002D", "~622B8202782184 10A0000000871002"},
			{"80F2010C00", "9000"},
			{"80F2030C00", "6A86"},
			{"80F2000500", "6A86"},
			{"80F2000C01", "6700"},
			{"00A4000C023F00", "9000"},
			{"00B0000001", "6986"},
			{"00A4000C027FFF", "9000"},
		}},
		"without application": {Config{}, []exchange{
			{"00A4000C027FFF", "6A82"},
			{"80F2000100", "6985"},
		}},
		"classes and instructions": {Config{}, []exchange{
			{"A0A40000023F00", "6E00"},
			{"80A4000C023F00", "6E00"},
			{"00F2000C00", "6E00"},
			{"80AA000000", "6D00"},
			{"002C000100", "6D00"},
			{"0070000001", "6881"},
			{"01A4000C023F00", "6881"},
			{"FF00000000", "6E00"},
			{"00", "6700"},
			{"", "6700"},
			{"8012000000", "6985"},
			{"8014000001FF", "6985"},
			{"80C20000020000", "6985"},
			{"8010000000", "6700"},
		}},
		"PIN": {Config{PIN: "1234"}, []exchange{
			{"00A4040C07A0000000871002", "9000"},
			{"00A4000C026F07", "9000"},
			{"00B0000009", "6982"},
			{"0020000100", "63C3"},
			{"002000010831323335FFFFFFFF", "63C2"},
			{"00200001083132333431323334", "63C1"},
			{"0020000104 31323334", "6700"},
			{"0020000108 31323334FFFFFFFF", "9000"},
			{"0020000100", "63C3"},
			{"00B0000009", "~08"},
			{"0020008108 31323334FFFFFFFF", "6A88"},
			{"0020010100", "6A86"},
			{"002000010830303030FFFFFFFF", "63C2"},
			{"00B0000009", "6982"},
			{"002000010830303030FFFFFFFF", "63C1"},
			{"002000010830303030FFFFFFFF", "6983"},
			{"0020000108 31323334FFFFFFFF", "6983"},
			{"0020000100", "6983"},
		}},
		"PIN disabled": {Config{}, []exchange{
			{"0020000100", "6984"},
			{"00A4040C07A0000000871002", "9000"},
			{"00A4000C026F07", "9000"},
			{"00B0000009", "~08"},
		}},
		"GSM": {Config{GSM: true, IMSI: "26201123456789", PIN: "0000"}, []exchange{
			{"00A4000C023F00", "6E00"},
			{"80F2000C00", "6E00"},
			{"A0A40000023F00", "9F17"},
			{"A0C0000017", "~0000400 03F00 01"},
			{"A0A40000022FE2", "9F0F"},
			{"A0C000000F", "0000000A2FE20400 04FF44010200 00 9000"},
			{"A0B000000A", "~9888"},
			{"A0B0000000", "670A"},
			{"A0B0000F01", "6B00"},
			{"A0A40000026F07", "9404"},
			{"A0A40000027F20", "9F17"},
			{"A0A40000026F07", "9F0F"},
			{"A0B0000009", "9804"},
			{"A02000010831313131FFFFFFFF", "9804"},
			{"A02000010830303030FFFFFFFF", "9000"},
			{"A0B0000009", "~08 21 26 10 21 43 65 87 F9"},
			{"A0F2000016", "~000040007F2002"},
			{"A0F2000018", "6717"},
			{"A0B2010401", "9408"},
			{"A0A4000C027F20", "6B00"},
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { play(t, newCard(t, c.cfg), c.exchanges) })
	}
}

func TestConfigRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"ICCID": {ICCID: "89x"}, "long ICCID": {ICCID: strings.Repeat("1", 21)}, "IMSI": {IMSI: "1234567890123456"},
		"short PIN": {PIN: "123"}, "PIN": {PIN: "12a4"}, "IMSI letters": {IMSI: "abc"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestResetAndPower(t *testing.T) {
	c := newCard(t, Config{PIN: "1234"})
	e := newTerminal(t, c)
	e.expect("00A4040C07A0000000871002", swOK)
	e.expect("002000010831323334FFFFFFFF", swOK)
	e.expect("002000010831323335FFFFFFFF", swRetries|2)
	if err := c.Reset(e.ctx, uicc.WarmReset); err != nil {
		t.Fatal(err)
	}
	e.expect("00A4000C027FFF", swFileNotFound)
	e.expect("0020000100", swRetries|2)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Transmit(e.ctx, []byte{0, 0xA4, 0, 0}); err != uicc.ErrMute {
		t.Errorf("APDU without power: %v", err)
	}
	if err := c.Reset(e.ctx, uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	e.expect("00A4000C023F00", swOK)
	if atr := c.ATR(); len(atr) < 2 || atr[0] != 0x3B || int(atr[1]&0x0F) != len(atr)-2 {
		t.Errorf("ATR %X", atr)
	}
}

// FuzzAPDU feeds a card with an applet whatever comes: each answer ends with a sound status word.
func FuzzAPDU(f *testing.F) {
	for _, s := range []string{
		"00A40004023F00 00C0000024", "80100000 02 FFFF 80F2000C00 801200000B 8014000003810301", "A0A40000023F00",
		"801000000101 80C2000003D60199", "00B2010430",
	} {
		b, _ := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, script []byte, gsm bool) {
		applet := func(ctx context.Context, tk *Toolkit) error {
			for {
				if _, err := tk.DoRaw(ctx, []byte{0xD0, 0x09, 0x81, 3, 1, 2, 0, 0x82, 2, 0x81, 0x82}); err != nil {
					return onlyReset(err)
				}
			}
		}
		c, err := New(Config{GSM: gsm, Applets: []Applet{applet}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for len(script) > 0 { // each APDU is as long as its first octets say, or what is left
			n := len(script)
			if n > 5 {
				n = min(n, 5+int(script[4]))
			}
			in := bytes.Clone(script[:n])
			r, err := c.Transmit(context.Background(), in)
			if err != nil {
				t.Fatalf("%X: %v", in, err)
			}
			if !bytes.Equal(in, script[:n]) {
				t.Fatalf("%X: the card wrote into the command", script[:n])
			}
			if len(r) < 2 || len(r) > 258 {
				t.Fatalf("%X: answer of %d octets", in, len(r))
			}
			if sw1 := r[len(r)-2]; sw1>>4 != 6 && sw1>>4 != 9 || sw1 == 0x60 {
				t.Fatalf("%X: status word %X", in, r[len(r)-2:])
			}
			script = script[n:]
		}
	})
}
