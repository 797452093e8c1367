package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/softuicc"
)

// checkReader runs bipctl check, puts the card in, and takes it out when its applet has ended and been answered.
func checkReader(t *testing.T, applet softuicc.Applet, args ...string) (out string, exit int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card")
	ctx, cancel := context.WithTimeout(t.Context(), 3*within) // longer than the minute for which bipctl looks
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"check", "--reader", "vpcd:unix:" + path}, args...)...)
	cmd.Env, cmd.WaitDelay = append(os.Environ(), asBipctl+"=1"), within
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var card *softuicc.Card
	card, err := softuicc.New(softuicc.Config{ThinkTime: time.Second, Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
		err := applet(ctx, tk)
		card.SetQuirks(softuicc.Quirks{Fault: func(capdu []byte) softuicc.Fault {
			if capdu[1] == 0xF2 { // STATUS: the terminal has got all answers
				return softuicc.Removal
			}
			return softuicc.NoFault
		}})
		return err
	}}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := dialUntil(ctx, path)
		if err == nil {
			err = softuicc.ServeVPCD(ctx, conn, card)
		}
		served <- err
	}()
	var ended *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &ended) {
		t.Fatalf("%v\n%s", err, said.String())
	}
	cancel() // which ends the card, too
	<-served
	return said.String(), cmd.ProcessState.ExitCode()
}

// dialUntil dials a socket that is about to be made.
func dialUntil(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := net.Dial("unix", path)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestCheckCard(t *testing.T) {
	for _, tc := range []struct {
		name, verdict string
		applet        softuicc.Applet
		exit          int
	}{
		{"good", "verdict: no fault was found", func(ctx context.Context, tk *softuicc.Toolkit) error {
			_, err := tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
			return err
		}, 0},
		{"bad", "verdict: the applet: its commands break the specification", func(ctx context.Context, tk *softuicc.Toolkit) error {
			_, err := tk.Do(ctx, &cat.MoreTime{}, 0x80, cat.DeviceTerminal)
			return err
		}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, exit := checkReader(t, tc.applet)
			if exit != tc.exit || !strings.Contains(out, "-> MORE TIME 01") || !strings.Contains(out, tc.verdict) {
				t.Errorf("exit status %d, want %d\n%s", exit, tc.exit, out)
			}
		})
	}
}

func TestCheckArguments(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"check"}, `required flag(s) "reader"`},
		{[]string{"check", "--reader", "usb:1"}, "is none of ccid:"},
		{[]string{"check", "--reader", "vpcd:unix:" + filepath.Join(t.TempDir(), "card"), "--time", "50ms"}, "no card was looked at"},
		{[]string{"check", "--reader", "vpcd:unix:/tmp/x", "--pin-file", "/nonexistent"}, "pin-file"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], tc.args...)
		cmd.Env = append(os.Environ(), asBipctl+"=1")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), tc.want) {
			t.Errorf("%v: %v: %s", tc.args, err, out)
		}
	}
}
