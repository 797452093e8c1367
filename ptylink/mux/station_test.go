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
	b.peer("SABM 1", "DISC 3", "UIH 1 41", "UIH 0 c101", "UIH 0 2301", "UIH 0", "UA 0", "DM 0")
	b.expect("DM 1", "DM 3")
	if b.s.state != muxIdle {
		t.Errorf("state %d", b.s.state)
	}
	if _, err := b.s.open(1, b.now); !errors.Is(err, ErrNotOpen) {
		t.Errorf("open: %v", err)
	}
}

// TestClosedBeforeStart has a peer that begins anew in AT mode instead of sending SABM: CLD or DISC ends the waiting, with
// and without payload check, and an initiator that waits for nobody takes no notice.
func TestClosedBeforeStart(t *testing.T) {
	for frame, check := range map[string]bool{"UIH 0 c301": false, "UIH 0 c301 ": true, "DISC 0": false} {
		b := &bench{t: t, s: testStation(Config{Role: Responder, Check: check}), now: time.Unix(1000, 0)}
		b.peer(frame)
		if sent := sentFrames(t, b.s, b.now); len(sent) != 1 || b.s.state != muxEnded || b.s.err != nil {
			t.Errorf("sent %v, state %d, %v", sent, b.s.state, b.s.err)
		}
	}
	b := &bench{t: t, s: testStation(Config{}), now: time.Unix(1000, 0)}
	b.peer("UIH 0 c301")
	b.expect()
	if b.s.state != muxIdle {
		t.Errorf("state %d", b.s.state)
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

// TestTwoStationsRest lets two ends talk until both are silent.
// TestRestartForgetsLate: answers that were due before the peer's restart do not come any more.
func TestRestartForgetsLate(t *testing.T) {
	b := newBench(t, Config{})
	b.s.late[2] = late{n: 1, until: b.now.Add(lingerTime)}
	b.peer("SABM 0")
	b.expect("UA 0")
	b.opened(2)
}

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

// TestClose sends data, DISC, CLD and DISC 0 in that order to a peer that never answers. The DLC that is in use is torn.
func TestClose(t *testing.T) {
	b := newBench(t, Config{})
	d, stopped, used := b.opened(2), b.opened(3), b.opened(4)
	b.peer("UIH 0 e3050f8f")
	b.expect("UIH 0 e1050f8f")
	d.tx.push([]byte("last"))
	stopped.tx.push([]byte("never"))
	used.tx.push([]byte("torn"))
	d.close(b.now)
	stopped.close(b.now)
	b.s.close(b.now)
	b.expect("DM 4", "DISC 4", "UIH 2 6c617374", "DISC 2")
	b.peer("UA 4")
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

	// A sender that is stopped within a frame goes on much later: nothing is lost, whatever the pieces.
	for _, advanced := range []bool{false, true} {
		b = newBench(t, Config{Role: Responder})
		d = b.accepted(2)
		b.s.cfg.Advanced, b.s.dec.advanced = advanced, advanced
		stopped := b.s.appendFrame(nil, frame{dlci: 2, typ: frameUIH, cr: true, info: []byte("stopped")})
		for _, piece := range [][]byte{stopped[:2], stopped[2:7], stopped[7:9], stopped[9:]} {
			b.s.receive(piece, b.now)
			b.pass(time.Minute)
		}
		if got := string(d.rx.peek(100)); got != "stopped" || !b.s.nextTimer().IsZero() {
			t.Errorf("advanced %t: received %q", advanced, got)
		}
	}

	// A new peer behind the half frame of one that died long ago is heard soon.
	b = newBench(t, Config{Role: Responder})
	b.s.receive(half, b.now)
	b.pass(time.Hour)
	b.expect()
	b.peer("SABM 0")
	b.pass(100 * time.Millisecond)
	b.expect("UA 0")
	b = newBench(t, Config{Role: Responder})
	d = b.accepted(2)

	// A line so slow that a frame takes longer than the limit.
	slow := appendBasic(nil, frame{dlci: 2, typ: frameUIH, cr: true, info: make([]byte, 500)})
	for i := range slow {
		b.pass(10 * time.Millisecond)
		b.s.receive(slow[i:i+1], b.now)
	}
	if d.rx.len() != 500 {
		t.Errorf("%d octets received", d.rx.len())
	}
}
