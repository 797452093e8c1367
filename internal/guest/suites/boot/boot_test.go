//go:build guest

package boot

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"bipd/internal/guest"
)

func TestMain(m *testing.M) { guest.Main(m) }

// One boot, and several runs in it.
func TestBoot(t *testing.T) {
	g := guest.Start(t, guest.Config{
		Modules:  []string{"xhci-pci", "tun", "veth", "n_gsm"},
		Devices:  []string{"qemu-xhci,id=usb"},
		Files:    map[string]string{"/etc/of-the-host": "doc.go"},
		Programs: []string{"bipctl"},
		Debian:   []string{"coreutils"},
	})
	g.Handle("double", func(s string) (string, error) {
		if s == "" {
			return "", errors.New("nothing to double")
		}
		return s + s, nil
	})
	for _, name := range []string{"System", "Files", "Namespace", "GSM", "Ask"} {
		t.Run(name, func(t *testing.T) { g.Run(t, "TestInside"+name) })
	}
	t.Run("Arguments", func(t *testing.T) { g.Run(t, "TestInsideArguments", "one", "two words") })

	// What goes wrong in the guest is told.
	var out strings.Builder
	if status, err := g.Exec(t.Context(), &out, "/init", "-test.run=^TestInsideFailure$"); status != 1 || err != nil || !strings.Contains(out.String(), "meant to fail") {
		t.Errorf("a test that fails: status %d, %v, output %q", status, err, out.String())
	}
	out.Reset()
	if status, err := g.Exec(t.Context(), &out, "/no/such/program"); status != -1 || err != nil || !strings.Contains(out.String(), "no such file") {
		t.Errorf("a program that is not there: status %d, %v, output %q", status, err, out.String())
	}
	out.Reset()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	if status, err := g.Exec(ctx, &out, "/bin/sleep", "1000"); status != -1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a program that does not end: status %d, %v, output %q", status, err, out.String())
	}
}

// A guest whose kernel dies is an error that shows why.
func TestPanic(t *testing.T) {
	g := guest.Start(t, guest.Config{})
	_, err := g.Exec(t.Context(), new(strings.Builder), "/init", "-test.run=^TestInsidePanic$")
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want one with the end of the console", err)
	}
	if err := g.Close(); err == nil {
		t.Error("a guest that died is closed without an error")
	}
}

// When a guest's time is up its program is killed, and a guest that is left alone then ends by itself.
func TestTimeout(t *testing.T) {
	g := guest.Start(t, guest.Config{Timeout: 5 * time.Second})
	if status, err := g.Exec(t.Context(), new(strings.Builder), "/init", "-test.run=^TestInsideHang$"); status != -1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("status %d, %v, want that the program is killed", status, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	if _, err := g.QMP().WaitEvent(ctx, "SHUTDOWN", nil); err != nil {
		t.Errorf("the guest does not end: %v", err)
	}
	if err := g.Close(); err == nil {
		t.Error("a guest that ended by itself is closed without an error")
	}
}

// What cannot be is refused.
func TestRefusals(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 15*time.Minute)
	defer stop()
	if err := guest.Start(t, guest.Config{}).Close(); err != nil { // skips where no guest can run
		t.Error(err)
	}
	for _, tc := range []struct {
		config guest.Config
		want   string
	}{
		{guest.Config{Modules: []string{"no-such-module"}}, "no_such_module"},
		{guest.Config{Devices: []string{"no-such-device"}}, "no-such-device"},
		{guest.Config{Files: map[string]string{"relative": "doc.go"}}, "not absolute"},
		{guest.Config{Files: map[string]string{"/a": "no such file"}}, "no such file"},
		{guest.Config{Programs: []string{"no-such-program"}}, "no-such-program"},
		{guest.Config{Debian: []string{"no-such-package"}}, "no-such-package"},
		{guest.Config{Sockets: []string{"a/b"}}, "name of a socket"},
	} {
		if g, err := guest.Boot(ctx, tc.config); err == nil {
			g.Close()
			t.Errorf("%+v boots", tc.config)
		} else if !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want an error with %q", tc.config, err, tc.want)
		}
	}
}
