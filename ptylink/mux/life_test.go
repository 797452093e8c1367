package mux

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

const (
	testCommand = "UIH 0 230b616c697665"
	mscCommand  = "UIH 0 e3050b8d" // of DLC 2
)

// TestLifeUnknown: a peer that has answered no question is not cut off by its silence.
func TestLifeUnknown(t *testing.T) {
	b := newBench(t, Config{KeepAlive: 5 * time.Second})
	b.pass(5 * time.Second)
	b.expect(testCommand)
	b.pass(time.Hour)
	b.expect(testCommand, testCommand)
	if b.s.state != muxOpen || !b.s.nextTimer().IsZero() {
		t.Errorf("state %d", b.s.state)
	}
	b.peer("UIH 0 2305dead")
	b.expect("UIH 0 2105dead") // and it still works
}

// TestLifeByMSC: a peer that answers MSC and no Test is asked by MSC, and silence to that is an end.
func TestLifeByMSC(t *testing.T) {
	b := newBench(t, Config{KeepAlive: 5 * time.Second})
	b.opened(2)
	b.pass(6800 * time.Millisecond)
	b.expect(testCommand, testCommand, testCommand, mscCommand)
	for range 100 {
		b.peer("UIH 0 e1050b8d")
		b.pass(5 * time.Second)
		b.expect(mscCommand)
	}
	if b.s.state != muxOpen {
		t.Fatalf("state %d, %v", b.s.state, b.s.err)
	}
	b.pass(1800 * time.Millisecond)
	b.expect(mscCommand, mscCommand)
	wantErr(t, b.s.err, ErrTimeout)
}

// TestLifeByPSC: ofono answers Test with PSC, which is life, and no answer to Test. When it dies MSC finds out.
func TestLifeByPSC(t *testing.T) {
	b := newBench(t, Config{Role: Responder, KeepAlive: 5 * time.Second})
	b.accepted(2)
	for range 100 {
		b.pass(5 * time.Second)
		b.expect(testCommand)
		b.peer("UIH 0 4301")
		b.expect("UIH 0 4101")
	}
	b.pass(time.Minute)
	b.expect(testCommand, testCommand, testCommand, mscCommand, mscCommand, mscCommand)
	wantErr(t, b.s.err, ErrTimeout)
}

// loop gives a station back what it sends, for a time.
func (b *bench) loop(d time.Duration) {
	b.t.Helper()
	for end := b.now.Add(d); b.s.state != muxEnded; {
		out := b.s.fill(nil, b.now)
		b.s.receive(out, b.now)
		if len(out) > 0 {
			continue
		}
		next := b.s.nextTimer()
		if next.IsZero() || next.After(end) {
			return
		}
		b.now = next
		b.s.tick(b.now)
	}
}

// TestLoop: a line that gives back what this end sends has no peer.
func TestLoop(t *testing.T) {
	b := &bench{t: t, s: testStation(Config{}), now: time.Unix(1000, 0)}
	b.s.start(b.now)
	b.loop(time.Minute)
	if b.s.state != muxIdle || !b.s.heard.IsZero() {
		t.Errorf("state %d, heard %v", b.s.state, b.s.heard)
	}
	wantErr(t, b.s.startErr, ErrTimeout)

	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := far.Read(buf)
				if err != nil {
					return
				}
				if _, err := far.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		m := New(near, Config{})
		wantErr(t, m.Start(t.Context()), ErrTimeout)
		m.Close()
		far.Close()
	})
}

// TestLoopAfterPeer: the peer is gone, and the line gives back what this end sends. That is no life, whether the peer had
// the C/R bit of its frames right or not; data does not come back to its sender, and DISC is no orderly end.
func TestLoopAfterPeer(t *testing.T) {
	for _, role := range []Role{Initiator, Responder} {
		for _, wrongCR := range []bool{false, true} {
			b := newBench(t, Config{Role: role, KeepAlive: 5 * time.Second})
			d := b.opened(2)
			if wrongCR {
				b.s.receive(appendBasic(nil, frame{dlci: 2, typ: frameUIH, cr: b.s.commandCR(), info: []byte("data")}), b.now)
			} else {
				b.peer("UIH 2 64617461") // data
			}
			if got := string(d.rx.peek(99)); got != "data" {
				t.Fatalf("%v: got %q", role, got)
			}
			d.rx.clear()
			if !wrongCR {
				d.tx.push([]byte("not for me"))
			}
			b.loop(time.Minute)
			if b.s.state != muxEnded {
				t.Errorf("%v, wrong C/R %t: state %d", role, wrongCR, b.s.state)
			}
			wantErr(t, b.s.err, ErrTimeout)
			wantErr(t, d.err, ErrTimeout)
			if d.rx.len() > 0 {
				t.Errorf("%v: %q came back", role, d.rx.peek(99))
			}
		}
	}
	b := newBench(t, Config{})
	d := b.opened(2)
	d.close(b.now)
	b.loop(100 * time.Millisecond)
	if d.state != dlcClosing || d.err != nil {
		t.Errorf("closed by its own DISC: state %d, %v", d.state, d.err)
	}
}

// TestWrongCR: a peer that has the C/R bit of its UIH frames wrong, as Zephyr's responder, is heard and lives.
func TestWrongCR(t *testing.T) {
	b := newBench(t, Config{KeepAlive: 5 * time.Second})
	d, _ := b.s.open(2, b.now)
	b.expect("SABM 2")
	b.peer("UA 2")
	b.expect(mscCommand)
	own := func(info string) {
		b.s.receive(appendBasic(nil, frame{typ: frameUIH, cr: true, info: unhex(t, info)}), b.now)
	}
	own("e1050b8d")
	own("e3050b8d")
	b.expect("UIH 0 e1050b8d", mscCommand)
	own("e1050b8d")
	for i := range 10 {
		if i > 0 {
			b.s.mute[msgTest] = false // as if it had never been asked
		}
		b.s.receive(appendBasic(nil, frame{dlci: 2, typ: frameUIH, cr: true, info: []byte("data")}), b.now)
		b.pass(6900*time.Millisecond - b.now.Sub(b.s.heard)) // Test, which is not answered, then MSC
		if sent := sentFrames(t, b.s, b.now); len(sent) == 0 {
			t.Fatal("not asked")
		}
		own("e1050b8d") // answers MSC alone
	}
	if b.s.state != muxOpen || d.rx.len() != 40 {
		t.Errorf("state %d, %v, %q", b.s.state, b.s.err, d.rx.peek(99))
	}
}

// TestJunk: octets that are no frame are told once, with their number.
func TestJunk(t *testing.T) {
	var log bytes.Buffer
	cfg := Config{KeepAlive: 5 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))}
	b := newBench(t, cfg)
	b.s.receive([]byte("login: "), b.now)
	b.s.receive([]byte("\xf9\x07\xef\x07\x12\x34\x56\xff\xf9"), b.now) // a wrong FCS
	if log.Len() > 0 {
		t.Errorf("told too soon: %s", &log)
	}
	for range 20 {
		b.peer("UIH 0 2105dead")
		b.s.receive([]byte("text"), b.now)
		b.pass(time.Second)
	}
	b.s.end(nil)
	if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), `"mux: octets that are no frame" octets=34`) {
		t.Errorf("%d warnings: %s", n, &log)
	}
	log.Reset()
	b = newBench(t, cfg)
	b.s.receive([]byte("text"), b.now)
	b.s.end(nil) // before it was told
	if !strings.Contains(log.String(), "octets=4") {
		t.Errorf("%s", &log)
	}
	log.Reset()
	s := testStation(cfg)
	s.receive([]byte("\r\nOK\r\n"), b.now) // usual before the first frame
	s.end(nil)
	if log.Len() > 0 {
		t.Errorf("%s", &log)
	}
}
