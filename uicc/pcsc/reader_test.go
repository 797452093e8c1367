package pcsc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/uicc"
)

func TestList(t *testing.T) {
	testkit.NoLeaks(t)
	for _, minor := range []int32{3, 4, 5} {
		d := startFake(t)
		d.set(func() { d.minor = minor })
		got, err := List(testContext(t), Config{Socket: d.socket})
		if err != nil || !reflect.DeepEqual(got, []string{fakeName}) {
			t.Errorf("4:%d: %q, %v", minor, got, err)
		}
	}
	for _, minor := range []int32{2, 6} {
		d := startFake(t)
		d.set(func() { d.minor = minor })
		_, err := List(testContext(t), Config{Socket: d.socket})
		if !errors.Is(err, ErrDaemon) || !strings.Contains(err.Error(), fmt.Sprintf("4:%d, not 4:3 to 4:5", minor)) {
			t.Errorf("4:%d: %v", minor, err)
		}
	}
}

// TestCompatibleDaemon: pcscd from 2.4.1 on takes 4:4 although its own version is newer.
func TestCompatibleDaemon(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.fault = func(conn net.Conn, cmd command) bool {
		if cmd != cmdVersion {
			return false
		}
		conn.Write(appendBody(nil, &versionMessage{4, 6, Success}))
		return true
	}
	ctx, cancel := context.WithCancel(testContext(t))
	states := newReader(t, fakeName, Config{Socket: d.socket}).Watch(ctx)
	await(t, states, uicc.SlotEmpty)
	d.insert(atrT0)
	await(t, states, uicc.SlotPresent)
	cancel()
	ended(t, states)
	d.set(func() {
		for _, cmd := range d.log {
			if cmd == cmdWaitReaderStateChange {
				t.Error("waited for a change where the answers can come out of order")
			}
		}
	})
}

func TestSocketName(t *testing.T) {
	t.Setenv(socketEnv, "")
	if got := socketName(""); got != "/run/pcscd/pcscd.comm" {
		t.Error(got)
	}
	d := startFake(t)
	t.Setenv(socketEnv, d.socket)
	if _, err := List(testContext(t), Config{}); err != nil {
		t.Error(err)
	}
	if got := socketName("/given"); got != "/given" {
		t.Error(got)
	}
}

func TestUnreachable(t *testing.T) {
	testkit.NoLeaks(t)
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	for socket, want := range map[string]string{
		filepath.Join(dir, "none"): "pcscd is not running",
		dead:                       "pcscd is not running",
		dir + "/dead/below":        "is the socket right?",
	} {
		r := newReader(t, fakeName, Config{Socket: socket})
		if _, err := r.Connect(testContext(t)); !errors.Is(err, ErrDaemon) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", socket, err)
		}
		await(t, r.Watch(context.Background()), uicc.SlotGone)
	}
	if err := dialError("/s", &os.SyscallError{Syscall: "connect", Err: os.ErrPermission}); !strings.Contains(err.Error(), "no permission") {
		t.Error(err)
	}
}

func TestSession(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	var seen []string
	d.card = func(apdu []byte) ([]byte, Code) {
		seen = append(seen, fmt.Sprintf("%X", apdu))
		if apdu[1] == uicc.InsGetResponse {
			return hx("01029000"), Success
		}
		return hx("6102"), Success
	}
	d.insert(atrT0)
	taps := 0
	r := newReader(t, fakeName, Config{Socket: d.socket, Tap: func(_, _ []byte, _ time.Time, _ time.Duration) { taps++ }})
	c := connect(t, r)
	if !bytes.Equal(c.ATR(), atrT0) || r.Name() != fakeName {
		t.Errorf("ATR %X of %q", c.ATR(), r.Name())
	}
	rapdu, err := c.Transmit(testContext(t), hx("00A40004023F0000"))
	if err != nil || !bytes.Equal(rapdu, hx("01029000")) {
		t.Errorf("%X, %v", rapdu, err)
	}
	if !reflect.DeepEqual(seen, []string{"00A40004023F00", "00C0000002"}) || taps != 2 {
		t.Errorf("sent %q, %d taps", seen, taps)
	}
	if _, err := r.Connect(testContext(t)); !errors.Is(err, ErrSharingViolation) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("%v", err)
	}
	if err := c.Reset(testContext(t), uicc.WarmReset); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := c.Transmit(testContext(t), hx("80F2000C00")); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after Close: %v", err)
	}
	if err := c.Reset(testContext(t), uicc.ColdReset); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("after Close: %v", err)
	}
	d.set(func() {
		if n := len(d.log); n < 2 || !reflect.DeepEqual(d.log[n-2:], []command{cmdDisconnect, cmdReleaseContext}) {
			t.Errorf("%v", d.log)
		}
	})
}

func TestT1PassesAPDUs(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	var seen []byte
	d.card = func(apdu []byte) ([]byte, Code) { seen = apdu; return hx("9000"), Success }
	d.insert(atrT1)
	c := connect(t, newReader(t, fakeName, Config{Socket: d.socket}))
	for capdu, want := range map[string]string{
		"00440000": "00440000", "00A40004023F0000": "00A40004023F0000", "80C2000002D100": "80C2000002D10000",
	} {
		if _, err := c.Transmit(testContext(t), hx(capdu)); err != nil || !bytes.Equal(seen, hx(want)) {
			t.Errorf("sent %X, want %s, %v", seen, want, err)
		}
	}
}

func TestConnectErrors(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	cfg := Config{Socket: d.socket}
	if _, err := newReader(t, fakeName, cfg).Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
		t.Errorf("no card: %v", err)
	}
	_, err := newReader(t, "Other", cfg).Connect(testContext(t))
	if !errors.Is(err, uicc.ErrRemoved) || !strings.Contains(err.Error(), fakeName) {
		t.Errorf("the readers that there are should be named: %v", err)
	}
	d.insert([]byte{})
	if _, err := newReader(t, fakeName, cfg).Connect(testContext(t)); !errors.Is(err, uicc.ErrMute) {
		t.Errorf("no ATR: %v", err)
	}
	d.unlist()
	if _, err = newReader(t, fakeName, cfg).Connect(testContext(t)); !strings.Contains(fmt.Sprint(err), "lists none") {
		t.Errorf("no reader: %v", err)
	}
}

func TestWatch(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	states := newReader(t, fakeName, Config{Socket: d.socket}).Watch(context.Background())
	await(t, states, uicc.SlotEmpty)
	d.insert(atrT0)
	await(t, states, uicc.SlotPresent)
	d.insert(nil)
	await(t, states, uicc.SlotEmpty)
	d.insert(atrT0)
	await(t, states, uicc.SlotPresent)
	d.set(func() { d.state.Events += 2; d.signal() }) // out and in again before anybody looked
	await(t, states, uicc.SlotPresent)
	d.unlist()
	await(t, states, uicc.SlotGone)
	ended(t, states)
}

func TestPostKeepsTheNewest(t *testing.T) {
	ch := make(chan uicc.SlotState, 1)
	post(ch, uicc.SlotEmpty)
	post(ch, uicc.SlotPresent)
	if st := <-ch; st != uicc.SlotPresent {
		t.Error(st)
	}
}

func TestOldDaemonIsPolled(t *testing.T) {
	testkit.NoLeaks(t)
	d := startFake(t)
	d.set(func() { d.minor = 3 })
	ctx, cancel := context.WithCancel(testContext(t))
	states := newReader(t, fakeName, Config{Socket: d.socket}).Watch(ctx)
	await(t, states, uicc.SlotEmpty)
	d.insert(atrT0)
	await(t, states, uicc.SlotPresent)
	cancel()
	ended(t, states)
}
