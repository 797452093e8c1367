package mux

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// bench drives a station without a line; the test is the peer and the clock.
type bench struct {
	t   testing.TB
	s   *station
	now time.Time
}

func testStation(cfg Config) *station {
	return newStation(cfg, sync.NewCond(new(sync.Mutex)))
}

// newBench makes a station whose DLCI 0 is open.
func newBench(t testing.TB, cfg Config) *bench {
	b := &bench{t: t, now: time.Unix(1000, 0)}
	b.s = openStation(t, cfg, b.now)
	return b
}

// openStation makes a station whose DLCI 0 is open.
func openStation(t testing.TB, cfg Config, now time.Time) *station {
	t.Helper()
	s := testStation(cfg)
	if cfg.Role == Initiator {
		s.start(now)
		s.receive(appendBasic(nil, frame{typ: frameUA, cr: true, pf: true}), now)
	} else {
		s.receive(appendBasic(nil, frame{typ: frameSABM, cr: true, pf: true}), now)
	}
	if sent := sentFrames(t, s, now); s.state != muxOpen || len(sent) != 1 {
		t.Fatalf("state %d, sent %v", s.state, sent)
	}
	return s
}

// sentFrames takes what the station wants to send.
func sentFrames(t testing.TB, s *station, now time.Time) []frame {
	t.Helper()
	d := &decoder{n1: s.cfg.N1, advanced: s.cfg.Advanced}
	var frames []frame
	for range 10000 {
		buf := s.fill(nil, now)
		if len(buf) == 0 {
			if d.partial() || d.dropped > 0 {
				t.Fatal("the station sends what does not decode")
			}
			return frames
		}
		frames = append(frames, decodeAll(d, buf)...)
	}
	t.Fatal("the station does not stop sending")
	return nil
}

// peer hands over one frame, written as "TYPE dlci hex".
func (b *bench) peer(frames ...string) {
	b.t.Helper()
	for _, text := range frames {
		var name, info string
		f := frame{cr: b.s.cfg.Role == Responder}
		if _, err := fmt.Sscan(text+" -", &name, &f.dlci, &info); err != nil {
			b.t.Fatalf("%s: %v", text, err)
		}
		f.info = unhex(b.t, strings.TrimSuffix(info, "-"))
		for _, f.typ = range []frameType{frameSABM, frameUA, frameDM, frameDISC, frameUIH, frameUI} {
			if f.typ.String() == name {
				break
			}
		}
		f.pf = f.typ != frameUIH
		b.s.receive(appendBasic(nil, f), b.now)
	}
}

// expect compares what the station sends with frames written the same way.
func (b *bench) expect(want ...string) {
	b.t.Helper()
	var got []string
	for _, f := range sentFrames(b.t, b.s, b.now) {
		text := fmt.Sprintf("%v %d", f.typ, f.dlci)
		if len(f.info) > 0 {
			text += fmt.Sprintf(" %x", f.info)
		}
		got = append(got, text)
		command := f.typ == frameSABM || f.typ == frameDISC || f.typ == frameUIH
		if f.cr != (command == (b.s.cfg.Role == Initiator)) {
			b.t.Errorf("%s has C/R %t", text, f.cr)
		}
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("sent %q, want %q", got, want)
	}
}

// pass lets time go by; the station's timer is called when it asks for it.
func (b *bench) pass(d time.Duration) {
	b.t.Helper()
	end := b.now.Add(d)
	for range 1000 {
		next := b.s.nextTimer()
		if next.IsZero() || next.After(end) {
			b.now = end
			return
		}
		if next.After(b.now) {
			b.now = next
		}
		b.s.tick(b.now)
	}
	b.t.Fatal("the timer never rests")
}

// opened opens DLC n from this side, signals exchanged.
func (b *bench) opened(n int) *DLC {
	b.t.Helper()
	d, err := b.s.open(n, b.now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.expect(fmt.Sprintf("SABM %d", n))
	b.peer(fmt.Sprintf("UA %d", n))
	msc := fmt.Sprintf("%02x", n<<2|3)
	b.expect("UIH 0 e305" + msc + "8d")
	b.peer("UIH 0 e105"+msc+"8d", "UIH 0 e305"+msc+"8d")
	b.expect("UIH 0 e105"+msc+"8d", "UIH 0 e305"+msc+"8d") // answer, and the peer's news answered by ours
	b.peer("UIH 0 e105" + msc + "8d")
	b.expect()
	if len(b.s.commands) != 0 {
		b.t.Fatalf("%d commands wait", len(b.s.commands))
	}
	return d
}

// accepted lets the peer open DLC n.
func (b *bench) accepted(n int) *DLC {
	b.t.Helper()
	msc := fmt.Sprintf("%02x", n<<2|3)
	b.peer(fmt.Sprintf("SABM %d", n))
	b.expect(fmt.Sprintf("UA %d", n), "UIH 0 e305"+msc+"8d")
	b.peer("UIH 0 e105" + msc + "8d")
	if len(b.s.accept) == 0 {
		b.t.Fatal("nothing to accept")
	}
	d := b.s.accept[0]
	b.s.accept = b.s.accept[1:]
	return d
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

func TestStartRetries(t *testing.T) {
	b := &bench{t: t, s: testStation(Config{}), now: time.Unix(1000, 0)}
	b.s.start(b.now)
	b.expect("SABM 0")
	b.pass(300 * time.Millisecond)
	b.expect("SABM 0")
	b.pass(299 * time.Millisecond)
	b.expect()
	b.pass(time.Millisecond)
	b.expect("SABM 0")
	b.pass(300 * time.Millisecond)
	b.expect()
	if b.s.state != muxIdle {
		t.Errorf("state %d", b.s.state)
	}
	wantErr(t, b.s.startErr, ErrTimeout)
	b.peer("UA 0") // too late
	if b.s.state != muxIdle {
		t.Errorf("state %d after a late UA", b.s.state)
	}
	b.s.start(b.now)
	b.expect("SABM 0")
	b.peer("DM 0")
	wantErr(t, b.s.startErr, ErrRefused)
	b.s.start(b.now)
	b.peer("UA 0")
	b.expect("SABM 0")
	if b.s.state != muxOpen {
		t.Errorf("state %d after UA", b.s.state)
	}
}

// TestNotStarted has nothing but DM for a peer that does not begin with SABM 0.
func TestNotStarted(t *testing.T) {
	b := &bench{t: t, s: testStation(Config{Role: Responder}), now: time.Unix(1000, 0)}
	b.peer("SABM 1", "DISC 0", "DISC 3", "UIH 1 41", "UIH 0 c301", "UA 0", "DM 0")
	b.expect("DM 1", "DM 0", "DM 3")
	if b.s.state != muxIdle {
		t.Errorf("state %d", b.s.state)
	}
	if _, err := b.s.open(1, b.now); !errors.Is(err, ErrNotOpen) {
		t.Errorf("open: %v", err)
	}
}

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

func TestRestart(t *testing.T) {
	b := newBench(t, Config{Role: Responder})
	d := b.accepted(2)
	b.peer("SABM 3", "UIH 0 830d0300000a1f000300", "UIH 0 6301", "UIH 2 41")
	b.s.fill(nil, b.now)
	b.peer("SABM 0")
	b.expect("UA 0")
	wantErr(t, d.err, ErrReset)
	if d.rx.len() != 1 || len(b.s.accept) != 0 || b.s.stopped || b.s.state != muxOpen {
		t.Error("something is left of the time before")
	}
	b.accepted(2)
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

// TestTwoStationsRest lets two ends talk until both are silent.
func TestTwoStationsRest(t *testing.T) {
	now := time.Unix(1000, 0)
	a, b := testStation(Config{}), testStation(Config{Role: Responder})
	a.start(now)
	var sizes []int
	exchange := func() {
		t.Helper()
		for range 20 {
			toB, toA := a.fill(nil, now), b.fill(nil, now)
			sizes = append(sizes, len(toB), len(toA))
			b.receive(toB, now)
			a.receive(toA, now)
			if len(toA)+len(toB) == 0 {
				return
			}
		}
		t.Fatalf("no rest: %v", sizes)
	}
	exchange()
	d, err := a.open(1, now)
	if err != nil {
		t.Fatal(err)
	}
	exchange()
	if d.state != dlcOpen || len(a.commands)+len(b.commands) != 0 {
		t.Errorf("state %d, %d and %d commands wait", d.state, len(a.commands), len(b.commands))
	}
	a.close(now)
	exchange()
	if a.state != muxEnded || b.state != muxEnded {
		t.Errorf("states %d and %d", a.state, b.state)
	}
}

// TestPeerCloses takes the three ways in which a peer ends things.
func TestPeerCloses(t *testing.T) {
	for frames, want := range map[string]struct {
		answer string
		err    error
		ended  bool
	}{
		"DISC 2":     {"UA 2", io.EOF, false},
		"DM 2":       {"", ErrReset, false},
		"DISC 0":     {"UA 0", ErrClosed, true},
		"UIH 0 c301": {"UIH 0 c101", ErrClosed, true},
		"UIH 0 c3":   {"UIH 0 c101", ErrClosed, true},
		"DM 0":       {"", ErrReset, true},
	} {
		b := newBench(t, Config{Role: Responder})
		d := b.accepted(2)
		b.peer("UIH 2 41", frames)
		if want.answer == "" {
			b.expect()
		} else {
			b.expect(want.answer)
		}
		wantErr(t, d.err, want.err)
		if d.rx.len() != 1 || (b.s.state == muxEnded) != want.ended || d.state != dlcClosed {
			t.Errorf("%s: %d octets, state %d", frames, d.rx.len(), b.s.state)
		}
		if (b.s.err != nil) != (frames == "DM 0") {
			t.Errorf("%s: %v", frames, b.s.err)
		}
	}
}

// TestClose sends data, DISC, CLD and DISC 0 in that order to a peer that never answers.
func TestClose(t *testing.T) {
	b := newBench(t, Config{})
	d, stopped := b.opened(2), b.opened(3)
	b.peer("UIH 0 e3050f8f")
	b.expect("UIH 0 e1050f8f")
	d.tx.push([]byte("last"))
	stopped.tx.push([]byte("never"))
	b.s.close(b.now)
	b.expect("UIH 2 6c617374", "DISC 2")
	b.pass(890 * time.Millisecond)
	b.expect("DISC 2", "DISC 2")
	b.pass(10 * time.Millisecond)
	b.expect("DM 3", "DISC 3", "UIH 0 c301") // torn, not ended
	b.pass(900 * time.Millisecond)
	b.expect("DISC 3", "UIH 0 c301", "DISC 3", "UIH 0 c301", "DISC 0")
	b.pass(900 * time.Millisecond)
	b.expect("DISC 0", "DISC 0")
	if b.s.state != muxEnded || b.s.err != nil || !b.s.nextTimer().IsZero() {
		t.Errorf("state %d, error %v", b.s.state, b.s.err)
	}
	for _, answer := range []string{"UIH 0 c101", "UIH 0 1103c3", "DISC 0", "UIH 0 c301"} {
		b := newBench(t, Config{})
		b.s.close(b.now)
		b.expect("UIH 0 c301")
		b.peer(answer)
		if strings.HasSuffix(answer, "1103c3") {
			b.expect("DISC 0") // CLD is not known there
			b.peer("UA 0")
		}
		if b.s.state != muxEnded || b.s.err != nil {
			t.Errorf("after %s state %d, error %v", answer, b.s.state, b.s.err)
		}
	}
}

// TestLinger gives up what a stopped peer does not take within the time.
func TestLinger(t *testing.T) {
	b := newBench(t, Config{})
	d := b.opened(2)
	b.peer("UIH 0 e3050b8f")
	b.expect("UIH 0 e1050b8f")
	d.tx.push([]byte("x"))
	d.close(b.now)
	b.peer("UIH 2 41")
	b.pass(lingerTime - time.Millisecond)
	b.expect()
	b.peer("SABM 2")
	b.expect("DM 2")
	b.pass(time.Millisecond)
	b.expect("DM 2", "DISC 2")
	b.peer("DM 2")
	if d.state != dlcClosed || d.rx.len() != 0 {
		t.Errorf("state %d", d.state)
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
	const pn = "UIH 0 83110200001e00020300"
	for _, c := range []struct {
		name, answer string
		n1           int
	}{
		{"smaller", "UIH 0 81110200001e64000300", 100},
		{"same", "UIH 0 81110200001e00020300", 512},
		{"larger is nonsense", "UIH 0 81110200001e00100300", 512},
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

// TestHalfFrame gives up a frame that does not end and finds the SABM it had eaten.
func TestHalfFrame(t *testing.T) {
	b := &bench{t: t, s: testStation(Config{Role: Responder}), now: time.Unix(1000, 0)}
	half := []byte{flagBasic, 0x07, 0xef, 0xfe, 0x01} // claims 255 octets
	b.s.receive(half, b.now)
	for range 2 {
		b.pass(300 * time.Millisecond)
		b.peer("SABM 0")
	}
	b.expect()
	b.pass(49 * time.Millisecond)
	b.expect()
	b.pass(time.Millisecond)
	b.expect("UA 0") // the second SABM restarts what the first began
	if !b.s.nextTimer().IsZero() {
		t.Error("a timer runs on")
	}

	// Octets that come between the two looks end the frame: it is taken.
	b = newBench(t, Config{Role: Responder})
	d := b.accepted(2)
	late := appendBasic(nil, frame{dlci: 2, typ: frameUIH, cr: true, info: []byte("late")})
	b.s.receive(late[:6], b.now)
	b.pass(640 * time.Millisecond)
	b.s.receive(late[6:], b.now)
	b.pass(time.Second)
	if d.rx.len() != 4 {
		t.Errorf("%d octets received", d.rx.len())
	}

	// A line so slow that a frame takes longer than the limit.
	slow := appendBasic(nil, frame{dlci: 2, typ: frameUIH, cr: true, info: make([]byte, 500)})
	for i := range slow {
		b.pass(10 * time.Millisecond)
		b.s.receive(slow[i:i+1], b.now)
	}
	if d.rx.len() != 504 {
		t.Errorf("%d octets received", d.rx.len())
	}
}
