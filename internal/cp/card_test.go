package cp_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/softuicc"
	"bipd/uicc"
)

// awaitState waits until the CP is in the state.
func (b *bed) awaitState(want string) control.Card {
	b.t.Helper()
	var s control.Card
	eventually(b.t, "state "+want, func() bool { s = b.cp.Status(); return s.State == want })
	return s
}

// TestCardRemoved takes a card out in the middle of a transfer by each method, and puts it in again.
func TestCardRemoved(t *testing.T) {
	for name, bearer := range map[string]cat.BearerDescription{"method 1": packetBearer, "method 2": wlanBearer} {
		t.Run(name, func(t *testing.T) {
			remote, clients := endless(t)
			good := echoServer(t)
			var runs atomic.Int32
			running := make(chan struct{})
			b := start(t, options{ap: impatient, applets: applets(func(a *app) {
				if runs.Add(1) == 1 {
					p := remote()
					p.Bearer = bearer
					a.take(a.dial(p), 20000)
					a.dial(p)
					close(running)
					<-a.ctx.Done()
					return
				}
				c := a.dial(params(bearer, cat.OpenImmediate, good))
				if c.Channel() != 1 {
					a.fail("channel %d was opened: the terminal has not forgotten the one before", c.Channel())
				}
				a.echo(c)
				a.must(c.Close())
			})})
			b.reached("the transfer runs", running)
			b.reader.Remove()
			eventually(t, "the server has no client", func() bool { return clients.Load() == 0 })
			if s := b.awaitState("absent"); s.ATR != "" || s.Error != "" || s.Line != "multiplexed" {
				t.Errorf("status without card: %+v", s)
			}
			if list := b.cp.Channels(); len(list) > 0 {
				t.Errorf("channels without card: %+v", list)
			}
			if bearer.Type == cat.BearerWLAN {
				b.log.Await(t, "daemon=apd", "channel closed", "channel=1 ")
				b.log.Await(t, "daemon=apd", "channel closed", "channel=2 ")
			}
			b.insert()
			eventually(t, "the applet runs again", func() bool { return runs.Load() == 2 })
			b.wait()
		})
	}
}

// TestMuteCard: a card that does not answer is tried again until it does.
func TestMuteCard(t *testing.T) {
	good := echoServer(t)
	var tries atomic.Int32
	var seen atomic.Bool // the failure, which is not to be seen for long
	fault := func(capdu []byte) softuicc.Fault {
		if capdu[1] == 0xA4 && (tries.Load() < 2 || !seen.Load()) {
			tries.Add(1)
			return softuicc.Mute
		}
		return softuicc.NoFault
	}
	b := start(t, options{quirks: softuicc.Quirks{Fault: fault}, applets: applets(func(a *app) {
		c := a.dial(params(wlanBearer, cat.OpenImmediate, good))
		a.echo(c)
		a.must(c.Close())
	})})
	if s := b.awaitState("failed"); !strings.Contains(s.Error, uicc.ErrMute.Error()) {
		t.Errorf("status of a mute card: %+v", s)
	}
	seen.Store(true)
	b.wait()
	if s := b.cp.Status(); s.State != "serving" || s.Error != "" || s.ATR == "" || tries.Load() < 2 {
		t.Errorf("status of the card that answers again: %+v, it was mute %d times", s, tries.Load())
	}
}

// TestWrongPIN: a PIN that the card refuses is not tried again until the card is put in anew, and never to the last.
func TestWrongPIN(t *testing.T) {
	const wrong = "11192222"
	var verified atomic.Int32
	b := start(t, options{noAP: true, cp: func(c *cp.Config) { c.PIN = wrong },
		quirks: softuicc.Quirks{Fault: func(capdu []byte) softuicc.Fault {
			if capdu[1] == 0x20 && len(capdu) > 5 {
				verified.Add(1)
			}
			return softuicc.NoFault
		}}})
	for range 3 { // each time the card is put in
		if s := b.awaitState("failed"); !strings.Contains(s.Error, "PIN") {
			t.Errorf("status after a wrong PIN: %+v", s)
		}
		b.reader.Remove()
		b.awaitState("absent")
		b.insert()
	}
	b.awaitState("failed")
	if n := verified.Load(); n != 2 {
		t.Errorf("of three tries the wrong PIN took %d", n)
	}
	b.log.Wants(t, "card is left alone until it is put in anew", "not tried")
	const left = 4
	eventually(t, "the log tells of each try", func() bool { return len(b.log.Lines("card is left alone")) >= left })
	time.Sleep(1500 * time.Millisecond) // a card that failed otherwise would have been tried again by now
	if n := len(b.log.Lines("card is left alone")); n != left || len(b.log.Lines("card session failed")) != 0 {
		t.Errorf("the card was tried again")
	}
	if strings.Contains(b.log.String(), wrong) {
		t.Error("the log shows the wrong PIN")
	}
}

// pluggedReader is a reader that can be another after it was gone, as a USB reader put in again is.
type pluggedReader struct {
	mu  sync.Mutex
	now *softuicc.Reader
}

func (r *pluggedReader) current() *softuicc.Reader {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *pluggedReader) Name() string { return "plugged" }
func (r *pluggedReader) Watch(ctx context.Context) <-chan uicc.SlotState {
	return r.current().Watch(ctx)
}
func (r *pluggedReader) Connect(ctx context.Context) (uicc.Card, error) {
	return r.current().Connect(ctx)
}
func (r *pluggedReader) plug(now *softuicc.Reader) { r.mu.Lock(); r.now = now; r.mu.Unlock() }

// TestReaderGone: a reader that is unplugged in the middle of a transfer, and comes back with its card.
func TestReaderGone(t *testing.T) {
	remote, clients := endless(t)
	var runs atomic.Int32
	r := &pluggedReader{now: softuicc.NewReader("first")}
	b := start(t, options{reader: r, ap: impatient, applets: applets(func(a *app) {
		runs.Add(1)
		a.take(a.dial(remote()), 20000)
	})})
	for round := range int32(2) {
		if err := r.current().Insert(b.card); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the applet runs", func() bool { return runs.Load() == round+1 })
		b.wait()
		b.awaitState("serving")
		r.current().Unplug()
		if s := b.awaitState("absent"); s.Error == "" && round == 0 {
			eventually(t, "the status says why", func() bool { return strings.Contains(b.cp.Status().Error, "reader is gone") })
		}
		eventually(t, "the server has no client", func() bool { return clients.Load() == 0 })
		r.plug(softuicc.NewReader("again"))
	}
	if n := len(b.log.Lines("reader is gone")); n < 1 || n > 2 {
		t.Errorf("%d log lines tell that the reader is gone, twice", n)
	}
}
