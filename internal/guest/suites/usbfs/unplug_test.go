//go:build guest

package usbfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/internal/testkit"
)

// absent tells whether a scan finds no reader.
func absent(t *testing.T) bool {
	t.Helper()
	devices, err := usbfs.FS{}.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Vendor == 0x08E6 {
			return false
		}
	}
	return true
}

// upon looks at each signal until a condition holds.
func upon(t *testing.T, what string, signals <-chan struct{}, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case _, ok := <-signals:
			if !ok {
				t.Fatalf("%s: the watch has ended", what)
			}
			if holds() {
				return
			}
		case <-late:
			t.Fatalf("%s: no signal after which it is so", what)
		}
	}
}

// Everything that waits is told that the device is gone, nothing is left behind, and the events tell of it.
func TestInsideUnplug(t *testing.T) {
	d := reader(t)
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	signals := usbfs.FS{}.Watch(ctx, slog.New(slog.NewTextHandler(&log, nil)))
	defer func() {
		stop()
		for range signals {
		}
		if log.Len() > 0 {
			t.Errorf("the watch logged %q", &log)
		}
	}()
	upon(t, "the first look", signals, func() bool { return !absent(t) })

	h, err := usbfs.FS{}.Open(d, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	second, err := usbfs.FS{}.Open(d, 0) // the claim of one is no signal to the other
	if err == nil {
		second.Close()
		t.Fatal("claimed twice")
	}
	waiting := map[string]<-chan result{
		"Receive":       background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 1<<16)) }),
		"other Receive": background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 64)) }),
		"Notify": background(func() (int, error) {
			for {
				if n, err := h.Notify(context.Background(), make([]byte, 8)); err != nil {
					return n, err
				}
			}
		}),
	}
	time.Sleep(pendingTime)
	guest.Ask(t, "unplug", "")
	for name, ch := range waiting {
		if r := await(t, name, ch); !errors.Is(r.err, usbfs.ErrGone) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	upon(t, "unplugged", signals, func() bool { return absent(t) })
	later := map[string]<-chan result{
		"Send":    background(func() (int, error) { return 0, h.Send(context.Background(), command(slotStatus, 1)) }),
		"Receive": background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 64)) }),
		"Notify":  background(func() (int, error) { return h.Notify(context.Background(), make([]byte, 64)) }),
		"Control": background(func() (int, error) { return h.Control(context.Background(), 0xA1, 2, 0, make([]byte, 4)) }),
		"Reset":   background(func() (int, error) { return 0, h.Reset(context.Background()) }),
	}
	for name, ch := range later {
		if r := await(t, name, ch); !errors.Is(r.err, usbfs.ErrGone) {
			t.Errorf("a later %s: %+v", name, r)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if _, err := (usbfs.FS{}).Open(d, 0); !errors.Is(err, usbfs.ErrGone) {
		t.Errorf("open of what is gone: %v", err)
	}

	guest.Ask(t, "plug", "")
	upon(t, "plugged", signals, func() bool { return !absent(t) })
	back := reader(t)
	if back.Path != d.Path || back.Number == d.Number {
		t.Errorf("was %v number %d, is %v number %d", d, d.Number, back, back.Number)
	}
	again, err := usbfs.FS{}.Open(back, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	status(t, again, 1)

	// Any change is told.
	for len(signals) > 0 {
		<-signals
	}
	change(t, back)
	upon(t, "changed", signals, func() bool { return true })
}

// change has the kernel tell of a change of a device.
func change(t *testing.T, d usbfs.Device) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/sys/bus/usb/devices", d.Path, "uevent"), []byte("change"), 0o200); err != nil {
		t.Fatal(err)
	}
}

// A daemon in a network namespace of root's hears the events; in one of an ordinary user it looks by itself.
func TestInsideWatchInNamespace(t *testing.T) {
	d := reader(t)
	for name, flags := range map[string]uintptr{"root's": syscall.CLONE_NEWNET, "a user's": syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER} {
		t.Run(name, func(t *testing.T) {
			cmd := another(t, "watcher")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out := bufio.NewReader(pipe)
			var said strings.Builder
			for line := ""; line != "watching\n"; said.WriteString(line) {
				if line, err = out.ReadString('\n'); err != nil {
					t.Fatalf("%q, %v", line, err)
				}
			}
			change(t, d)
			rest, _ := io.ReadAll(out)
			said.Write(rest)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			looks := strings.Contains(said.String(), "so they are looked for")
			if !strings.Contains(said.String(), "signal\n") || looks != (flags&syscall.CLONE_NEWUSER != 0) {
				t.Errorf("%q", said.String())
			}
		})
	}
}

// In the middle of traffic the transfer at hand may fail otherwise, but soon all say that the device is gone.
func TestInsideUnplugInTraffic(t *testing.T) {
	for range 3 {
		h, _ := open(t)
		going := make(chan struct{})
		ended := background(func() (int, error) {
			buf := make([]byte, 512)
			for i := 0; ; i++ {
				err := h.Send(context.Background(), command(slotStatus, byte(i)))
				if err == nil {
					_, err = h.Receive(context.Background(), buf)
				}
				if errors.Is(err, usbfs.ErrGone) {
					return i, err
				}
				if err != nil {
					t.Logf("exchange %d: %v", i, err)
				}
				if i == 10 {
					close(going)
				}
			}
		})
		select {
		case <-going:
		case <-time.After(patience):
			t.Fatal("no ten exchanges")
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		guest.Ask(t, "unplug", "")
		r := await(t, "exchanges", ended)
		t.Logf("gone after %d exchanges: %v", r.n, r.err)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		guest.Ask(t, "plug", "")
		reader(t)
	}
}
