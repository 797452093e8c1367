package mux

import (
	"testing"
	"time"
)

// FuzzStation gives a station any octets, cut and spread over time, as a peer gone
// wild. It must stay within its bounds, send only valid frames, and rest.
func FuzzStation(f *testing.F) {
	sabm0 := "\xf9\x03\x3f\x01\x1c\xf9"
	f.Add([]byte(sabm0+"\xf9\x07\x3f\x01\xde\xf9\xf9\x07\xef\x07\x12\x34\x56\xd3\xf9"), uint8(3), true)
	f.Add([]byte(sabm0+"\xf9\x03\xef\x09\xe3\x05\x07\x8f\xfb\xf9"+"\xf9\x07\x53\x01\x3f\xf9"), uint8(1), true)
	f.Add([]byte(sabm0+"\xf9\x03\xef\x05\xc3\x01\xf2\xf9"), uint8(200), true)
	f.Add([]byte("\xf9\x03\x73\x01\xd7\xf9\xf9\x07\x73\x01\x15\xf9\xf9\x01\xef\x09\xe3\x05\x07\x0d\x9a\xf9"), uint8(7), false)
	f.Fuzz(func(t *testing.T, in []byte, cut uint8, responder bool) {
		cfg := Config{N1: 64, KeepAlive: time.Second, Negotiate: cut&1 != 0, Check: cut&2 != 0}
		if responder {
			cfg.Role = Responder
		}
		b := &bench{t: t, s: testStation(cfg), now: time.Unix(1000, 0)}
		if !responder {
			b.s.start(b.now)
		}
		received := 0
		for i := 0; len(in) > 0; i++ {
			n := min(len(in), 1+int(cut)%17)
			received += n
			b.s.receive(in[:n], b.now)
			in = in[n:]
			if d, err := b.s.open(1+i%3, b.now); err == nil {
				d.tx.push([]byte("some data"))
				b.s.dirty = true
			}
			if i%5 == 4 {
				b.pass(time.Duration(cut) * 10 * time.Millisecond)
			}
			checkStation(t, b, received)
		}
		b.s.close(b.now)
		b.pass(10 * time.Second)
		sentFrames(t, b.s, b.now)
		if b.s.state != muxEnded || !b.s.nextTimer().IsZero() {
			t.Errorf("state %d long after close", b.s.state)
		}
		for dlci, d := range b.s.dlcs {
			if d != nil {
				t.Errorf("DLC %d outlives the multiplexer", dlci)
			}
		}
	})
}

// checkStation looks at what must hold at any time.
func checkStation(t *testing.T, b *bench, received int) {
	t.Helper()
	s := b.s
	for _, f := range sentFrames(t, s, b.now) {
		if f.dlci > highestDLCI || f.typ == frameUI || len(f.info) > s.cfg.N1 {
			t.Fatalf("sent %v", f)
		}
	}
	waiting := 0
	for dlci, d := range s.dlcs {
		if d == nil {
			continue
		}
		waiting += d.rx.len()
		if d.dlci != dlci || d.state == dlcClosed || d.n1 < 1 || d.n1 > s.cfg.N1 {
			t.Fatalf("DLC %d is %+v", dlci, d)
		}
	}
	if waiting > received || len(s.accept) > maxAccept || len(s.commands) > 2*highestDLCI+3 {
		t.Fatalf("%d octets, %d to accept, %d commands", waiting, len(s.accept), len(s.commands))
	}
	if next := s.nextTimer(); !next.IsZero() && next.Before(b.now) {
		t.Fatalf("a timer is overdue by %v", b.now.Sub(next))
	}
}
