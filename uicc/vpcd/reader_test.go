package vpcd

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

func TestSession(t *testing.T) {
	testkit.NoLeaks(t)
	for _, scheme := range []string{"unix", "tcp"} {
		t.Run(scheme, func(t *testing.T) {
			cfg := Config{Name: "slot", Listen: "tcp:127.0.0.1:0"}
			if scheme == "unix" {
				cfg.Listen = "unix:" + filepath.Join(t.TempDir(), "card")
			}
			taps := 0
			cfg.Tap = func(_, _ []byte, _ time.Time, _ time.Duration) { taps++ }
			r := listenAt(t, cfg)
			p := insertPeer(t, r, well(atrT0, func(capdu []byte) string {
				if capdu[1] == uicc.InsGetResponse {
					return "01029000"
				}
				return "6102"
			}))
			c := connect(t, r)
			if !bytes.Equal(c.ATR(), atrT0) || r.Name() != "slot" {
				t.Errorf("ATR %X of %s", c.ATR(), r.Name())
			}
			if got := p.log(); got != "00 01 04" {
				t.Errorf("connecting sent %s", got)
			}
			rapdu, err := c.Transmit(testContext(t), hx("00A40004023F0000"))
			if err != nil || !bytes.Equal(rapdu, hx("01029000")) {
				t.Errorf("%X, %v", rapdu, err)
			}
			if got := p.log(); got != "00A40004023F00 00C0000002" || taps != 2 {
				t.Errorf("T=0 sent %s, %d taps", got, taps)
			}
			if err := c.Reset(testContext(t), uicc.WarmReset); err != nil {
				t.Error(err)
			}
			if err := c.Reset(testContext(t), uicc.ColdReset); err != nil {
				t.Error(err)
			}
			if got := p.log(); got != "02 04 00 01 04" {
				t.Errorf("resets sent %s", got)
			}
			if _, err := r.Connect(testContext(t)); err != ErrInUse {
				t.Errorf("second Connect: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if _, err := c.Transmit(testContext(t), hx("80F2000C")); !errors.Is(err, uicc.ErrRemoved) {
				t.Errorf("after Close: %v", err)
			}
			connect(t, r)
			if got := p.log(); got != "00 00 01 04" {
				t.Errorf("close and connect sent %s", got)
			}
		})
	}
}

func TestT1PassesAPDUs(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	p := insertPeer(t, r, well(atrT1, always("9000")))
	c := connect(t, r)
	p.log()
	for _, capdu := range []string{"00440000", "00A40004023F0000"} {
		if _, err := c.Transmit(testContext(t), hx(capdu)); err != nil {
			t.Error(err)
		}
		if got := p.log(); got != capdu {
			t.Errorf("sent %s, want %s", got, capdu)
		}
	}
}

func TestWatch(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	states := r.Watch(context.Background()) // ends by SlotGone
	await(t, states, uicc.SlotEmpty)
	if _, err := r.Connect(testContext(t)); err != uicc.ErrRemoved {
		t.Errorf("Connect to an empty slot: %v", err)
	}
	p := dialPeer(t, r, well(atrT0, always("9000")))
	await(t, states, uicc.SlotPresent)
	c := connect(t, r)
	p.leave(t)
	await(t, states, uicc.SlotEmpty)
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after removal: %v", err)
	}
	if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("reset after removal: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close after removal: %v", err)
	}
	insertPeer(t, r, well(atrT0, always("9000")))
	await(t, states, uicc.SlotPresent)
	connect(t, r)
	r.Close()
	await(t, states, uicc.SlotGone)
	ended(t, states)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	await(t, r.Watch(context.Background()), uicc.SlotGone)
	if _, err := r.Connect(testContext(t)); err != uicc.ErrRemoved {
		t.Errorf("Connect to a slot that is gone: %v", err)
	}
}

func TestWatchSeesAnExchangedCard(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{grace: patience})
	p := insertPeer(t, r, well(atrT0, always("9000")))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	slow := r.Watch(ctx)
	await(t, slow, uicc.SlotPresent)
	p.leave(t)
	insertPeer(t, r, well(atrT0, always("9000"))) // dials before the slot has noticed the end of the first, or after
	await(t, slow, uicc.SlotPresent)
	cancel()
	ended(t, slow)
}

func TestSecondCardIsTurnedAway(t *testing.T) {
	testkit.NoLeaks(t)
	r := listenAt(t, Config{})
	insertPeer(t, r, well(atrT0, always("9000")))
	second := dialPeer(t, r, well(atrT1, always("6F00")))
	select {
	case <-second.done:
	case <-time.After(patience):
		t.Fatal("the second card stays connected")
	}
	if c := connect(t, r); !bytes.Equal(c.ATR(), atrT0) {
		t.Errorf("ATR %X is not that of the first card", c.ATR())
	}
}

func TestListenErrors(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for listen, want := range map[string]string{
		"":                                   "unix: nor tcp:",
		"/run/card":                          "unix: nor tcp:",
		"udp:127.0.0.1:1":                    "unix: nor tcp:",
		"unix:":                              "without a path",
		"unix:" + dir + "/none/card":         "no such file",
		"unix:" + plain:                      "is not a socket",
		"tcp:127.0.0.1":                      "in numbers",
		"tcp:localhost:35963":                "in numbers",
		"tcp:0.0.0.0:0":                      "not loopback",
		"tcp:[::]:0":                         "not loopback",
		"tcp:192.0.2.1:35963":                "not loopback",
		"unix:" + strings.Repeat("long", 60): "invalid",
	} {
		r, err := Listen(Config{Listen: listen})
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", listen, err)
		}
	}
	if b, _ := os.ReadFile(plain); string(b) != "keep" {
		t.Error("a file that is no socket was touched")
	}
	r, err := Listen(Config{Listen: "tcp:0.0.0.0:0", AllowRemote: true})
	if err != nil {
		t.Errorf("remote cards allowed: %v", err)
	} else {
		r.Close()
	}
}

func TestSocketFile(t *testing.T) {
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "card")
	r := listenAt(t, Config{Listen: "unix:" + path})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Listen(Config{Listen: "unix:" + path}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second slot there: %v", err)
	}
	r.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	listenAt(t, Config{Listen: "unix:" + path, Mode: 0o660})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestStaleSocketFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card")
	leaveSocketFile(t, path)
	r := listenAt(t, Config{Listen: "unix:" + path})
	insertPeer(t, r, well(atrT0, always("9000")))
}

// What has taken the place of the socket's file meanwhile is not the slot's to remove.
func TestCloseLeavesAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "card")
	r, err := Listen(Config{Listen: "unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("precious"), 0o600), r.Close()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
}
