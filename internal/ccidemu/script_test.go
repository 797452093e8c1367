package ccidemu

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/softuicc"
)

// patience bounds everything that a test waits for.
const patience = 30 * time.Second

// host is a driver that sends what the test says.
type host struct {
	t   testing.TB
	ctx context.Context
	r   *Reader
	tr  *Transport
	seq byte
}

func newHost(t testing.TB, m Model) *host {
	t.Helper()
	testkit.NoLeaks(t)
	r := New(m)
	t.Cleanup(r.Unplug)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return &host{t: t, ctx: ctx, r: r, tr: r.Transport(), seq: 0xFD} // so that it rolls over
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("bad hex %q: %v", s, err)
	}
	return b
}

func tohex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

func newCard(t testing.TB, cfg softuicc.Config) *softuicc.Card {
	t.Helper()
	c, err := softuicc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (h *host) insert(slot int, atr string, cfg softuicc.ContactsConfig) *softuicc.Card {
	h.t.Helper()
	c := softuicc.Config{}
	if atr != "" {
		c.ATR = unhex(h.t, atr)
	}
	card := newCard(h.t, c)
	if err := h.r.Insert(slot, card, cfg); err != nil {
		h.t.Fatal(err)
	}
	return card
}

// command makes a message with the next bSeq.
func (h *host) command(typ, slot byte, specific string, data []byte) []byte {
	h.t.Helper()
	b := binary.LittleEndian.AppendUint32([]byte{typ}, uint32(len(data)))
	b = append(b, slot, h.seq)
	h.seq++
	return append(append(b, unhex(h.t, specific)...), data...)
}

func (h *host) send(b []byte) {
	h.t.Helper()
	if err := h.tr.Send(h.ctx, b); err != nil {
		h.t.Fatalf("%X: %v", b, err)
	}
}

// await waits until c is closed or brings something.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
	}
}

// ended takes the outcome of what goes on beside the test.
func ended(t testing.TB, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(patience):
		t.Fatalf("no end within %v", patience)
		return nil
	}
}

// receive makes one bulk IN transfer.
func (h *host) receive() []byte {
	h.t.Helper()
	buf := make([]byte, 1<<16)
	n, err := h.tr.Receive(h.ctx, buf)
	if err != nil {
		h.t.Fatal(err)
	}
	return buf[:n]
}

// ask exchanges a message, and gives the answer from bStatus on: bStatus, bError, the last field, a space and the data.
func (h *host) ask(typ, slot byte, specific, data string) string {
	h.t.Helper()
	c := h.command(typ, slot, specific, unhex(h.t, data))
	h.send(c)
	return h.answer(c)
}

// answer reads the answer to a command; time extensions are passed over.
func (h *host) answer(c []byte) string {
	h.t.Helper()
	for {
		a := h.receive()
		if len(a) < headerLength || int(binary.LittleEndian.Uint32(a[1:])) != len(a)-headerLength || a[5] != c[5] || a[6] != c[6] || a[0] != answerType(c[0]) {
			h.t.Fatalf("%X: answer %X", c, a)
		}
		if a[7]&0xC0 != statusTime {
			return strings.TrimSpace(tohex(a[7:10]) + " " + tohex(a[10:]))
		}
	}
}

// expect asks and compares.
func (h *host) expect(typ, slot byte, specific, data, want string) {
	h.t.Helper()
	if got := h.ask(typ, slot, specific, data); got != want {
		h.t.Errorf("%s %s %s: %s, want %s", name(typ), specific, data, got, want)
	}
}

func (h *host) clean() {
	h.t.Helper()
	for _, v := range h.r.Violations() {
		h.t.Errorf("violation: %v", v)
	}
}

// breaches wants violations that say these things, in order, and no others; it is for the end of a test.
func (h *host) breaches(texts ...string) {
	h.t.Helper()
	got := h.r.Violations()
	for i, v := range got {
		if i >= len(texts) || !strings.Contains(v.String(), texts[i]) {
			h.t.Errorf("violation: %v", v)
		}
	}
	if len(got) < len(texts) {
		h.t.Errorf("%d violations, want %d: %q", len(got), len(texts), texts)
	}
}

// Answers to reset: T=0 with Fi 512, Di 16; T=1 alone with IFSC 254; T=1 with CRC; both, T=0 first, with TA1 18; T=0 of
// classes B and C alone; T=0 in specific mode with TA1 95; T=0 of the inverse convention with guard time 5.
const (
	atrSpeed    = "3B1095"
	atrOne      = "3B808131FE559B"
	atrCRC      = "3B8081410141"
	atrBoth     = "3B9018800109"
	atrClass    = "3B80801F0619"
	atrSpecific = "3B90951000"
	atrInverse  = "3F4005"
)

const softATR = "3B096269706420736F6674"

func TestTPDUT0(t *testing.T) {
	for _, cfg := range []softuicc.T0Config{{}, {AckOne: -1}, {AckOne: 1, Nulls: 2}} {
		h := newHost(t, SCR3310())
		h.expect(msgGetSlotStatus, 0, "000000", "", "020000")
		h.expect(msgIccPowerOn, 0, "000000", "", "42FE00")
		h.insert(0, "", softuicc.ContactsConfig{T0: cfg})
		h.expect(msgGetSlotStatus, 0, "000000", "", "010000")
		h.expect(msgIccPowerOn, 0, "000000", "", "000000 "+softATR)
		h.expect(msgGetParameters, 0, "000000", "", "000000 1100000A00")
		h.expect(msgXfrBlock, 0, "000000", "80F2000C00", "000000 9000")
		h.expect(msgXfrBlock, 0, "000000", "00A40004022F05", "000000 6119")
		h.expect(msgXfrBlock, 0, "000000", "00B0000002", "000000 656E9000")
		h.expect(msgXfrBlock, 0, "000000", "00B0000003", "000000 6C02")
		h.expect(msgIccPowerOff, 0, "000000", "", "010000")
		h.expect(msgGetSlotStatus, 0, "000000", "", "010000")
		h.clean()
		h.expect(msgXfrBlock, 0, "000000", "80F2000C00", "41FE00")
		h.breaches("bmICCStatus was 1")
		h.r.Unplug()
	}
}
