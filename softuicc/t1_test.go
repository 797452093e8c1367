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

// Answers to reset of cards with T=1: IFSC 254; IFSC 16; and CRC with IFSC 32.
var (
	t1Small = []byte{0x3B, 0x80, 0x81, 0x31, 0x10, 0x45, 0x65}
	t1CRC   = []byte{0x3B, 0x80, 0x81, 0x41, 0x01, 0x41}
)

// blocks is a terminal that speaks blocks.
type blocks struct {
	t   testing.TB
	ctx context.Context
	c   *Card
	t1  *T1
}

func newBlocks(t testing.TB, cfg Config, t1 T1Config) blocks {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	if cfg.ATR == nil {
		cfg.ATR = oneATR
	}
	if _, err := uicc.ParseATR(cfg.ATR); err != nil {
		t.Fatal(err)
	}
	c := newCard(t, cfg)
	b := blocks{t, ctx, c, NewT1(c, t1, LineConfig{})}
	if _, err := b.t1.Reset(ctx, uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	return b
}

// block is a block in hex without its redundancy code; the length is put in where the text has "..".
func (b blocks) block(s string) []byte {
	b.t.Helper()
	s = strings.ReplaceAll(s, " ", "")
	if strings.Contains(s, "..") {
		n := len(strings.SplitN(s, "..", 2)[1]) / 2
		s = strings.Replace(s, "..", toHex([]byte{byte(n)}), 1)
	}
	raw := unhex(b.t, s)
	return append(raw, b.t1.edc(raw)...)
}

// script sends blocks and wants blocks, in turn; "-" is silence, "*" any block.
func (b blocks) script(steps ...string) {
	b.t.Helper()
	for i := 0; i+1 < len(steps); i += 2 {
		got, err := b.t1.Exchange(b.ctx, b.block(steps[i]))
		switch want := steps[i+1]; {
		case want == "-":
			if !errors.Is(err, uicc.ErrMute) {
				b.t.Fatalf("step %d, %s: answer %X, %v, want silence", i/2, steps[i], got, err)
			}
		case err != nil:
			b.t.Fatalf("step %d, %s: %v", i/2, steps[i], err)
		case want != "*" && toHex(got) != toHex(b.block(want)):
			b.t.Fatalf("step %d, %s: answer %X, want %X", i/2, steps[i], got, b.block(want))
		}
	}
}

func (b blocks) breaches(n int) {
	b.t.Helper()
	if v := b.t1.Violations(); len(v) != n {
		b.t.Errorf("violations %v, want %d", v, n)
	}
}

const (
	selectMF = "00A40004023F00" // case 3; with Le 00 behind it case 4
	mfFCP    = "621D8202782183023F00A5038001718A01058B032F0601C606900100830101"
)

// The scenarios are those of ISO/IEC 7816-3 annex A in spirit: error-free, chaining, and recovery.
func TestT1(t *testing.T) {
	status := "80F2000C" // case 1
	for name, tc := range map[string]struct {
		atr      []byte
		cfg      T1Config
		script   []string
		breaches int
	}{
		"plain": {nil, T1Config{}, []string{
			"00 00 .. " + status, "00 00 .. 9000",
			"00 40 .. " + status, "00 40 .. 9000",
			"00 00 .. 00A400040A2FFF", "00 00 .. 6700",
		}, 0},
		"case 4 returns data": {nil, T1Config{}, []string{
			"00 C1 01 FE", "00 E1 01 FE",
			"00 00 .. " + selectMF + "00", "00 00 .. " + mfFCP + "9000",
		}, 0},
		"case 3 returns none": {nil, T1Config{}, []string{
			"00 00 .. " + selectMF, "00 00 .. 9000",
		}, 0},
		"data shorter than Le": {nil, T1Config{}, []string{
			"00 C1 01 FE", "00 E1 01 FE",
			"00 00 .. 80F2000000", "00 00 .. " + mfFCP + "9000",
			"00 40 .. 80F2000010", "00 40 .. 6C1F",
		}, 0},
		"card chains": {nil, T1Config{}, []string{ // IFSD is 32
			"00 00 .. " + selectMF + "00", "00 20 .. " + mfFCP + "90",
			"00 90 00", "00 40 .. 00",
			"00 40 .. " + status, "00 00 .. 9000",
		}, 0},
		"terminal chains": {t1Small, T1Config{}, []string{
			"00 20 .. 00A4040010A0000000871002FFFFFFFF", "00 90 00",
			"00 40 .. 8903020000", "00 00 .. 6A86",
		}, 0},
		"terminal exceeds IFSC": {t1Small, T1Config{}, []string{
			"00 00 .. 00A404000CA0000000871002FFFFFFFF8900", "00 82 00",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 1},
		"CRC": {t1CRC, T1Config{}, []string{
			"00 C1 01 FE", "00 E1 01 FE",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 0},
		"answer damaged": {nil, T1Config{Fault: nth(1, T1BadEDC)}, []string{
			"00 00 .. " + status, "*",
			"00 81 00", "00 00 .. 9000",
			"00 40 .. " + status, "00 40 .. 9000",
		}, 0},
		"answer lost": {nil, T1Config{Fault: nth(1, T1Lost)}, []string{
			"00 00 .. " + status, "-",
			"00 82 00", "00 00 .. 9000",
		}, 0},
		"block damaged": {nil, T1Config{Fault: nth(1, T1Deaf)}, []string{
			"00 00 .. " + status, "00 81 00",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 0},
		"first block lost": {nil, T1Config{Fault: nth(1, T1NotHeard)}, []string{
			"00 00 .. " + status, "-",
			"00 82 00", "00 82 00",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 0},
		"later block lost": {nil, T1Config{Fault: nth(2, T1NotHeard)}, []string{
			"00 00 .. " + status, "00 00 .. 9000",
			"00 40 .. " + status, "-",
			"00 92 00", "00 92 00",
			"00 40 .. " + status, "00 40 .. 9000",
		}, 0},
		"part of the card's chain damaged": {nil, T1Config{Fault: nth(2, T1BadEDC)}, []string{
			"00 00 .. " + selectMF + "00", "00 20 .. " + mfFCP + "90",
			"00 90 00", "*",
			"00 91 00", "00 40 .. 00",
		}, 0},
		"acknowledgement of a part lost": {t1Small, T1Config{Fault: nth(1, T1Lost)}, []string{
			"00 20 .. 00A4040010A0000000871002FFFFFFFF", "-",
			"00 82 00", "00 90 00",
			"00 40 .. 8903020000", "00 00 .. 6A86",
		}, 0},
		"waiting time": {nil, T1Config{WTX: 5}, []string{
			"00 00 .. " + status, "00 C3 01 05",
			"00 E3 01 05", "00 00 .. 9000",
		}, 0},
		"request for time lost": {nil, T1Config{WTX: 5, Fault: nth(1, T1Lost)}, []string{
			"00 00 .. " + status, "-",
			"00 82 00", "00 C3 01 05",
			"00 E3 01 05", "00 00 .. 9000",
		}, 0},
		"wrong response to the request for time": {nil, T1Config{WTX: 5}, []string{
			"00 00 .. " + status, "00 C3 01 05",
			"00 E3 01 06", "00 92 00",
		}, 1},
		"card asks for IFS": {t1Small, T1Config{AskIFS: 0x40}, []string{
			"00 00 .. " + status, "00 C1 01 40",
			"00 E1 01 40", "00 00 .. 9000",
			"00 40 .. 00A4040010A0000000871002FFFFFFFF8903020000", "00 40 .. 6A86",
		}, 0},
		"IFS response lost": {nil, T1Config{Fault: nth(1, T1BadEDC)}, []string{
			"00 C1 01 FE", "*",
			"00 81 00", "00 E1 01 FE",
		}, 0},
		"block after IFS lost": {nil, T1Config{Fault: nth(2, T1NotHeard)}, []string{
			"00 C1 01 FE", "00 E1 01 FE",
			"00 00 .. " + status, "-",
			"00 82 00", "00 82 00",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 0},
		"resynchronisation": {nil, T1Config{Fault: nth(2, T1Forgetful)}, []string{
			"00 00 .. " + status, "00 00 .. 9000",
			"00 40 .. " + status, "00 92 00",
			"00 40 .. " + status, "00 92 00",
			"00 C0 00", "00 E0 00",
			"00 00 .. " + status, "00 00 .. 9000",
		}, 0},
		"card aborts": {t1Small, T1Config{Fault: nth(1, T1AbortChain)}, []string{
			"00 20 .. 00A4040010A0000000871002FFFFFFFF", "00 C2 00",
			"00 E2 00", "00 90 00",
			"00 40 .. " + status, "00 00 .. 9000",
		}, 0},
		"terminal aborts": {nil, T1Config{}, []string{
			"00 00 .. " + selectMF + "00", "00 20 .. " + mfFCP + "90",
			"00 C2 00", "00 E2 00",
			"00 40 .. " + status, "00 40 .. 9000",
		}, 0},
		"breaches": {nil, T1Config{}, []string{
			"21 00 .. " + status, "00 82 00", // NAD
			"00 05 .. " + status, "00 82 00", // PCB
			"00 E3 01 01", "00 82 00", // a response to nothing
			"00 C3 01 01", "00 82 00", // the terminal asks for time
			"00 C1 01 FF", "00 82 00", // IFS 255
			"00 C2 00", "00 E2 00", // ABORT of nothing
			"00 00 .. " + status, "00 00 .. 9000",
		}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			b := newBlocks(t, Config{ATR: tc.atr}, tc.cfg)
			b.script(tc.script...)
			b.breaches(tc.breaches)
		})
	}
}

// nth strikes the n-th block.
func nth(n int, fault T1Fault) func(int, []byte) T1Fault {
	return func(i int, _ []byte) T1Fault {
		if i == n {
			return fault
		}
		return T1NoFault
	}
}

// The value was seen on the line of readers that check the code.
func TestCRC(t *testing.T) {
	want(t, "CRC", crc16([]byte{0x00, 0xC1, 0x01, 0xFE}), 0x544E)
	want(t, "CRC", crc16([]byte{0x00, 0x80, 0x00}), 0xB5FF)
}

func TestT1Thinks(t *testing.T) {
	testkit.NoLeaks(t)
	b := newBlocks(t, Config{}, T1Config{WTXEvery: time.Millisecond})
	b.c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Stuck }})
	b.script("00 00 .. 80F2000C", "00 C3 01 01", "00 E3 01 01", "00 C3 01 01")
	// A reset ends what the card works on, and the card begins anew.
	b.c.SetQuirks(Quirks{})
	if _, err := b.t1.Reset(b.ctx, uicc.WarmReset); err != nil {
		t.Fatal(err)
	}
	b = blocks{b.t, b.ctx, b.c, NewT1(b.c, T1Config{}, LineConfig{})}
	if _, err := b.t1.Exchange(b.ctx, b.block("00 00 .. 80F2000C")); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("before the first reset: %v", err)
	}
	if _, err := b.t1.Reset(b.ctx, uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	b.script("00 00 .. 80F2000C", "00 00 .. 9000")

	b.c.SetQuirks(Quirks{Fault: func([]byte) Fault { return Stuck }})
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if _, err := b.t1.Exchange(ctx, b.block("00 40 .. 80F2000C")); !errors.Is(err, context.Canceled) {
		t.Errorf("stuck card: %v", err)
	}
}

// FuzzT1 sends any blocks. Whatever they are, each answer is a block with the right redundancy code that is no longer than the
// terminal takes, and after S(RESYNCH request) the card answers commands again.
func FuzzT1(f *testing.F) {
	f.Add([]byte{5, 0, 0x20, 2, 0x80, 0xF2, 6, 0, 0x40, 2, 0x00, 0x0C, 0}, false)
	f.Add([]byte{4, 0, 0xC1, 1, 0xFE, 3, 0, 0xC2, 0, 3, 0, 0x82, 0}, true)
	f.Fuzz(func(t *testing.T, script []byte, crc bool) {
		atr := oneATR
		if crc {
			atr = t1CRC
		}
		c, err := New(Config{ATR: atr, ThinkTime: time.Microsecond})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx := context.Background()
		t1 := NewT1(c, T1Config{WTX: 3, AskIFS: 64}, LineConfig{})
		if _, err := t1.Reset(ctx, uicc.ColdReset); err != nil {
			t.Fatal(err)
		}
		n := 1
		if crc {
			n = 2
		}
		t1.fresh = false // a PPS request that is wrong would make the card mute
		for len(script) > 0 {
			k := min(int(script[0]), len(script)-1)
			block := script[1 : 1+k]
			script = script[1+k:]
			answer, err := t1.Exchange(ctx, append(block[:k:k], t1.edc(block)...))
			if err != nil {
				t.Fatalf("%X: %v", block, err)
			}
			if len(answer) != 3+int(answer[2])+n || int(answer[2]) > max(t1.ifsd, 1) {
				t.Fatalf("%X: answer %X", block, answer)
			}
			if sum := t1.edc(answer[:len(answer)-n]); string(sum) != string(answer[len(answer)-n:]) {
				t.Fatalf("%X: answer %X, its redundancy code is %X", block, answer, sum)
			}
		}
		resynch := []byte{0, 0xC0, 0}
		answer, err := t1.Exchange(ctx, append(resynch, t1.edc(resynch)...))
		if err != nil || answer[1] != 0xE0 {
			t.Fatalf("S(RESYNCH request): %X, %v", answer, err)
		}
		status := []byte{0, 0x00, 4, 0x80, 0xF2, 0, 0x0C}
		if answer, err = t1.Exchange(ctx, append(status, t1.edc(status)...)); err != nil || answer[1]&0x80 != 0 && answer[1]&0xC0 != 0xC0 {
			t.Fatalf("STATUS: %X, %v", answer, err)
		}
	})
}
