package mux

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
)

// checkedPair are two stations with the payload check, and DLC 2 open between them.
type checkedPair struct {
	t        *testing.T
	cp, ap   *station
	now      time.Time
	from, to *DLC // of the initiator and of the responder
}

func newCheckedPair(t *testing.T, advanced bool) *checkedPair {
	t.Helper()
	cfg := Config{Check: true, N1: 64, Advanced: advanced}
	p := &checkedPair{t: t, cp: testStation(cfg), now: time.Unix(1000, 0)}
	cfg.Role = Responder
	p.ap = testStation(cfg)
	p.cp.start(p.now)
	p.run()
	var err error
	if p.from, err = p.cp.open(2, p.now); err != nil {
		t.Fatal(err)
	}
	p.run()
	if len(p.ap.accept) != 1 || p.from.state != dlcOpen || len(p.cp.commands)+len(p.ap.commands) != 0 {
		t.Fatalf("%d to accept, state %d, %d and %d commands wait", len(p.ap.accept), p.from.state, len(p.cp.commands), len(p.ap.commands))
	}
	p.to = p.ap.accept[0]
	return p
}

// run carries octets both ways until both rest.
func (p *checkedPair) run() {
	for range 1000 {
		a, b := p.cp.fill(nil, p.now), p.ap.fill(nil, p.now)
		p.ap.receive(a, p.now)
		p.cp.receive(b, p.now)
		if len(a)+len(b) == 0 {
			return
		}
	}
	p.t.Fatal("the stations do not come to rest")
}

func (p *checkedPair) send(d *DLC, text string) {
	d.tx.push([]byte(text))
	d.s.dirty = true
}

// TestCheckedStream sends both ways with the check, which the DLC's user does not see, and ends in order.
func TestCheckedStream(t *testing.T) {
	for _, advanced := range []bool{false, true} {
		p := newCheckedPair(t, advanced)
		there, back := bytes.Repeat([]byte("there"), 100), bytes.Repeat([]byte{0x7e, 0x7d, 0xf9}, 100)
		p.send(p.from, string(there))
		p.send(p.to, string(back))
		p.run()
		if got := p.to.rx.peek(1000); !bytes.Equal(got, there) {
			t.Errorf("got %q", got)
		}
		if got := p.from.rx.peek(1000); !bytes.Equal(got, back) {
			t.Errorf("got %x", got)
		}
		p.send(p.from, "last")
		p.from.close(p.now)
		p.run()
		if p.to.err != io.EOF || p.from.state != dlcClosed {
			t.Errorf("ended with %v, state %d", p.to.err, p.from.state)
		}
		p.cp.close(p.now)
		p.run()
		if p.ap.state != muxEnded || p.cp.state != muxEnded || p.ap.err != nil || p.cp.err != nil {
			t.Errorf("states %d %d, %v, %v", p.cp.state, p.ap.state, p.cp.err, p.ap.err)
		}
	}
}

// TestCheckedFaults does to data frames what a line may do, and a peer that is not ours; nothing wrong is delivered.
func TestCheckedFaults(t *testing.T) {
	seq := func(n int) string { return fmt.Sprintf("record %d", n) }
	for name, fault := range map[string]func(frames []frame) []frame{
		"payload changed": func(f []frame) []frame { f[1].info[2] ^= 0x10; return f },
		"check changed":   func(f []frame) []frame { f[1].info[len(f[1].info)-1] ^= 1; return f },
		"lost":            func(f []frame) []frame { return slices.Delete(f, 1, 2) },
		"lost at the end": func(f []frame) []frame { return append(f[:2], f[4]) },
		"end lost":        func(f []frame) []frame { return slices.Delete(f, 3, 4) },
		"repeated":        func(f []frame) []frame { return slices.Insert(f, 2, f[1]) },
		"order changed":   func(f []frame) []frame { f[1], f[2] = f[2], f[1]; return f },
		"first of another": func(f []frame) []frame {
			f[0].info = appendSum([]byte("record 0"), sum(testStation(Config{}).seed(3, Initiator, 2), []byte("record 0")))
			return f
		},
		"echo": func(f []frame) []frame {
			f[0].info = appendSum([]byte("record 0"), sum(testStation(Config{}).seed(2, Responder, 2), []byte("record 0")))
			return f
		},
		"first of an earlier opening": func(f []frame) []frame {
			f[0].info = appendSum([]byte("record 0"), sum(testStation(Config{}).seed(2, Initiator, 0), []byte("record 0")))
			return f
		},
		"first of an earlier multiplexer": func(f []frame) []frame {
			f[0].info = appendSum([]byte("record 0"), sum(testStation(Config{Key: 1}).seed(2, Initiator, 2), []byte("record 0")))
			return f
		},
		"no check": func(f []frame) []frame { f[1].info = []byte("rec"); return f },
		"data behind the end": func(f []frame) []frame {
			return slices.Insert(f, 4, f[1])
		},
		"data behind the end that goes on with the sum": func(f []frame) []frame {
			s := testStation(Config{}).seed(2, Initiator, 2)
			for _, text := range []string{seq(0), seq(1), seq(2), "more"} {
				s = sum(s, []byte(text))
			}
			more := frame{dlci: 2, cr: true, typ: frameUIH, info: appendSum([]byte("more"), s)}
			return slices.Insert(f, 4, more)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newCheckedPair(t, false)
			var frames []frame
			for i := range 3 {
				p.send(p.from, seq(i))
				frames = append(frames, cloned(sentFrames(t, p.cp, p.now))...)
			}
			p.from.close(p.now)
			frames = append(frames, cloned(sentFrames(t, p.cp, p.now))...)
			if len(frames) != 5 || frames[4].typ != frameDISC || len(frames[3].info) != checkLen {
				t.Fatalf("frames %v", frames)
			}
			for _, f := range fault(frames) {
				p.ap.receive(appendBasic(nil, f), p.now)
			}
			got := string(p.to.rx.peek(1000))
			if want := seq(0) + seq(1) + seq(2); got != want[:len(got)] {
				t.Errorf("delivered %q", got)
			}
			wantErr(t, p.to.err, ErrCheck)
			if errors.Is(p.to.err, io.EOF) {
				t.Error("an end that looks orderly")
			}
			p.run() // and the sender learns
			p.now = p.now.Add(time.Minute)
			p.cp.tick(p.now)
			p.ap.tick(p.now)
			if p.ap.state != muxOpen || p.cp.state != muxOpen {
				t.Errorf("states %d, %d: the other DLCs suffer", p.cp.state, p.ap.state)
			}
		})
	}
}

// TestCheckedRight is the control of the two above: with the right seed the first record is taken.
func TestCheckedRight(t *testing.T) {
	p := newCheckedPair(t, false)
	info := appendSum([]byte("record 0"), sum(testStation(Config{}).seed(2, Initiator, 2), []byte("record 0")))
	p.ap.receive(appendBasic(nil, frame{dlci: 2, cr: true, typ: frameUIH, info: info}), p.now)
	if got := string(p.to.rx.peek(100)); got != "record 0" || p.to.err != nil {
		t.Errorf("%q %v", got, p.to.err)
	}
}

// TestCheckedLastFrame loses the last frame of a DLC whole, and some of what tells its sum: the DLC is torn all the same,
// and one that is whole stays open however quiet it is.
func TestCheckedLastFrame(t *testing.T) {
	for _, lost := range []int{0, 1, 2, 4} {
		p := newCheckedPair(t, false)
		p.send(p.to, "whole")
		p.run()
		p.send(p.from, "a frame that is lost")
		for i := range lost {
			if frames := sentFrames(t, p.cp, p.now); len(frames) != 1 || frames[0].dlci != 2 {
				t.Fatalf("%d: %v", i, frames)
			}
			p.pass(time.Second << i)
		}
		p.run()
		p.pass(10 * time.Minute)
		if lost == 0 {
			if p.to.state != dlcOpen || p.from.state != dlcOpen {
				t.Errorf("states %d, %d", p.from.state, p.to.state)
			}
			continue
		}
		wantErr(t, p.to.err, ErrCheck)
		wantErr(t, p.from.err, ErrReset)
	}
}

// pass lets time go by at both ends, which hear each other.
func (p *checkedPair) pass(d time.Duration) {
	for end := p.now.Add(d); ; {
		next := end
		for _, s := range []*station{p.cp, p.ap} {
			if due := s.nextTimer(); !due.IsZero() && due.Before(next) {
				next = due
			}
		}
		p.now = next
		p.cp.tick(p.now)
		p.ap.tick(p.now)
		if !p.now.Before(end) {
			return
		}
		p.run()
	}
}

// TestCheckedReopen opens a DLC again while SABM and UA get lost: the ends agree on the opening, and no frame of an earlier
// one passes.
func TestCheckedReopen(t *testing.T) {
	p := newCheckedPair(t, false)
	p.send(p.from, "of the first")
	old := sentFrames(t, p.cp, p.now)
	for round := range 4 {
		p.from.close(p.now)
		p.run()
		var err error
		if p.from, err = p.cp.open(2, p.now); err != nil {
			t.Fatal(err)
		}
		sabm := p.cp.fill(nil, p.now)
		if round == 1 { // the SABM is lost
			sabm = nil
		}
		p.ap.receive(sabm, p.now)
		ua := p.ap.fill(nil, p.now)
		switch round {
		case 2: // all that the AP answers is lost until the CP gives up and opens anew
			for p.from.state == dlcOpening {
				p.now = p.now.Add(time.Second)
				p.cp.tick(p.now)
				p.ap.receive(p.cp.fill(nil, p.now), p.now)
				p.ap.fill(nil, p.now)
			}
			if p.from, err = p.cp.open(2, p.now); err != nil {
				t.Fatal(err)
			}
		default:
			p.cp.receive(ua, p.now)
		}
		p.pass(5 * time.Second)
		if p.from.state != dlcOpen || len(p.ap.accept) == 0 {
			t.Fatalf("round %d: state %d", round, p.from.state)
		}
		p.to = p.ap.accept[len(p.ap.accept)-1]
		p.ap.accept = nil
		p.send(p.from, "there")
		p.send(p.to, "back")
		p.run()
		if p.to.state != dlcOpen || string(p.to.rx.peek(99)) != "there" || string(p.from.rx.peek(99)) != "back" {
			t.Fatalf("round %d: %v, %q, %q", round, p.to.err, p.to.rx.peek(99), p.from.rx.peek(99))
		}
	}
	for _, f := range old {
		p.ap.receive(appendBasic(nil, f), p.now)
	}
	wantErr(t, p.to.err, ErrCheck)
}

// TestCheckedTorn: DLCs that are torn one after the other end the multiplexer, for its ends may not agree; those between
// which something passes do not.
func TestCheckedTorn(t *testing.T) {
	for _, passes := range []bool{false, true} {
		p := newCheckedPair(t, false)
		for range 5 {
			if passes { // a frame of N1 octets
				p.send(p.from, string(make([]byte, 60)))
				p.run()
			}
			p.ap.receive(appendBasic(nil, frame{dlci: 2, cr: true, typ: frameUIH, info: []byte("wrong check")}), p.now)
			p.run()
			if p.ap.state == muxEnded {
				break
			}
			p.from, _ = p.cp.open(2, p.now)
			p.run()
		}
		if passes != (p.ap.state == muxOpen) {
			t.Errorf("frames pass between: %t, state %d", passes, p.ap.state)
		}
		if !passes {
			wantErr(t, p.ap.err, ErrCheck)
		}
	}
}

func cloned(frames []frame) []frame {
	for i := range frames {
		frames[i].info = bytes.Clone(frames[i].info)
	}
	return frames
}

// TestCheckedControl changes a control message: it is dropped, asked again, and nothing is stopped that was not.
func TestCheckedControl(t *testing.T) {
	p := newCheckedPair(t, false)
	other, err := p.cp.open(3, p.now)
	if err != nil {
		t.Fatal(err)
	}
	p.run()
	p.to.fc = true // as if its buffer were full
	p.ap.command(msgMSC, p.to, nil, p.now)
	frames := cloned(sentFrames(t, p.ap, p.now))
	if len(frames) != 1 || len(frames[0].info) != 4+checkLen {
		t.Fatalf("sent %v", frames)
	}
	frames[0].info[2] ^= 4 // now of DLC 3
	p.cp.receive(appendBasic(nil, frames[0]), p.now)
	if other.peerStop || p.from.peerStop {
		t.Fatal("a broken message is obeyed")
	}
	p.now = p.now.Add(time.Second)
	p.ap.tick(p.now)
	p.run()
	if !p.from.peerStop || other.peerStop || len(p.ap.commands) != 0 {
		t.Errorf("stopped %t %t, %d commands wait", p.from.peerStop, other.peerStop, len(p.ap.commands))
	}
}
