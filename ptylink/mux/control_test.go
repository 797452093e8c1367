package mux

import (
	"testing"
	"time"
)

// TestCommands has one line for each control message of the peer and its answer.
func TestCommands(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"Test", "2305dead", "2105dead"},
		{"Test without data", "2301", "2101"},
		{"RLS", "53050b03", "51050b03"},
		{"PSC", "4301", "4101"},
		{"RPN query", "93030b", "91110b0303001113" + "7f3f"},
		{"RPN settings", "93110b07030000001113", "91110b07030000001113"},
		{"RPN empty", "9301", ""},
		{"PN", "83110200070a00010302", "81110200070a00010302"},
		{"PN asks for too much", "83110200070ae8030302", "81110200070a00020302"},
		{"PN asks for I frames", "83110212070a00010302", "81110200070a00010302"},
		{"PN with priority and window out of range", "831102004f0a00010309", "811102000f0a00010301"},
		{"PN cut", "830502ff", ""},
		{"MSC, DLC not open", "e3050b8d", "e1050b8d"},
		{"MSC with break", "e3070b8c03", "e1070b8c03"},
		{"MSC cut", "e3030b", ""},
		{"FCoff", "6301", "6101"},
		{"FCon", "a301", "a101"},
		{"SNC is not supported", "d3050b03", "1103d3"},
		{"unknown", "f301", "1103f3"},
		{"type of two octets", "f2f301", ""},
		{"NSC is no command", "130363", "110313"},
		{"response nobody waits for", "2105dead", ""},
		{"CLD response nobody waits for", "c101", ""},
		{"NSC empty", "1101", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{Role: Responder})
			b.peer("UIH 0 " + c.in)
			if c.out == "" {
				b.expect()
			} else {
				b.expect("UIH 0 " + c.out)
			}
			if b.s.state != muxOpen {
				t.Errorf("state %d", b.s.state)
			}
		})
	}
	b := newBench(t, Config{})
	b.peer("UIH 0 2303414301", "UI 0 2301", "UIH 0") // two in one frame, one in UI, none
	b.expect("UIH 0 210341", "UIH 0 4101", "UIH 0 2101")
}

// TestControlFlood asks without reading the answers; memory stays bounded.
func TestControlFlood(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	for range 20000 {
		b.peer("UIH 0 2305dead", "SABM 62", "DISC 9")
	}
	if n := len(b.s.ctl); n < maxControlQueue || n > maxControlQueue+100 {
		t.Errorf("%d octets queued", n)
	}
}

func TestKeepAlive(t *testing.T) {
	b := newBench(t, Config{KeepAlive: 5 * time.Second})
	const test = "UIH 0 230b616c697665"
	b.pass(5 * time.Second)
	b.expect(test)
	b.peer("UIH 0 210b616c697665")
	b.pass(4 * time.Second)
	b.peer("UIH 0 2301") // any frame is life
	b.expect("UIH 0 2101")
	b.pass(4 * time.Second)
	b.expect()
	b.pass(time.Second)
	b.expect(test)
	b.peer("UIH 0 110323") // Test is not known there, but somebody is
	b.pass(5 * time.Second)
	b.expect(test)
	b.pass(1799 * time.Millisecond)
	b.expect(test, test)
	if b.s.state != muxOpen {
		t.Fatalf("state %d", b.s.state)
	}
	b.pass(time.Millisecond)
	if b.s.state != muxEnded {
		t.Errorf("state %d", b.s.state)
	}
	wantErr(t, b.s.err, ErrTimeout)
}

// TestNegotiate asks for N1 by PN; a peer that cannot leaves N1 as configured.
func TestNegotiate(t *testing.T) {
	const pn = "UIH 0 83110200071e00020302"
	for _, c := range []struct {
		name, answer string
		n1           int
	}{
		{"smaller", "UIH 0 81110200071e64000300", 100},
		{"same", "UIH 0 81110200071e00020300", 512},
		{"larger is nonsense", "UIH 0 81110200071e00100300", 512},
		{"NSC", "UIH 0 110383", 512},
		{"silence", "", 512},
	} {
		b := newBench(t, Config{Negotiate: true})
		d, _ := b.s.open(2, b.now)
		b.expect(pn)
		if c.answer == "" {
			b.pass(1800 * time.Millisecond)
			b.expect(pn, pn, "SABM 2")
		} else {
			b.peer(c.answer)
			b.expect("SABM 2")
		}
		b.peer("UA 2")
		b.expect("UIH 0 e3050b8d")
		d.tx.push(make([]byte, 600))
		sent := sentFrames(t, b.s, b.now)
		if len(sent) == 0 || len(sent[0].info) != c.n1 {
			t.Errorf("%s: sent %v", c.name, sent)
		}
	}
	// The other side: what the peer asked for holds for what we send.
	b := newBench(t, Config{Role: Responder})
	b.peer("UIH 0 83110200001e64000300")
	b.expect("UIH 0 81110200001e64000300")
	d := b.accepted(2)
	d.tx.push(make([]byte, 150))
	if sent := sentFrames(t, b.s, b.now); len(sent) != 2 || len(sent[0].info) != 100 {
		t.Errorf("sent %v", sent)
	}
}
