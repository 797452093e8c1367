//go:build guest

package pcscd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/uicc"
	"bipd/uicc/pcsc"
)

// startDaemon runs pcscd until stop is called, and waits until it knows the reader.
func startDaemon(t *testing.T) (reader string, stop func()) {
	t.Helper()
	eventually(t, "a reader", func() error { // pcscd would hear of one that comes later from udev, which does not run here
		devices, err := usbfs.FS{}.Devices()
		if err == nil && !slices.ContainsFunc(devices, isReader) {
			err = fmt.Errorf("devices %v", devices)
		}
		return err
	})
	if err := os.MkdirAll("/run/pcscd", 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "pcscd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("pcscd", "--foreground")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cmd.Process.Signal(syscall.SIGTERM)
		limit := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer limit.Stop()
		cmd.Wait() // its status after a signal says nothing
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("pcscd printed:\n%s", text)
		}
	}
	t.Cleanup(stop)
	eventually(t, "a reader of pcscd", func() error {
		list, err := pcsc.List(t.Context(), pcsc.Config{})
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("readers %q", list)
		}
		if err == nil {
			reader = list[0]
		}
		return err
	})
	return reader, stop
}

func isReader(d usbfs.Device) bool {
	return slices.ContainsFunc(d.Interfaces, func(i usbfs.Interface) bool { return i.Class == 0x0B })
}

// drive runs our driver until stop is called.
func drive(t *testing.T) (hub *ccid.Hub, stop func()) {
	t.Helper()
	hub = ccid.NewHub(ccid.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hub.Run(ctx)
	}()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			t.Error("the driver does not end")
		}
	}
	t.Cleanup(stop)
	return hub, stop
}

// anyReader is the first slot of the first reader.
func anyReader(t *testing.T, hub *ccid.Hub) uicc.Reader {
	t.Helper()
	sel, err := ccid.ParseSelector("*")
	if err != nil {
		t.Fatal(err)
	}
	return hub.Reader(sel)
}

// answers connects a card and gives its answer to reset and its answers to the APDUs, in hexadecimal digits.
func answers(t *testing.T, reader uicc.Reader, apdus []string) []string {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 3*patience)
	defer stop()
	var card uicc.Card
	eventually(t, "a card", func() (err error) {
		card, err = reader.Connect(ctx)
		return err
	})
	defer card.Close()
	list := []string{fmt.Sprintf("%X", card.ATR())}
	for _, apdu := range apdus {
		capdu, err := hex.DecodeString(apdu)
		if err != nil {
			t.Fatal(err)
		}
		rapdu, err := card.Transmit(ctx, capdu)
		if err != nil {
			t.Fatalf("%s: %v", apdu, err)
		}
		list = append(list, fmt.Sprintf("%X", rapdu))
	}
	return list
}

// openSC is answers by OpenSC, which asks pcscd.
func openSC(t *testing.T, apdus []string) []string {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 3*patience)
	defer stop()
	args := []string{"--reader", "0", "--card-driver", "default"}
	run := func(more ...string) string {
		out, err := exec.CommandContext(ctx, "opensc-tool", append(args, more...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("opensc-tool: %v\n%s", err, out)
		}
		return string(out)
	}
	atr := strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(run("--atr")), ":", ""))
	var send []string
	for _, apdu := range apdus {
		send = append(send, "--send-apdu", apdu)
	}
	list, err := parseOpenSC(run(send...))
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{atr}, list...)
}

// parseOpenSC reads the answers in what opensc-tool prints for each APDU:
//
//	Sending: 00 A4 00 04 02 3F 00 00
//	Received (SW1=0x90, SW2=0x00):
//	62 1D 82 02 78 21 83 02 3F 00 A5 03 80 01 71 8A b....x!..?.....q.
func parseOpenSC(out string) ([]string, error) {
	var list []string
	var data, sw string
	end := func() {
		if sw != "" {
			list = append(list, data+sw)
		}
		data, sw = "", ""
	}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		var sw1, sw2 byte
		switch {
		case strings.HasPrefix(line, "Sending: "):
			end()
		case sw != "":
			octets, err := dumped(line)
			if err != nil {
				return nil, err
			}
			data += octets
		default:
			if _, err := fmt.Sscanf(line, "Received (SW1=0x%02X, SW2=0x%02X)", &sw1, &sw2); err != nil {
				return nil, fmt.Errorf("opensc-tool printed %q in\n%s", line, out)
			}
			sw = fmt.Sprintf("%02X%02X", sw1, sw2)
		}
	}
	end()
	if len(list) == 0 {
		return nil, errors.New("opensc-tool printed no answers: " + out)
	}
	return list, nil
}

// dumped is a line of octets, of which each has two digits and a space, and then a letter. The letters begin at the place that
// they have in a line of 16 octets, or in a line alone right after the digits.
func dumped(line string) (string, error) {
	for _, digits := range []int{48, len(line) / 4 * 3} {
		if len(line) < digits {
			continue
		}
		octets := strings.Fields(line[:digits])
		joined := strings.Join(octets, "")
		if _, err := hex.DecodeString(joined); err == nil && len(octets) == len(line)-digits {
			return joined, nil
		}
	}
	return "", fmt.Errorf("opensc-tool printed %q for octets", line)
}

// eventually repeats what fails until it does not.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
