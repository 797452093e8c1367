package ptylink

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// lineBed is a serial line whose AP changes.
type lineBed struct {
	t    *testing.T
	line *serial
	link *Link
	up   chan bool

	running sync.WaitGroup
	stop    context.CancelFunc
	endAP   func()
}

// newLineBed runs a Link on a serial line. It is called in a bubble.
func newLineBed(t *testing.T, cfg LinkConfig) *lineBed {
	testkit.NoLeaks(t)
	b := &lineBed{t: t, line: &serial{hit: func(_, _ int, b byte) byte { return b }}, up: make(chan bool, 1000), endAP: func() {}}
	ctx, cancel := context.WithCancel(t.Context())
	b.stop = cancel
	cfg.Open = func(context.Context) (io.ReadWriteCloser, error) { return b.line.open(0) }
	cfg.State = func(up bool, _ error) { b.up <- up }
	b.link = NewLink(cfg)
	b.running.Go(func() { _ = b.link.Run(ctx) })
	return b
}

// end ends all.
func (b *lineBed) end() {
	b.endAP()
	b.stop()
	b.running.Wait()
}

// ap puts an AP at the other end, in place of the one before.
func (b *lineBed) ap(run func(ctx context.Context, open open)) {
	b.endAP()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	b.endAP = func() { cancel(); <-done }
	go func() {
		defer close(done)
		run(ctx, func(context.Context) (io.ReadWriteCloser, error) { return b.line.open(1) })
	}()
}

// ours is an AP of this package.
func ours(ctx context.Context, open open) { _ = NewPeer(PeerConfig{Open: open}).Run(ctx) }

// plain is an AP that answers AT commands and knows none of ours; with a multiplexer only where it has AT+CMUX.
func plain(cmux bool) func(context.Context, open) {
	return func(ctx context.Context, open open) {
		for ctx.Err() == nil {
			l, _ := open(ctx)
			s := at.NewServer(at.ServerConfig{})
			if cmux {
				s.Handle(nameCMUX, func(context.Context, at.Command) ([]string, error) { return nil, at.ErrSwitch }, "")
			}
			if _, switched := s.Serve(ctx, l).(*at.Switched); switched {
				foreignMux(ctx, l)
			}
			l.Close()
		}
	}
}

// foreignMux is a multiplexer without our additions, with AT on DLC 1.
func foreignMux(ctx context.Context, l io.ReadWriteCloser) {
	m := mux.New(l, mux.Config{Role: mux.Responder})
	defer m.Close()
	if m.Start(ctx) != nil {
		return
	}
	var served sync.WaitGroup
	defer served.Wait()
	for {
		d, err := m.Accept(ctx)
		if err != nil {
			return
		}
		served.Go(func() { _ = at.NewServer(at.ServerConfig{}).Serve(ctx, d) })
	}
}

// settings waits for the line, or until it has not come up within ten minutes, and gives what it has.
func (b *lineBed) settings() string {
	for {
		select {
		case up := <-b.up:
			if s := b.link.session(); up && s != nil {
				return fmt.Sprintf("multiplexer %t, payload check %t", s.mux != nil, s.cfg.Check)
			}
		case <-time.After(10 * time.Minute):
			return "no line"
		}
	}
}

// TestCheckMode: what the line is with APs of all makes, and that it goes on wanting what it once had.
func TestCheckMode(t *testing.T) {
	const with, without, none = "multiplexer true, payload check true", "multiplexer true, payload check false", "multiplexer false, payload check false"
	for _, c := range []struct {
		mode CheckMode
		ap   func(context.Context, open)
		want string
	}{
		{CheckUART, ours, with},
		{CheckUART, plain(true), without},
		{CheckUART, plain(false), none},
		{CheckOff, ours, without},
		{CheckOn, ours, with},
		{CheckOn, plain(true), "no line"},
		{CheckOn, plain(false), "no line"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newLineBed(t, LinkConfig{Check: c.mode})
			b.ap(c.ap)
			if got := b.settings(); got != c.want {
				t.Errorf("mode %d: %s, want %s", c.mode, got, c.want)
			}
			b.end()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newLineBed(t, LinkConfig{})
		for i, ap := range []func(context.Context, open){ours, plain(true), ours, plain(false), ours} {
			b.ap(ap)
			want := with
			if i%2 != 0 {
				want = "no line"
			}
			if got := b.settings(); got != want {
				t.Errorf("AP %d: %s, want %s", i, got, want)
			}
		}
		b.end()
	})
	synctest.Test(t, func(t *testing.T) { // without the check, but with the multiplexer
		b := newLineBed(t, LinkConfig{Check: CheckOff})
		for i, ap := range []func(context.Context, open){ours, plain(false), plain(true)} {
			b.ap(ap)
			if got := b.settings(); got != map[bool]string{false: without, true: "no line"}[i == 1] {
				t.Errorf("AP %d: %s", i, got)
			}
		}
		b.end()
	})
}

// TestMuxCheckKey: a change in either command makes other keys.
func TestMuxCheckKey(t *testing.T) {
	keys := map[uint32]string{}
	for _, nonce := range []uint32{0, 1, 1 << 31} {
		for _, line := range []string{"AT+CMUX=0", "AT+CMUX=0,0,5,512,30", "AT+CMUX=0,0,5,513,30", "AT+CMUX=0,0,5,512,31", "AT+CMUX=1,0,5,512,30"} {
			cmds, err := at.ParseLine(line)
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := muxCheck{on: true, nonce: nonce}.apply(mux.Config{}, cmds[0])
			if err != nil || !cfg.Check {
				t.Fatal(cfg, err)
			}
			if same, ok := keys[cfg.Key]; ok {
				t.Errorf("%d %s has the key of %s", nonce, line, same)
			}
			keys[cfg.Key] = fmt.Sprint(nonce, line)
		}
	}
}

// TestMuxCheckKeyIsNew: each start of a line has a key of its own, so that no frame of an earlier one passes.
func TestMuxCheckKeyIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newLineBed(t, LinkConfig{})
		keys := map[uint32]bool{}
		for i := range 3 {
			b.ap(ours)
			if got := b.settings(); got != "multiplexer true, payload check true" {
				t.Fatalf("start %d: %s", i, got)
			}
			key := b.link.session().cfg.Key
			if keys[key] {
				t.Errorf("start %d has the key %08x of an earlier one", i, key)
			}
			keys[key] = true
		}
		b.end()
	})
}

// TestSlowAP: an AP that takes its time for AT+CMUX, as some modems do, is waited for longer after it came too late.
func TestSlowAP(t *testing.T) {
	for _, slow := range []time.Duration{1300 * time.Millisecond, 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := newLineBed(t, LinkConfig{Check: CheckOff})
			b.ap(func(ctx context.Context, open open) {
				for ctx.Err() == nil {
					l, _ := open(ctx)
					s := at.NewServer(at.ServerConfig{})
					s.Handle(nameCMUX, func(context.Context, at.Command) ([]string, error) {
						time.Sleep(slow)
						return nil, at.ErrSwitch
					}, "")
					if _, switched := s.Serve(ctx, l).(*at.Switched); switched {
						foreignMux(ctx, l)
					}
					l.Close()
					time.Sleep(10 * time.Millisecond) // the CP may not be there yet
				}
			})
			if got := b.settings(); got != "multiplexer true, payload check false" {
				t.Errorf("%v: %s", slow, got)
			}
			b.end()
		})
	}
}
