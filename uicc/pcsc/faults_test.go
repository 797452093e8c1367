package pcsc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

// short is a timeout that tests wait for.
const short = 50 * time.Millisecond

// TestFaultyDaemon: whatever the daemon does wrong, at whatever request, ends in an error and not in waiting.
func TestFaultyDaemon(t *testing.T) {
	faults := map[string]func(net.Conn){
		"closes":         func(c net.Conn) { c.Close() },
		"short answer":   func(c net.Conn) { c.Write(make([]byte, 7)); c.Close() },
		"stops halfway":  func(c net.Conn) { c.Write(make([]byte, 7)) },
		"says nothing":   func(net.Conn) {},
		"all bits are 1": func(c net.Conn) { c.Write(bytes.Repeat([]byte{0xFF}, 2944)); c.Close() },
	}
	for _, cmd := range []command{cmdVersion, cmdEstablishContext, cmdConnect, cmdGetReadersState, cmdReconnect, cmdTransmit} {
		for name, fault := range faults {
			t.Run(cmd.String()+"/"+name, func(t *testing.T) {
				testkit.NoLeaks(t)
				d := startFake(t)
				d.insert(atrT0)
				d.fault = func(conn net.Conn, got command) bool {
					if got == cmd {
						fault(conn)
					}
					return got == cmd
				}
				timeout := patience
				if name == "stops halfway" || name == "says nothing" {
					timeout = short
				}
				var err error
				if cmd == cmdTransmit {
					c := connectFor(t, newReader(t, fakeName, Config{Socket: d.socket, Timeout: patience}), timeout)
					_, err = c.Transmit(testContext(t), hx("80F2000C00"))
					c.Close()
				} else {
					_, err = newReader(t, fakeName, Config{Socket: d.socket, Timeout: timeout}).Connect(testContext(t))
				}
				if err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}

func TestRejectedClient(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.fault = func(conn net.Conn, _ command) bool { conn.Close(); return true }
	_, err := List(testContext(t), Config{Socket: d.socket})
	if !errors.Is(err, ErrDaemon) || !strings.Contains(err.Error(), "polkit") {
		t.Errorf("%v", err)
	}
}

func TestTransmitErrors(t *testing.T) {
	tests := []struct {
		name string
		card func(d *fakeDaemon) ([]byte, Code)
		want error
	}{
		{"mute", func(*fakeDaemon) ([]byte, Code) { return nil, ErrNotTransacted }, uicc.ErrMute},
		{"no status word", func(*fakeDaemon) ([]byte, Code) { return hx("90"), Success }, uicc.ErrMute},
		{"removed, called a success", func(d *fakeDaemon) ([]byte, Code) { d.insert(nil); return nil, Success }, uicc.ErrRemoved},
		{"removed", func(*fakeDaemon) ([]byte, Code) { return nil, WarnRemovedCard }, uicc.ErrRemoved},
		{"removed, noticed late", func(d *fakeDaemon) ([]byte, Code) { d.insert(nil); return nil, ErrNotTransacted }, uicc.ErrRemoved},
		{"exchanged, noticed late", func(d *fakeDaemon) ([]byte, Code) { d.insert(atrT0); return nil, ErrNotTransacted }, uicc.ErrRemoved},
		{"reader gone", func(d *fakeDaemon) ([]byte, Code) { d.unlist(); return nil, ErrNotTransacted }, uicc.ErrRemoved},
		{"unknown", func(*fakeDaemon) ([]byte, Code) { return nil, 0x8010FFFF }, &Error{"transmit to", fakeName, 0x8010FFFF}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testkit.NoLeaks(t)
			d := startFake(t)
			d.insert(atrT0)
			c := connect(t, newReader(t, fakeName, Config{Socket: d.socket}))
			d.set(func() { d.card = func([]byte) ([]byte, Code) { return tt.card(d) } })
			_, err := c.Transmit(testContext(t), hx("80F2000C00"))
			var e *Error
			if want, ok := tt.want.(*Error); ok {
				if !errors.As(err, &e) || *e != *want || !strings.Contains(err.Error(), "8010FFFF") {
					t.Errorf("%v", err)
				}
			} else if !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestAbandonedExchange: a command whose context ended, or whose time is over, holds the card in pcscd until the card
// answers; a reset waits for that and takes the card anew.
func TestAbandonedExchange(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"cancelled": 0, "timeout": short} {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			d := startFake(t)
			d.insert(atrT0)
			asked, release := make(chan struct{}), make(chan struct{})
			d.card = func(apdu []byte) ([]byte, Code) {
				if apdu[4] == 1 { // a time that is over before this was sent does no harm
					close(asked)
					select {
					case <-release:
					case <-t.Context().Done():
					}
					return hx("AAAA9000"), Success
				}
				return hx("BBBB9000"), Success
			}
			c := connectFor(t, newReader(t, fakeName, Config{Socket: d.socket, Timeout: patience}), cmp.Or(timeout, patience))
			ctx, want := testContext(t), uicc.ErrMute
			if timeout == 0 {
				ctx, want = cancelWhen(t, asked), context.Canceled
			}
			if _, err := c.Transmit(ctx, hx("80F2000001")); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if _, err := c.Transmit(testContext(t), hx("80F2000002")); err != errUnanswered {
				t.Errorf("before the reset: %v", err)
			}
			if timeout == 0 { // while the card is stuck
				late, cancel := context.WithTimeout(context.Background(), short)
				if err := c.Reset(late, uicc.ColdReset); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v", err)
				}
				cancel()
			}
			close(release)
			for end := time.Now().Add(patience); ; {
				err := c.Reset(testContext(t), uicc.ColdReset)
				if err == nil {
					break
				}
				if !errors.Is(err, ErrSharingViolation) || time.Now().After(end) {
					t.Fatal(err)
				}
			}
			if b, err := c.Transmit(testContext(t), hx("80F2000002")); err != nil || !bytes.Equal(b, hx("BBBB9000")) {
				t.Errorf("%X, %v", b, err)
			}
		})
	}
}

func TestResetDoesNotTakeTheNextCard(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.insert(atrT0)
	c := connect(t, newReader(t, fakeName, Config{Socket: d.socket}))
	d.insert(nil)
	d.insert(atrT1)
	if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("%v", err)
	}
}

// abandoned gives a card with a command that the card does not answer before the test ends.
func abandoned(t *testing.T, d *fakeDaemon, timeout time.Duration) *card {
	t.Helper()
	d.insert(atrT0)
	asked := make(chan struct{})
	d.card = func([]byte) ([]byte, Code) {
		close(asked)
		<-t.Context().Done()
		return nil, ErrNotTransacted
	}
	c := connectFor(t, newReader(t, fakeName, Config{Socket: d.socket, Timeout: timeout}), patience)
	if _, err := c.Transmit(cancelWhen(t, asked), hx("80F2000C00")); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	return c
}

// A card that pcscd never lets go is waited for as long as the configuration says.
func TestResetGivesUp(t *testing.T) {
	testkit.NoLeaks(t)
	c := abandoned(t, startFake(t), time.Second)
	if err := c.Reset(testContext(t), uicc.ColdReset); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// A card that was exchanged while a command was abandoned is not taken for the one that was there.
func TestResetAfterExchange(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	c := abandoned(t, d, patience)
	d.insert(nil)
	d.insert(atrT0)
	d.set(func() { d.holder = nil }) // pcscd gives it up with its card
	if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("%v", err)
	}
}

// Close leaves the card without power.
func TestClosePowersOff(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.insert(atrT0)
	if err := connect(t, newReader(t, fakeName, Config{Socket: d.socket})).Close(); err != nil {
		t.Error(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.left) != 1 || d.left[0] != unpowerCard {
		t.Errorf("dispositions %v", d.left)
	}
}

func TestDaemonEnds(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.insert(atrT0)
	r := newReader(t, fakeName, Config{Socket: d.socket})
	states := r.Watch(context.Background())
	c := connect(t, r)
	await(t, states, uicc.SlotPresent)
	d.stop(t)
	await(t, states, uicc.SlotGone)
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("%v", err)
	}
	if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) || !errors.Is(err, ErrDaemon) {
		t.Errorf("%v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestCancelledConnect(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.insert(atrT0)
	asked := make(chan struct{})
	d.fault = func(_ net.Conn, cmd command) bool {
		if cmd == cmdConnect {
			close(asked)
		}
		return cmd == cmdConnect
	}
	if _, err := newReader(t, fakeName, Config{Socket: d.socket}).Connect(cancelWhen(t, asked)); err != context.Canceled {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := List(ctx, Config{Socket: d.socket}); err != context.Canceled {
		t.Errorf("%v", err)
	}
}

func TestErrorText(t *testing.T) {
	for code, want := range map[Code]string{
		ErrSharingViolation: `pcsc: connect to "R": another program uses the card; end it first (scdaemon, a browser, another bipd) (SCARD_E_SHARING_VIOLATION 8010000B)`,
		0x80100099:          `pcsc: connect to "R" (80100099)`,
	} {
		if got := (&Error{"connect to", "R", code}).Error(); got != want {
			t.Errorf("%s", got)
		}
	}
}
