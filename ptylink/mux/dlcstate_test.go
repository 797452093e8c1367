package mux

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOpenAnswers(t *testing.T) {
	b := newBench(t, Config{MaxDLCI: 8})
	for _, n := range []int{-1, 0, 9, 62} {
		if _, err := b.s.open(n, b.now); err == nil {
			t.Errorf("DLC %d opens", n)
		}
	}
	d, _ := b.s.open(5, b.now)
	b.peer("DM 5")
	b.expect("SABM 5")
	wantErr(t, d.err, ErrRefused)
	d, _ = b.s.open(5, b.now)
	b.pass(time.Minute)
	b.expect("SABM 5", "SABM 5", "SABM 5")
	wantErr(t, d.err, ErrTimeout)
	b.opened(5)
	_, err := b.s.open(5, b.now)
	wantErr(t, err, ErrInUse)

	b.peer("SABM 9", "DISC 7", "UIH 7 41", "UA 7", "DM 7", "SABM 62")
	b.expect("DM 9", "DM 7") // an answer on 62 could look like a flag
}

// TestLateAnswers has a peer that was stopped for a while: what it answers to the second SABM or DISC is not taken for the
// answer to the SABM that opens the DLC anew.
func TestLateAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		late []string // after the first answer to DISC, before that to SABM
	}{
		{"DISC answered by DM", []string{"DM 2"}},
		{"DISC answered by UA", []string{"UA 2"}},
		{"nothing more", nil},
	} {
		b := newBench(t, Config{})
		b.opened(2).close(b.now)
		b.pass(300 * time.Millisecond)
		b.expect("DISC 2", "DISC 2")
		b.peer("UA 2")
		d, err := b.s.open(2, b.now)
		if err != nil {
			t.Fatal(err)
		}
		b.peer(c.late...)
		b.expect("SABM 2")
		if d.state != dlcOpening {
			t.Errorf("%s: state %d, %v", c.name, d.state, d.err)
		}
		b.peer("UA 2")
		if len(c.late) == 0 { // the second answer to DISC was lost: this one is taken for it
			b.pass(300 * time.Millisecond)
			b.expect("SABM 2")
			b.peer("UA 2")
		}
		if d.state != dlcOpen {
			t.Errorf("%s: state %d, %v", c.name, d.state, d.err)
		}
	}

	// A SABM given up, and one sent twice.
	b := newBench(t, Config{})
	d, _ := b.s.open(2, b.now)
	d.close(b.now)
	b.peer("UA 2") // to the SABM
	d, _ = b.s.open(2, b.now)
	b.peer("UA 2") // to the DISC
	b.expect("SABM 2", "DISC 2", "SABM 2")
	if d.state != dlcOpening {
		t.Errorf("state %d, %v", d.state, d.err)
	}
	b.pass(300 * time.Millisecond)
	b.peer("UA 2")
	b.expect("SABM 2", "UIH 0 e3050b8d")
	d.close(b.now)
	b.peer("UA 2") // to the second SABM
	d, _ = b.s.open(2, b.now)
	b.peer("UA 2") // to the DISC
	b.expect("DISC 2", "SABM 2")
	b.peer("DM 2")
	wantErr(t, d.err, ErrRefused)
	d, _ = b.s.open(2, b.now)
	b.peer("DM 2")
	wantErr(t, d.err, ErrRefused)
}

// TestUnansweredMSC tries N2 times and then leaves the DLC open.
func TestUnansweredMSC(t *testing.T) {
	b := newBench(t, Config{})
	d, _ := b.s.open(2, b.now)
	b.peer("UA 2")
	b.expect("SABM 2", "UIH 0 e3050b8d")
	b.pass(time.Minute)
	b.expect("UIH 0 e3050b8d", "UIH 0 e3050b8d")
	if d.state != dlcOpen || len(b.s.commands) != 0 {
		t.Errorf("state %d, %d commands", d.state, len(b.s.commands))
	}
}

// TestLinuxSignals plays what n_gsm sends when its port is opened after the DLC: it
// has forgotten our MSC by then, and waits for one with DV.
func TestLinuxSignals(t *testing.T) {
	b := newBench(t, Config{})
	b.opened(1)
	b.peer("UIH 0 e3050701", "UIH 0 e305070d")
	b.expect("UIH 0 e1050701", "UIH 0 e305078d", "UIH 0 e105070d")
	b.peer("UIH 0 e105078d", "UIH 0 e305070d")
	b.expect("UIH 0 e105070d")
}

// TestPeerStops holds data back while the peer cannot receive.
func TestPeerStops(t *testing.T) {
	for _, c := range []struct{ name, stop, free string }{
		{"FC", "e3050b8f", "e3050b8d"},
		{"FC without RTR", "e3050b83", "e3050b8d"},
		{"RTR taken back", "e3050b85", "e3050b8d"},
		{"FCoff", "6301", "a301"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Config{})
			two, three := b.opened(2), b.opened(3)
			b.peer("UIH 0 " + c.stop)
			sentFrames(t, b.s, b.now)
			two.tx.push([]byte("ab"))
			b.s.dirty = true
			b.expect()
			if c.name != "FCoff" {
				three.tx.push([]byte("cd"))
				b.expect("UIH 3 6364")
			}
			b.peer("UIH 0 " + c.free)
			if sent := sentFrames(t, b.s, b.now); !slices.ContainsFunc(sent, func(f frame) bool {
				return f.dlci == 2 && string(f.info) == "ab"
			}) {
				t.Errorf("after it sent %v", sent)
			}
		})
	}
	b := newBench(t, Config{})
	d, _ := b.s.open(2, b.now)
	b.peer("UA 2", "UIH 0 e3050b01") // a peer that does not use RTR
	sentFrames(t, b.s, b.now)
	d.tx.push([]byte("ab"))
	b.expect("UIH 2 6162")
}

// TestReceiveBuffer raises FC at the high-water mark and releases it at the low one.
func TestReceiveBuffer(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	d := b.accepted(2)
	block := "UIH 2 " + strings.Repeat("41", 512)
	for range highWater/512 - 1 {
		b.peer(block)
	}
	b.expect()
	b.peer(block)
	b.expect("UIH 0 e3050b8f")
	b.pass(600 * time.Millisecond)
	b.expect("UIH 0 e3050b8f") // not answered: again
	b.peer("UIH 0 e1050b8f", block, block)
	b.expect()
	if d.rx.len() != highWater+1024 {
		t.Errorf("%d octets in the buffer", d.rx.len())
	}
	d.rx.drop(d.rx.len() - lowWater - 1)
	b.s.taken(d, b.now)
	b.expect()
	d.rx.drop(1)
	b.s.taken(d, b.now)
	b.expect("UIH 0 e3050b8d")
	b.peer("UIH 0 e1050b8f") // answers the older one: the newer is still open
	b.pass(600 * time.Millisecond)
	b.expect("UIH 0 e3050b8d")
	b.peer("UIH 0 e1050b8d")
	b.pass(time.Minute)
	b.expect()
}

// TestOverrun closes the DLC of a peer that ignores FC, and loses nothing taken before.
func TestOverrun(t *testing.T) {
	for _, confirmed := range []bool{true, false} {
		b := newBench(t, Config{Role: Responder, N1: 1499})
		d, other := b.accepted(2), b.accepted(3)
		block := "UIH 2 " + strings.Repeat("41", 1024)
		limit := overrunLimit
		for range highWater / 1024 {
			b.peer(block)
		}
		b.expect("UIH 0 e3050b8f")
		if confirmed {
			b.peer("UIH 0 e1050b8f")
			limit = highWater + overrunConfirmed
		}
		for d.rx.len() < limit {
			b.peer(block)
		}
		b.expect()
		b.peer(block)
		b.expect("DM 2", "DISC 2")
		wantErr(t, d.err, ErrOverrun)
		b.peer(block, block)
		if d.rx.len() != limit+1024 {
			t.Errorf("%d octets in the buffer, want %d", d.rx.len(), limit+1024)
		}
		b.peer("UA 2", "UIH 3 41")
		if d.state != dlcClosed || other.state != dlcOpen || other.rx.len() != 1 {
			t.Errorf("states %d and %d", d.state, other.state)
		}
		wantErr(t, d.err, ErrOverrun)
	}
}

// TestSecondSABM tells a repeated SABM from a peer that has begun anew.
func TestSecondSABM(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	b.peer("SABM 2")
	b.expect("UA 2", "UIH 0 e3050b8d")
	d := b.s.accept[0]
	d.tx.push([]byte("hello"))
	b.s.dirty = true
	b.expect() // the peer may not have our UA
	b.peer("SABM 2")
	b.expect("UA 2")
	if len(b.s.accept) != 1 || d.state != dlcOpen {
		t.Fatalf("%d DLCs, state %d", len(b.s.accept), d.state)
	}
	b.peer("UIH 2 41")
	b.expect("UIH 2 68656c6c6f")
	b.peer("SABM 2")
	b.expect("UA 2", "UIH 0 e3050b8d")
	wantErr(t, d.err, ErrReset)
	if len(b.s.accept) != 1 || b.s.accept[0] == d || b.s.accept[0].state != dlcOpen {
		t.Fatalf("%d DLCs", len(b.s.accept))
	}
	// A peer that never shows itself gets the data all the same.
	b.s.accept[0].tx.push([]byte("x"))
	b.pass(600 * time.Millisecond)
	if sent := sentFrames(t, b.s, b.now); !slices.ContainsFunc(sent, func(f frame) bool { return f.dlci == 2 }) {
		t.Errorf("sent %v", sent)
	}
}

// TestBothOpen has both sides open the same DLC at the same time.
func TestBothOpen(t *testing.T) {
	b := newBench(t, Config{})
	d, _ := b.s.open(2, b.now)
	b.peer("SABM 2", "UA 2")
	b.expect("SABM 2", "UA 2", "UIH 0 e3050b8d")
	if d.state != dlcOpen || len(b.s.accept) != 0 {
		t.Errorf("state %d, %d to accept", d.state, len(b.s.accept))
	}
	// What the peer has opened by itself, Open gives out.
	b.peer("SABM 3")
	waiting := b.s.accept[0]
	if d, err := b.s.open(3, b.now); err != nil || d != waiting || len(b.s.accept) != 0 {
		t.Errorf("open gave %v, %v", d, err)
	}
}

// TestAcceptAfterEnd has a peer open a DLC, send and close all before anybody accepts.
func TestAcceptAfterEnd(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	b.peer("SABM 2", "UIH 2 41", "DISC 2", "SABM 3", "UIH 3 42", "UIH 0 c301")
	if len(b.s.accept) != 1 || b.s.accept[0].err != io.EOF || b.s.accept[0].rx.len() != 1 {
		t.Errorf("%d DLCs to accept", len(b.s.accept))
	}
	b = newBench(t, Config{Role: Responder})
	for range maxAccept {
		b.peer("SABM 2", "DISC 2")
	}
	sentFrames(t, b.s, b.now)
	b.peer("SABM 2")
	b.expect("DM 2")
}

// TestLinger keeps what a stopped peer does not take, as long as it is stopped, and gives up what a line does not take.
func TestLinger(t *testing.T) {
	b := newBench(t, Config{})
	d := b.opened(2)
	b.peer("UIH 0 e3050b8f")
	b.expect("UIH 0 e1050b8f")
	d.tx.push([]byte("x"))
	d.close(b.now)
	b.peer("UIH 2 41")
	for range 100 {
		b.pass(lingerTime)
	}
	b.expect()
	b.peer("UIH 0 2301") // it lives
	b.expect("UIH 0 2101")
	b.peer("SABM 2")
	b.expect("DM 2")
	b.peer("UIH 0 e3050b8d")
	b.expect("UIH 0 e1050b8d", "UIH 2 78", "DISC 2")
	b.peer("DM 2")
	if d.state != dlcClosed || d.rx.len() != 0 {
		t.Errorf("state %d", d.state)
	}

	d = b.opened(3)
	d.holdUntil = b.now.Add(2 * lingerTime) // as a line that takes nothing
	d.tx.push([]byte("x"))
	d.close(b.now)
	b.pass(lingerTime - time.Millisecond)
	b.expect()
	b.pass(time.Millisecond)
	b.expect("DM 3", "DISC 3")
	b.peer("UA 3")

	// A peer that never lets it go on gets no false end, and this end its memory back.
	d = b.opened(4)
	b.peer("UIH 0 e305138f")
	b.expect("UIH 0 e105138f")
	d.tx.push([]byte("x"))
	d.close(b.now)
	for end := b.now.Add(stoppedTime - lingerTime); b.now.Before(end); {
		b.pass(lingerTime)
	}
	b.expect()
	b.pass(lingerTime)
	b.expect("DM 4", "DISC 4")
	b.pass(time.Minute)
	if d.state != dlcClosed || b.s.dlcs[4] != nil {
		t.Errorf("state %d", d.state)
	}
}

// TestTotalBuffer stops a peer as a whole that ignores MSC on many DLCs, and lets it go on.
func TestTotalBuffer(t *testing.T) {
	b := newBench(t, Config{Role: Responder, N1: 1499})
	var dlcs []*DLC
	block := strings.Repeat("41", 1024)
	fill := func(n, upTo int) {
		d := dlcs[n-2]
		for d.rx.len() < upTo && d.state == dlcOpen {
			b.peer(fmt.Sprintf("UIH %d %s", n, block))
		}
	}
	for n := 2; n <= 7; n++ {
		dlcs = append(dlcs, b.accepted(n))
	}
	for n := 2; n <= 3; n++ {
		fill(n, 3<<20)
	}
	sentFrames(t, b.s, b.now)
	fill(4, 2<<20)
	b.expect("UIH 0 e305138f", "UIH 0 6301")
	b.peer("UIH 0 6101")
	dlcs[0].rx.drop(1 << 20)
	b.s.taken(dlcs[0], b.now)
	b.expect()
	dlcs[0].rx.drop(1 << 20)
	b.s.taken(dlcs[0], b.now)
	b.expect("UIH 0 a301")
	b.pass(600 * time.Millisecond)
	if sent := sentFrames(t, b.s, b.now); !slices.ContainsFunc(sent, func(f frame) bool { return string(f.info) == "\xa3\x01" }) {
		t.Errorf("FCon is not asked again: %v", sent)
	}
	for range 10 { // it answers FCoff but never FCon: this end does not let it stay stopped
		b.pass(time.Minute)
	}
	if sent := sentFrames(t, b.s, b.now); len(sent) == 0 {
		t.Error("FCon is given up")
	}
	b.peer("UIH 0 a101")
	sentFrames(t, b.s, b.now)
	for n := 2; n <= 7; n++ {
		fill(n, 4<<20)
	}
	if total := b.s.received(); total > totalLimit+len(dlcs)*highWater {
		t.Errorf("%d octets in all", total)
	}
	open := 0
	for _, d := range dlcs {
		if d.state == dlcOpen {
			open++
		} else {
			wantErr(t, d.err, ErrOverrun)
		}
	}
	if open < 3 || open > 4 {
		t.Errorf("%d DLCs are left", open)
	}
	// The end of a DLC makes room as reading does.
	b.peer("UIH 0 6101")
	sentFrames(t, b.s, b.now)
	for n := 2; n <= 7; n++ {
		b.peer(fmt.Sprintf("DISC %d", n))
	}
	if sent := sentFrames(t, b.s, b.now); !slices.ContainsFunc(sent, func(f frame) bool { return string(f.info) == "\xa3\x01" }) {
		t.Errorf("after the DLCs' end it sent %v", sent)
	}
}

// TestLostMSC has a line that eats every MSC that lets the peer go on: a peer that is known to answer is asked until it does.
func TestLostMSC(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	d := b.accepted(2)
	block := "UIH 2 " + strings.Repeat("41", 512)
	for d.rx.len() < highWater {
		b.peer(block)
	}
	b.expect("UIH 0 e3050b8f")
	b.peer("UIH 0 e1050b8f")
	d.rx.clear()
	b.s.taken(d, b.now)
	b.expect("UIH 0 e3050b8d")
	for range 20 {
		b.pass(600 * time.Millisecond)
		b.expect("UIH 0 e3050b8d")
	}
	b.peer("UIH 0 e1050b8d")
	b.pass(time.Minute)
	b.expect()
}

// TestSchedule has control first, then DLC 1 and the data DLCs by turns.
func TestSchedule(t *testing.T) {
	b := newBench(t, Config{N1: 31, WriteSize: 4 * (31 + overhead)})
	var dlcs []*DLC
	for _, n := range []int{1, 2, 3, 7} {
		dlcs = append(dlcs, b.opened(n))
	}
	for _, d := range dlcs {
		d.tx.push(make([]byte, 31*(10-d.dlci)))
	}
	b.peer("UIH 0 2301")
	var order string
	for range 20 {
		buf := b.s.fill(nil, b.now)
		if len(buf) > 4*(31+overhead) {
			t.Errorf("%d octets in one write", len(buf))
		}
		for _, f := range decodeAll(&decoder{n1: 31}, buf) {
			order += fmt.Sprint(f.dlci)
		}
	}
	const want = "0" + "121317121317121317" + "232323232"
	if order != want {
		t.Errorf("order %s, want %s", order, want)
	}
}
