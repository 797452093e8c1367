package vpcd

import (
	"bufio"
	"context"
	"encoding/hex"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/uicc"
)

// atrT0 and atrT1 are answers to reset that offer T=0 and T=1.
var (
	atrT0 = hx("3B9F01801F878031E073FE2100674A4C753034054B25")
	atrT1 = hx("3B80" + "81" + "31" + "FE45" + "8B")
)

func hx(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// patience bounds how long a test waits for what must happen. It passes in full only where a test fails.
const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// listenAt opens a slot that the test's end closes.
func listenAt(t *testing.T, cfg Config) *Reader {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "tcp:127.0.0.1:0"
	}
	r, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// peer is a card of a test: it dials the slot and answers by a function, which gets each payload and returns the bytes to
// write, nil for none.
type peer struct {
	conn net.Conn
	done chan struct{} // closed when the reader has ended the connection, or leave was called

	mu   sync.Mutex
	seen []string
}

func dialPeer(t *testing.T, r *Reader, answer func(payload []byte) []byte) *peer {
	t.Helper()
	conn, err := net.Dial(r.Addr().Network(), r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{conn: conn, done: make(chan struct{})}
	t.Cleanup(func() { p.leave(t) })
	go func() {
		defer close(p.done)
		in := bufio.NewReader(conn)
		for {
			payload, err := readMessage(in)
			if err != nil {
				return
			}
			p.mu.Lock()
			p.seen = append(p.seen, strings.ToUpper(hex.EncodeToString(payload)))
			p.mu.Unlock()
			if b := answer(payload); b != nil {
				conn.Write(b) // the reader may be gone, which ends the next read
			}
		}
	}()
	return p
}

// leave removes the card.
func (p *peer) leave(t *testing.T) {
	t.Helper()
	p.conn.Close()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Error("the card does not leave")
	}
}

// log is what the card has seen since the last call.
func (p *peer) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := strings.Join(p.seen, " ")
	p.seen = nil
	return s
}

// well answers as a card should: the ATR, and to APDUs what apdu says.
func well(atr []byte, apdu func(capdu []byte) string) func([]byte) []byte {
	return func(payload []byte) []byte {
		switch {
		case len(payload) > 1:
			return appendMessage(nil, hx(apdu(payload)))
		case payload[0] == controlGetATR:
			return appendMessage(nil, atr)
		}
		return nil
	}
}

// always answers each APDU alike.
func always(rapdu string) func([]byte) string {
	return func([]byte) string { return rapdu }
}

// await reads states until want comes.
func await(t *testing.T, states <-chan uicc.SlotState, want uicc.SlotState) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case st, ok := <-states:
			if !ok {
				t.Fatalf("the channel closed, state %d did not come", want)
			}
			if st == want {
				return
			}
		case <-late:
			t.Fatalf("state %d did not come", want)
		}
	}
}

// insertPeer dials and waits until the slot has noticed.
func insertPeer(t *testing.T, r *Reader, answer func([]byte) []byte) *peer {
	t.Helper()
	p := dialPeer(t, r, answer)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	await(t, r.Watch(ctx), uicc.SlotPresent)
	return p
}

// ended wants a channel of states to be closed.
func ended(t *testing.T, states <-chan uicc.SlotState) {
	t.Helper()
	select {
	case st, open := <-states:
		if open {
			t.Errorf("a state after the last: %v", st)
		}
	case <-time.After(patience):
		t.Error("the channel of states stays open")
	}
}

// connect connects, and closes at the test's end.
func connect(t *testing.T, r *Reader) uicc.Card {
	t.Helper()
	c, err := r.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
