package uicc

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// scriptCard answers each command with the next response of its script, and fails the test's expectation where another
// command comes.
type scriptCard struct {
	script [][2]string // command, response, hexadecimal
	next   int
	err    error // of the exchange after the script
	fault  string
}

func (c *scriptCard) Transmit(_ context.Context, capdu []byte) ([]byte, error) {
	got := strings.ToUpper(hex.EncodeToString(capdu))
	if c.next >= len(c.script) {
		if c.err == nil {
			c.fault = "unexpected " + got
			return nil, errors.New(c.fault)
		}
		return nil, c.err
	}
	step := c.script[c.next]
	if got != step[0] {
		c.fault = fmt.Sprintf("command %d is %s, want %s", c.next, got, step[0])
	}
	c.next++
	return hx(step[1]), nil
}

func (c *scriptCard) ATR() []byte                            { return hx("3B00") }
func (c *scriptCard) Reset(context.Context, ResetKind) error { c.next = 0; return nil }
func (c *scriptCard) Close() error                           { return nil }

// check reports a deviation from the script.
func (c *scriptCard) check(t *testing.T) {
	t.Helper()
	if c.fault != "" {
		t.Error(c.fault)
	}
	if c.next != len(c.script) {
		t.Errorf("%d of %d exchanges", c.next, len(c.script))
	}
}

func TestSettle(t *testing.T) {
	d256 := strings.Repeat("AB", 256)
	tests := []struct {
		name   string
		script [][2]string // its first command is the caller's
		want   string
	}{
		{"nothing to settle", [][2]string{{"80F2000C00", "9000"}}, "9000"},
		{"91xx passes up", [][2]string{{"8010000001FF", "910F"}}, "910F"},
		{"data with 91xx passes up", [][2]string{{"00B0000002", "AABB910F"}}, "AABB910F"},
		{"error passes up", [][2]string{{"00A40004023F0000", "6A82"}}, "6A82"},
		{"61xx, CLA 00", [][2]string{{"00A40004023F0000", "6103"}, {"00C0000003", "0102039000"}}, "0102039000"},
		{"61xx, CLA 80", [][2]string{{"80C2000002D600", "6102"}, {"00C0000002", "01029000"}}, "01029000"},
		{"61xx, channel 1", [][2]string{{"01A40004023F00", "6101"}, {"01C0000001", "079000"}}, "079000"},
		{"9Fxx, CLA A0", [][2]string{{"A0A40000023F00", "9F02"}, {"A0C0000002", "01029000"}}, "01029000"},
		{"6100 is 256", [][2]string{{"00CB000001AA00", "6100"}, {"00C0000000", d256 + "9000"}}, d256 + "9000"},
		{"61xx repeated", [][2]string{{"00CB000001AA00", "6100"}, {"00C0000000", d256 + "6102"}, {"00C0000002", "01029000"}},
			d256 + "01029000"},
		{"61xx with the first data", [][2]string{{"00B2010400", "AA6101"}, {"00C0000001", "BB9000"}}, "AABB9000"},
		{"91xx after GET RESPONSE", [][2]string{{"80C2000002D600", "6101"}, {"00C0000001", "55910A"}}, "55910A"},
		{"GET RESPONSE fails", [][2]string{{"00A40004023F00", "6101"}, {"00C0000001", "6F00"}}, "6F00"},
		{"GET RESPONSE ends in a warning", [][2]string{{"00A40004023F00", "6101"}, {"00C0000001", "556282"}}, "556282"},
		{"6Cxx, case 2", [][2]string{{"80F2000000", "6C02"}, {"80F2000002", "01029000"}}, "01029000"},
		{"6Cxx, case 1", [][2]string{{"80F20000", "6C01"}, {"80F2000001", "019000"}}, "019000"},
		{"6Cxx, case 4", [][2]string{{"00A40004023F0000", "6C01"}, {"00A40004023F0001", "019000"}}, "019000"},
		{"6Cxx, case 3, passes up", [][2]string{{"00A40004023F00", "6C01"}}, "6C01"},
		{"6Cxx then 91xx", [][2]string{{"80F2000000", "6C02"}, {"80F2000002", "01029103"}}, "01029103"},
		{"6Cxx again passes up", [][2]string{{"8012000020", "6C00"}, {"8012000000", "6C00"}}, "6C00"},
		{"6Cxx then 61xx", [][2]string{{"00CA000000", "6C02"}, {"00CA000002", "6102"}, {"00C0000002", "01029000"}}, "01029000"},
		{"6Cxx after GET RESPONSE", [][2]string{{"00A40004023F00", "6105"}, {"00C0000005", "6C02"}, {"00C0000002", "01029000"}},
			"01029000"},
		{"warning with data waiting, case 4", [][2]string{{"00A40004023F0000", "6283"}, {"00C0000000", "6C02"},
			{"00C0000002", "01029000"}}, "01026283"},
		{"warning, data comes at once", [][2]string{{"80C2000002D60000", "6300"}, {"00C0000000", "019000"}}, "016300"},
		{"warning, then 91xx", [][2]string{{"80C2000002D60000", "6200"}, {"00C0000000", "01910C"}}, "01910C"},
		{"warning, no data waits", [][2]string{{"80C2000002D60000", "6200"}, {"00C0000000", "6F00"}}, "6200"},
		{"warning with its data", [][2]string{{"00A40004023F0000", "01026283"}}, "01026283"},
		{"warning, SMS-PP envelope without Le", [][2]string{{"80C2000002D100", "6310"}, {"00C0000000", "6C02"},
			{"00C0000002", "01029000"}}, "01026310"},
		{"warning, envelope on channel 1", [][2]string{{"81C2000002D100", "6310"}, {"01C0000000", "019000"}}, "016310"},
		{"warning, SELECT without Le", [][2]string{{"00A40004023F00", "6283"}, {"00C0000000", "6C01"}, {"00C0000001", "079000"}},
			"076283"},
		{"warning, AUTHENTICATE without Le", [][2]string{{"0088008102AABB", "6300"}, {"00C0000000", "019000"}}, "016300"},
		{"warning, 256 octets", [][2]string{{"80C2000002D100", "6310"}, {"00C0000000", d256 + "9000"}}, d256 + "6310"},
		{"warning, data in parts", [][2]string{{"80C2000002D100", "6310"}, {"00C0000000", "6C01"}, {"00C0000001", "016101"},
			{"00C0000001", "029000"}}, "01026310"},
		{"warning, class refused", [][2]string{{"80C2000002D100", "6310"}, {"00C0000000", "6E00"}, {"80C0000000", "6C01"},
			{"80C0000001", "019000"}}, "016310"},
		{"warning, GET RESPONSE fails in the end", [][2]string{{"80C2000002D100", "6310"}, {"00C0000000", "6C01"},
			{"00C0000001", "6F00"}}, "6310"},
		{"warning, SELECT that wants none", [][2]string{{"00A4000C023F00", "6283"}}, "6283"},
		{"warning, VERIFY", [][2]string{{"002000010831323334FFFFFFFF", "63C2"}}, "63C2"},
		{"warning, TERMINAL RESPONSE", [][2]string{{"801400000281FF", "6200"}}, "6200"},
		{"warning, case 1", [][2]string{{"80F2000C", "6283"}}, "6283"},
		{"warning, case 2, passes up", [][2]string{{"00B0000002", "6282"}}, "6282"},
		{"9Exx stays", [][2]string{{"A0C2000002D100", "9E02"}, {"A0C0000002", "01029000"}}, "01029E02"},
		{"9Exx then 91xx", [][2]string{{"A0C2000002D100", "9E02"}, {"A0C0000002", "01029108"}}, "01029108"},
		{"class refused", [][2]string{{"80C2000002D600", "6102"}, {"00C0000002", "6E00"}, {"80C0000002", "01029000"}}, "01029000"},
		{"class refused, channel 5", [][2]string{{"C1C2000002D600", "6102"}, {"41C0000002", "6E00"}, {"C1C0000002", "01029000"}},
			"01029000"},
		{"class A0 refused passes up", [][2]string{{"A0A40000023F00", "9F02"}, {"A0C0000002", "6E00"}}, "6E00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := &scriptCard{script: tt.script}
			taps := 0
			card := Settle(raw, func(capdu, rapdu []byte, start time.Time, dur time.Duration) {
				if step := tt.script[taps]; !bytes.Equal(capdu, hx(step[0])) || !bytes.Equal(rapdu, hx(step[1])) {
					t.Errorf("tap %d: %X %X", taps, capdu, rapdu)
				}
				if start.IsZero() || dur < 0 {
					t.Errorf("tap %d: start %v, duration %v", taps, start, dur)
				}
				taps++
			})
			got, err := card.Transmit(context.Background(), hx(tt.script[0][0]))
			if err != nil || !bytes.Equal(got, hx(tt.want)) {
				t.Errorf("%X, %v, want %s", got, err, tt.want)
			}
			raw.check(t)
			if taps != len(tt.script) {
				t.Errorf("%d taps", taps)
			}
		})
	}
}

// Whatever an envelope holds, what waits behind a warning is fetched, and the card's warning is the answer.
func TestSettleWarningOfAnyEnvelope(t *testing.T) {
	for tag := range 256 {
		for _, cla := range []string{"80", "A0"} {
			base := map[string]string{"80": "00", "A0": "A0"}[cla]
			envelope := fmt.Sprintf("%sC2000002%02X00", cla, tag)
			raw := &scriptCard{script: [][2]string{{envelope, "6310"}, {base + "C0000000", "6C03"}, {base + "C0000003", "0102039000"}}}
			got, err := Settle(raw).Transmit(context.Background(), hx(envelope))
			if want := hx("0102036310"); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %X, %v, want %X", envelope, got, err, want)
			}
			raw.check(t)
		}
	}
}

func TestSettleErrors(t *testing.T) {
	t.Run("bad command", func(t *testing.T) {
		raw := &scriptCard{}
		if _, err := Settle(raw).Transmit(context.Background(), hx("00A400")); !errors.Is(err, ErrCommand) {
			t.Errorf("%v", err)
		}
		raw.check(t)
	})
	t.Run("removed between command and GET RESPONSE", func(t *testing.T) {
		raw := &scriptCard{script: [][2]string{{"00A40004023F00", "6102"}}, err: ErrRemoved}
		var last []byte = hx("00")
		card := Settle(raw, func(_, rapdu []byte, _ time.Time, _ time.Duration) { last = rapdu })
		if b, err := card.Transmit(context.Background(), hx("00A40004023F00")); err != ErrRemoved || b != nil {
			t.Errorf("%X, %v", b, err)
		}
		if last != nil {
			t.Errorf("the tap saw %X for a failed exchange", last)
		}
	})
	t.Run("removed before the repetition", func(t *testing.T) {
		raw := &scriptCard{script: [][2]string{{"80F2000000", "6C02"}}, err: ErrRemoved}
		if _, err := Settle(raw).Transmit(context.Background(), hx("80F2000000")); err != ErrRemoved {
			t.Errorf("%v", err)
		}
	})
	t.Run("removed after a warning", func(t *testing.T) {
		raw := &scriptCard{script: [][2]string{{"00A40004023F0000", "6283"}}, err: ErrRemoved}
		if _, err := Settle(raw).Transmit(context.Background(), hx("00A40004023F0000")); err != ErrRemoved {
			t.Errorf("%v", err)
		}
	})
	t.Run("no status word", func(t *testing.T) {
		raw := &scriptCard{script: [][2]string{{"80F2000000", "90"}}}
		if _, err := Settle(raw).Transmit(context.Background(), hx("80F2000000")); err == nil {
			t.Error("no error")
		}
	})
	t.Run("context ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		raw := &scriptCard{}
		if _, err := Settle(raw).Transmit(ctx, hx("80F2000000")); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		raw.check(t)
	})
}

// endlessCard announces more data after each byte.
type endlessCard struct {
	scriptCard
	n int
}

func (c *endlessCard) Transmit(context.Context, []byte) ([]byte, error) {
	c.n++
	return hx("016101"), nil
}

func TestSettleEndless(t *testing.T) {
	raw := new(endlessCard)
	if _, err := Settle(raw).Transmit(context.Background(), hx("00B0000001")); !errors.Is(err, ErrEndless) {
		t.Errorf("%v", err)
	}
	if raw.n != 1+maxGetResponse {
		t.Errorf("%d exchanges", raw.n)
	}
}
