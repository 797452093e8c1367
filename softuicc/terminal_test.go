package softuicc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bipd/uicc"
)

// wait bounds everything that a test waits for. It passes in full only where a test fails.
const wait = 30 * time.Second

// terminal is the scripted end of a test: it sends APDUs and knows what the card answered.
type terminal struct {
	t    testing.TB
	ctx  context.Context
	card uicc.Card
	sw   uint16
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("bad hex %q: %v", s, err)
	}
	return b
}

// newCard makes a card that waits for its applets, unless cfg has a think time: so its answers do not depend on how soon an applet
// gets to run. An applet that waits for something outside of the toolkit needs a think time.
func newCard(t testing.TB, cfg Config) *Card {
	t.Helper()
	if cfg.ThinkTime == 0 {
		cfg.ThinkTime = wait
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newTerminal(t testing.TB, card uicc.Card) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	return &terminal{t: t, ctx: ctx, card: card}
}

// send transmits and returns the response data; the status word is in sw.
func (e *terminal) send(apdu ...byte) []byte {
	e.t.Helper()
	r, err := e.card.Transmit(e.ctx, apdu)
	if err != nil {
		e.t.Fatalf("%X: %v", apdu, err)
	}
	if len(r) < 2 {
		e.t.Fatalf("%X: answer %X has no status word", apdu, r)
	}
	e.sw = uint16(r[len(r)-2])<<8 | uint16(r[len(r)-1])
	return r[:len(r)-2]
}

func (e *terminal) hex(s string) []byte {
	e.t.Helper()
	return e.send(unhex(e.t, s)...)
}

// expect sends an APDU and wants this status word.
func (e *terminal) expect(s string, sw uint16) []byte {
	e.t.Helper()
	r := e.hex(s)
	if e.sw != sw {
		e.t.Fatalf("%s: answered %X, status word %04X, want %04X", s, r, e.sw, sw)
	}
	return r
}

// goodProfile offers what a terminal for these tests has: all of BIP that needs no radio.
const goodProfile = "09 01 28 40 11 0C 00 03 00 00 00 1F E2 60 00 00 03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01"

func (e *terminal) profile() { e.t.Helper(); e.command(0x10, unhex(e.t, goodProfile)) }

// command sends a CAT command with data.
func (e *terminal) command(ins byte, data []byte) {
	e.t.Helper()
	e.send(append([]byte{0x80, ins, 0, 0, byte(len(data))}, data...)...)
}

// fetch fetches the command that the last status word announced; STATUS is sent until one is.
func (e *terminal) fetch() []byte {
	e.t.Helper()
	for end := time.Now().Add(wait); e.sw>>8 != 0x91; {
		e.expectStatus()
		if time.Now().After(end) {
			e.t.Fatal("no proactive command came")
		}
	}
	command := e.send(0x80, 0x12, 0, 0, byte(e.sw))
	if e.sw != swOK {
		e.t.Fatalf("FETCH answered %04X", e.sw)
	}
	return command
}

func (e *terminal) expectStatus() {
	e.t.Helper()
	if e.send(0x80, 0xF2, 0, 0x0C, 0); e.sw != swOK && e.sw>>8 != 0x91 {
		e.t.Fatalf("STATUS answered %04X", e.sw)
	}
}

// respond answers a command: its details, 82 81, and then what the test says, result included.
func (e *terminal) respond(command []byte, rest string) {
	e.t.Helper()
	e.command(0x14, append(frame(command), unhex(e.t, rest)...))
}

// frame makes the first two objects of a response.
func frame(command []byte) []byte {
	_, content, err := template(command)
	if err != nil || len(content) < 5 {
		content = make([]byte, 5)
	}
	return append(append([]byte{0x81, 3}, content[2:5]...), 0x82, 2, 0x82, 0x81)
}

func (e *terminal) envelope(s string) { e.t.Helper(); e.command(0xC2, unhex(e.t, s)) }

// clean wants the judge to have found nothing.
func clean(t testing.TB, c *Card) {
	t.Helper()
	for _, v := range c.Violations() {
		t.Errorf("violation: %v", v)
	}
}

// ended waits for the applets.
func ended(t testing.TB, c *Card) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Fatalf("applets: %v", err)
	}
}

// next takes what another goroutine sends, and fails the test where nothing comes.
func next[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(wait):
		t.Fatalf("%s: nothing came within %v", what, wait)
		panic("not reached")
	}
}

// onlyReset makes the end of an applet by reset no failure.
func onlyReset(err error) error {
	if errors.Is(err, ErrReset) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func want[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, show(got), show(want))
	}
}

func show(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}
