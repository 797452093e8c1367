package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/control"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/trace"
)

// operated is a bipd with one software card, for the commands that act on cards.
type operated struct {
	t      *testing.T
	dir    string
	socket string
	log    *testkit.Log
}

// pollOften is the section [terminal], with the shortest poll interval: an applet that was late to speak waits for the next poll.
const pollOften = "[terminal]\npoll_interval = \"1s\"\n"

// startOperated runs a built bipd with the configuration, and a card that dials in; both end with the test, and the judge has had
// nothing to say.
func startOperated(t *testing.T, toml string, cfg softuicc.Config) *operated {
	t.Helper()
	dir := shortDir(t)
	o := &operated{t, dir, filepath.Join(dir, "s"), &testkit.Log{}}
	reader := filepath.Join(dir, "r")
	file := filepath.Join(dir, "bipd.toml")
	text := fmt.Sprintf("[log]\nlevel = \"debug\"\n[[card]]\nname = \"card0\"\nreader = \"vpcd:unix:%s\"\n%s", reader, toml)
	text = strings.ReplaceAll(text, "SOCKET", o.socket)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(filepath.Join(daemons(t), "bipd"), "--config", file)
	daemon.Stderr, daemon.WaitDelay = o.log, within
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(syscall.SIGTERM)
		limit := time.AfterFunc(within, func() { daemon.Process.Kill() })
		defer limit.Stop()
		if err := daemon.Wait(); err != nil || t.Failed() {
			t.Errorf("bipd: %v\n%s", err, o.log)
		}
	})
	card, err := softuicc.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var conn net.Conn
	await(t, "bipd's reader", within, func() bool {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", reader)
		return err == nil
	})
	done := make(chan error, 1)
	serving, stop := context.WithCancel(context.Background())
	go func() { done <- softuicc.ServeVPCD(serving, conn, card) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("card: %v", err)
		}
		card.Close()
		for _, v := range card.Violations() {
			t.Errorf("terminal against the specification: %v", v)
		}
	})
	return o
}

// ask runs bipctl and gives what it printed.
func (o *operated) ask(args ...string) (string, error) { return o.askWith("", args...) }

// askWith runs bipctl with input on its standard input.
func (o *operated) askWith(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*within)
	defer cancel()
	cmd := bipctl(ctx, o.t, o.dir, append(args, "-s", o.socket)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// shows runs bipctl until it prints all of want, for a bounded time.
func (o *operated) shows(want []string, args ...string) {
	o.t.Helper()
	var out string
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); {
		out, err = o.ask(args...)
		if err == nil && hasAll(out, want) {
			return
		}
	}
	o.t.Fatalf("bipctl %v: %v\n%s\nwant %q", args, err, out, want)
}

func hasAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// services is an applet that sends a message, sets up a menu, tells got of every envelope, and answers a choice with a text.
func services(got chan<- string) softuicc.Applet {
	return func(ctx context.Context, tk *softuicc.Toolkit) error {
		for _, body := range []cat.Body{
			&cat.SendShortMessage{TPDU: []byte{1, 0, 2, 0x81, 0x21, 0, 0, 1, 0x61}},
			cat.NewSetUpMenu("Services", cat.NewItem(1, "Balance"), cat.NewItem(2, "Top\x1b up")),
		} {
			if r, err := tk.Do(ctx, body, cat.MenuHelp, cat.DeviceTerminal); err != nil || r.Result.General != cat.ResultOK {
				return fmt.Errorf("%v: %v %w", body.Type(), r.Result, err)
			}
		}
		if err := tk.SetUpEventList(ctx, cat.EventLocationStatus); err != nil {
			return err
		}
		for {
			e, err := tk.Wait(ctx, nil)
			if err != nil {
				return nil // the end of the test
			}
			select {
			case got <- fmt.Sprintf("%X", e.Envelope):
			case <-ctx.Done():
				return nil
			}
			if e.Tag == 0xD3 {
				if _, err := tk.Do(ctx, cat.NewDisplayText("Your balance is 7"), 0, cat.DeviceDisplay); err != nil {
					return err
				}
			}
		}
	}
}

// TestOperate has a card set up a menu, send a message, and hear from the operator by every command.
func TestOperate(t *testing.T) {
	spool := t.TempDir()
	got := make(chan string, 20)
	packet := cat.ResponsePacket{TAR: [3]byte{0xB0, 0, 0x10}, Status: 0, Data: []byte{1, 0x90, 0}}.Append(nil)
	o := startOperated(t, "[control]\nsocket = \"SOCKET\"\nallow_apdu = true\n"+pollOften+"display_text = true\n[sms]\nspool = \""+spool+"\"\n",
		softuicc.Config{SMSPPAnswer: packet, Applets: []softuicc.Applet{services(got)}, Warning: func(capdu []byte) uint16 {
			if bytes.Contains(capdu, []byte{0xCA, 0xFE}) {
				return 0x6310
			}
			return 0
		}})
	o.shows([]string{"Services", "    1  Balance", "    2  Top", "--help-request"}, "menu", "--card", "card0")
	watched := o.watch()
	expect := func(envelope string, args ...string) {
		t.Helper()
		out, err := o.ask(args...)
		if err != nil || !strings.Contains(out, "status") {
			t.Fatalf("bipctl %v: %v\n%s", args, err, out)
		}
		for timeout := time.After(within); ; { // there are also the messages that watch has begun with
			select {
			case e := <-got:
				if e == envelope {
					return
				}
			case <-timeout:
				t.Fatalf("bipctl %v: the card did not get %s", args, envelope)
			}
		}
	}
	expect("D30782020181900102", "menu", "--select", "2")
	watched("DISPLAY TEXT: \"Your balance is 7\"")
	expect("D309820201819001019500", "menu", "--select", "1", "--help-request")
	expect("D60A990103820282811B0101", "event", "--code", "03", "--objects", "1B0101")
	expect("D60A990103820282819B0102", "event", "--location-status", "none")
	out, err := o.ask("sms-pp", "--udh", "027000", "--data", "0102")
	if err != nil || !hasAll(out, []string{"9000", "TAR       B00010", "PoR OK", "data      019000"}) {
		t.Errorf("sms-pp: %v\n%s", err, out)
	}
	out, err = o.ask("sms-pp", "--udh", "027000", "--data", "CAFE")
	if err != nil || !hasAll(out, []string{"6310", "TAR       B00010", "PoR OK", "data      019000"}) {
		t.Errorf("sms-pp with a warning: %v\n%s", err, out)
	}
	if out, err = o.ask("apdu", "00 A4 00 04", "02 3F 00"); err != nil || !strings.Contains(out, "response  62") {
		t.Errorf("apdu: %v\n%s", err, out)
	}
	if out, err = o.askWith("00 A4 00 04\n02 3F 00\n", "apdu", "-"); err != nil || !strings.Contains(out, "response  62") {
		t.Errorf("apdu from standard input: %v\n%s", err, out)
	}
	if out, err = o.askWith("\n", "apdu", "-"); err == nil || !strings.Contains(out, "standard input has no APDU") {
		t.Errorf("apdu from an empty standard input: %v\n%s", err, out)
	}
	o.refusals()
	files, err := filepath.Glob(spool + "/*.json")
	if err != nil || len(files) != 1 {
		t.Fatalf("spooled %v, %v", files, err)
	}
	if b, err := os.ReadFile(files[0]); err != nil || !hasAll(string(b), []string{`"card":"card0"`, `"tpdu":"010002812100000161"`}) {
		t.Errorf("%s %v", b, err)
	}
}

// refusals asks for what cannot be done, and wants to hear why.
func (o *operated) refusals() {
	o.t.Helper()
	for _, bad := range []struct {
		want string
		args []string
	}{
		{"no such item: 9", []string{"menu", "--select", "9"}},
		{"1 to 255", []string{"menu", "--help-request"}},
		{"has not asked for this event", []string{"event", "--code", "07", "--objects", "2D026465"}},
		{"session alone", []string{"apdu", "8012000010"}},
		{`no such card: "other"`, []string{"menu", "--card", "other"}},
		{"the card answered 6A82", []string{"apdu", "00A40004022F99"}},
		{"is needed", []string{"sms-pp"}},
	} {
		if out, err := o.ask(bad.args...); err == nil || !strings.Contains(out, bad.want) {
			o.t.Errorf("bipctl %v: %v %s, want %s", bad.args, err, out, bad.want)
		}
	}
}

// watch runs bipctl watch; the function it returns waits for a line with the text.
func (o *operated) watch() func(text string) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := bipctl(ctx, o.t, o.dir, "watch", "-s", o.socket)
	r, w, err := os.Pipe()
	if err != nil {
		o.t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	w.Close()
	o.t.Cleanup(func() { cancel(); cmd.Wait(); r.Close() })
	read := func(text string) error {
		r.SetReadDeadline(time.Now().Add(within))
		var seen []byte
		for b := make([]byte, 4096); !strings.Contains(string(seen), text); {
			n, err := r.Read(b)
			if err != nil {
				return fmt.Errorf("watch did not say %q: %w\n%s", text, err, seen)
			}
			seen = append(seen, b[:n]...)
		}
		return nil
	}
	// what it shows begins with the next event: have one until it shows any
	shown := make(chan error, 1)
	go func() { shown <- read("ENVELOPE") }()
	for {
		o.ask("sms-pp", "--data", "00")
		select {
		case err := <-shown:
			if err != nil {
				o.t.Fatal(err)
			}
			return func(text string) {
				o.t.Helper()
				if err := read(text); err != nil {
					o.t.Fatal(err)
				}
			}
		default:
		}
	}
}

// TestFailingHook has cards hear that there is no service where the hook fails or hangs, and the log says why.
func TestFailingHook(t *testing.T) {
	for name, tc := range map[string]struct{ script, timeout, want string }{
		"fails": {"echo no modem; exit 3", "10m", "exit status 3 (\\\"no modem\\\")"},
		"hangs": {"sleep 600", "1s", "not done within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			hook := filepath.Join(t.TempDir(), "hook")
			if err := os.WriteFile(hook, []byte("#!/bin/sh\n"+tc.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			result := make(chan string, 1)
			o := startOperated(t, "[control]\nsocket = \"SOCKET\"\n[sms]\nhook_timeout = \""+tc.timeout+"\"\nhook = \""+hook+"\"\n"+pollOften,
				softuicc.Config{Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
					r, err := tk.Do(ctx, &cat.SendShortMessage{TPDU: []byte{1}}, 0, cat.DeviceNetwork)
					result <- fmt.Sprintf("%02X %X %v", byte(r.Result.General), r.Result.Info, err)
					return err
				}}})
			select {
			case got := <-result:
				if got != "20 04 <nil>" {
					t.Errorf("answered %s", got)
				}
			case <-time.After(within):
				t.Fatal("the card got no answer")
			}
			await(t, "the reason in the log", within, func() bool { return strings.Contains(o.log.String(), "was not sent") })
			if !strings.Contains(o.log.String(), tc.want) {
				t.Errorf("the log does not say %s", tc.want)
			}
		})
	}
}

// TestAPDUForbidden is the default.
func TestAPDUForbidden(t *testing.T) {
	o := startOperated(t, "[control]\nsocket = \"SOCKET\"\n", softuicc.Config{})
	await(t, "the refusal", within, func() bool {
		out, err := o.ask("apdu", "00A40004023F00")
		return err != nil && strings.Contains(out, "set control.allow_apdu")
	})
}

func TestBuildSMS(t *testing.T) {
	at := time.Date(2031, 12, 9, 23, 5, 47, 0, time.UTC)
	f := smsFlags{from: "+4477", pid: "7F", dcs: "F6", udh: "02 70 00", data: "0A0B"}
	b, err := f.build(at)
	if want := "4404914477" + "7FF6" + "13219032507400" + "05" + "0270000A0B"; err != nil || fmt.Sprintf("%X", b) != want {
		t.Errorf("%X %v, want %s", b, err, want)
	}
	if b, err := (smsFlags{tpdu: "44 04"}).build(at); err != nil || len(b) != 2 {
		t.Errorf("%X %v", b, err)
	}
	for want, f := range map[string]smsFlags{
		"--tpdu":     {tpdu: "4"},
		"--from":     {from: "x"},
		"--pid":      {from: "1", pid: "100"},
		"--dcs":      {from: "1", pid: "0", dcs: "zz"},
		"--udh":      {from: "1", pid: "0", dcs: "0", udh: "0370"},
		"--data: no": {from: "1", pid: "0", dcs: "0", data: " "},
		"is needed":  {from: "1", pid: "0", dcs: "0"},
		"both":       {from: "1", pid: "0", dcs: "0", data: "01", text: "a"},
	} {
		if b, err := f.build(at); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %X %v, want %s", f, b, err, want)
		}
	}
}

func TestCardEvent(t *testing.T) {
	for _, tt := range []struct {
		flags [4]string // location-status, location, code, objects
		want  string    // "" = refused
	}{
		{[4]string{"none"}, "{Code:3 Objects:9b0102}"},
		{[4]string{"normal", "62f220"}, "{Code:3 Objects:9b0100930362f220}"},
		{[4]string{"", "", "0x12", "2D00"}, "{Code:18 Objects:2D00}"},
		{[4]string{"normal"}, ""}, {[4]string{"none", "62"}, ""}, {[4]string{"most"}, ""}, {[4]string{"none", "", "03"}, ""},
		{[4]string{}, ""}, {[4]string{"", "", "xyz"}, ""}, {[4]string{"", "62", "03"}, ""}, {[4]string{"none", "", "", "1B"}, ""},
	} {
		e, err := cardEvent(tt.flags[0], tt.flags[1], tt.flags[2], tt.flags[3])
		if (err == nil) != (tt.want != "") || err == nil && fmt.Sprintf("%+v", e) != tt.want {
			t.Errorf("%q: %+v %v, want %s", tt.flags, e, err, tt.want)
		}
	}
}

func TestShowReply(t *testing.T) {
	for sw, ok := range map[string]bool{"9000": true, "910B": true, "6285": true, "9201": true, "9300": false, "6F00": false, "9E10": false} {
		var b bytes.Buffer
		if err := showReply(&b, control.Reply{SW: sw, Data: "AA"}); (err == nil) != ok || !strings.Contains(b.String(), "AA") {
			t.Errorf("%s: %v %s", sw, err, &b)
		}
	}
	var b bytes.Buffer
	showResponsePacket(&b, "AABB")
	showResponsePacket(&b, "zz")
	if b.Len() != 0 {
		t.Errorf("no response packet, but %s", &b)
	}
}

func TestEventLine(t *testing.T) {
	e := trace.Event{Time: time.Now(), Card: "card0", Channel: 2, Step: "S707", From: trace.UICC, To: trace.CP, What: "SEND\x1bDATA", Bytes: 5, Err: "no"}
	if got := eventLine(e); !strings.HasSuffix(got, "card0    UICC   -> CP      S707 [channel 2] SEND DATA (5 bytes): no") {
		t.Errorf("%q", got)
	}
	if got := eventLine(trace.Event{APDU: "00a4", RAPDU: "9000"}); !strings.HasSuffix(got, " 00a4 -> 9000") {
		t.Errorf("%q", got)
	}
}

// TestWatchWithout names the daemon that is not there.
func TestWatchWithout(t *testing.T) {
	err := watch(t.Context(), &bytes.Buffer{}, []string{"/does/not/exist"}, func(trace.Event) bool { return true })
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") || errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
