package ptylink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"

	"github.com/pelletier/go-toml/v2"
)

func TestSecretStaysSecret(t *testing.T) {
	v := struct {
		Name     string
		Password Secret
		List     []Secret
		Map      map[string]*Secret
	}{"joe", "hunter2", []Secret{"hunter2"}, map[string]*Secret{}}
	p := Secret("hunter2")
	v.Map["x"] = &p
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10v"} {
		fmt.Fprintf(&out, verb+verb+verb+"\n", p, v, NetPar{Password: p, DNS: []netip.Addr{}})
	}
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(h).Info("x", "p", p, "v", v, "w", WebOpen{Password: p})
	}
	j, err := json.Marshal(v)
	out.Write(j)
	m, merr := toml.Marshal(v)
	out.Write(m)
	fmt.Fprintln(&out, p, &p, fmt.Errorf("bad: %v", p))
	if s := out.String(); err != nil || merr != nil || strings.Contains(s, "hunter2") || strings.Contains(s, "68756e74") || !strings.Contains(s, masked) {
		t.Error(s, err, merr)
	}
	if p.Reveal() != "hunter2" || fmt.Sprint(Secret("")) != "" {
		t.Error("Reveal or the empty Secret")
	}
	var back struct{ Password Secret }
	if err := toml.Unmarshal([]byte(`Password = "hunter2"`), &back); err != nil || back.Password != p {
		t.Error(err)
	}
	if err := json.Unmarshal([]byte(`{"Password":"hunter2"}`), &back); err != nil || back.Password != p {
		t.Error(err)
	}
}

func TestNetParLines(t *testing.T) {
	n := testNet
	n.Channel = 1
	lines, err := n.Lines()
	want := `%NETPAR: 1,"IPV4V6","inter.net","us\22er","pa\5Css;\22word","wlan0","192.0.2.53","2001:db8::53",1400`
	if err != nil || len(lines) != 1 || lines[0] != want {
		t.Fatalf("%q %v", lines, err)
	}
	if got, err := ParseNetPar(want); err != nil || !reflect.DeepEqual(got, n) {
		t.Errorf("%+v %v", got, err)
	}
	if lines, err := (NetPar{Channel: 7}).Lines(); err != nil || lines[0] != `%NETPAR: 7,"","","","","","","",0` {
		t.Errorf("%q %v", lines, err)
	}
	for _, bad := range []NetPar{
		{}, {Channel: 8}, {Channel: 1, MTU: -1}, {Channel: 1, MTU: 65536}, {Channel: 1, AccessPoint: "a\r\nOK"},
		{Channel: 1, Password: Secret(strings.Repeat("x", MaxPassword+1))}, {Channel: 1, Interface: strings.Repeat("x", 16)},
		{Channel: 1, DNS: make([]netip.Addr, 3)}, {Channel: 1, DNS: make([]netip.Addr, 1)},
		{Channel: 1, DNS: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}},
	} {
		if lines, err := bad.Lines(); err == nil {
			t.Errorf("%+v: %q", bad, lines)
		}
	}
}

func TestWebOpenCommand(t *testing.T) {
	base := WebOpen{Channel: 2, Network: "udp", Remote: netip.MustParseAddrPort("192.0.2.1:53"), Buffer: 1500}
	with := func(f func(*WebOpen)) WebOpen { w := base; f(&w); return w }
	for want, w := range map[string]WebOpen{
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500`:                      base,
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n"`:                  with(func(w *WebOpen) { w.NAN = "n" }),
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"","u",""`:            with(func(w *WebOpen) { w.User = "u" }),
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n","","p\22"`:        with(func(w *WebOpen) { w.NAN, w.Password = "n", `p"` }),
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"","","","192.0.2.9"`: with(func(w *WebOpen) { w.Local = netip.MustParseAddr("192.0.2.9") }),
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n","u","p","2001:db8::9"`: with(func(w *WebOpen) {
			w.NAN, w.User, w.Password, w.Local = "n", "u", "p", netip.MustParseAddr("2001:db8::9")
		}),
		`AT%WEBOPCH=2,"TCP","::ffff:192.0.2.1",1,1`: {Channel: 2, Network: "tcp", Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), Buffer: 1},
	} {
		c, err := w.Command()
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		line, err := at.PrintLine(c)
		got, perr := ParseWebOpen(c)
		if err != nil || perr != nil || line != want || got != w {
			t.Errorf("%s: %s %+v %v %v", want, line, got, err, perr)
		}
	}
	for _, line := range []string{
		`AT%WEBOPCH`, `AT%WEBOPCH?`, `AT%WEBOPCH=`, `AT%WEBOPCH=0,"TCP","::1",1,1`, `AT%WEBOPCH=8,"TCP","::1",1,1`,
		`AT%WEBOPCH=1,"SCTP","::1",1,1`, `AT%WEBOPCH=1,"tcp","::1",1,1`, `AT%WEBOPCH=1,TCP,"::1",1,1`, `AT%WEBOPCH=1,"TCP","host",1,1`,
		`AT%WEBOPCH=1,"TCP","fe80::1%eth0",1,1`, `AT%WEBOPCH=1,"TCP","::1",0,1`, `AT%WEBOPCH=1,"TCP","::1",65536,1`,
		`AT%WEBOPCH=1,"TCP","::1",1,0`, `AT%WEBOPCH=1,"TCP","::1",1,65536`, `AT%WEBOPCH=1,"TCP","::1",1`, `AT%WEBOPCH=1,"TCP","::1",1,1,2`,
		`AT%WEBOPCH=1,"TCP","::1",1,1,"n","u"`, `AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","p",`, `AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","p",""`, `AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","p","host"`,
		`AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","p","fe80::1%eth0"`, `AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","p","::1","x"`,
		`AT%WEBOPCH=1,"TCP","::1",1,1,"\0A"`, `AT%GETNET=1,3`,
		`AT%WEBOPCH=1,"TCP","::1",1,1,"n","u","` + strings.Repeat("p", MaxPassword+1) + `"`,
	} {
		cmds, err := at.ParseLine(line)
		if err != nil {
			continue // refused by the grammar
		}
		w, err := ParseWebOpen(cmds[0])
		var cme at.CMEError
		if !errors.As(err, &cme) || w != (WebOpen{}) || strings.Contains(err.Error(), "ppp") {
			t.Errorf("%s: %+v %v", line, w, err)
		}
	}
}

func TestStatusLines(t *testing.T) {
	for _, w := range []WebStat{{1, WebClosed, 0, 0}, {7, WebConnected, at.ErrPolicy, 0}, {3, WebListening, 0, 0},
		{2, WebEnding, 0, 1 << 40}} {
		if got, err := ParseUnsolicited(w.Line()); err != nil || got != w {
			t.Errorf("%v %v", got, err)
		}
	}
	for _, n := range []NetStat{{AccessWLAN, true, "wlan0"}, {8, false, ""}} {
		lines, err := n.Lines()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseUnsolicited(lines[0]); err != nil || got != n {
			t.Errorf("%v %v", got, err)
		}
	}
	for _, line := range []string{"", "RDY", "%WEBSTAT", "%WEBSTAT: 0,0,0", "%WEBSTAT: 1,3,0", "%WEBSTAT: 1,4,0",
		"%WEBSTAT: 1,3,0,-1", "%WEBSTAT: 1,3,0,1,1", "%WEBSTAT: 1,3,0,9223372036854775808", "%WEBSTAT: 1,0,0,0", "%WEBSTAT: 1,0,70000",
		"%NETSTAT: 256,0", "%NETSTAT: 1,2,\"a\"", "%NETSTAT: 1,1,a", "%OTHER: 1"} {
		if got, err := ParseUnsolicited(line); !errors.Is(err, ErrAnswer) {
			t.Errorf("%q: %v %v", line, got, err)
		}
	}
}

func TestCMUX(t *testing.T) {
	base := mux.Config{N1: 512, KeepAlive: time.Second}
	for want, cfg := range map[string]mux.Config{
		"AT+CMUX=0,0,,512":      base,
		"AT+CMUX=0,0,,512,31,5": {N1: 512, T1: 301 * time.Millisecond, N2: 5},
		"AT+CMUX=1,0,,128,255":  {N1: 128, T1: time.Hour, Advanced: true},
		"AT+CMUX=0,0,,512,,100": {N1: 512, N2: 1000},
	} {
		line, err := at.PrintLine(cmuxCommand(cfg, 0))
		if err != nil || line != want {
			t.Errorf("%s: %s %v", want, line, err)
		}
	}
	open := mux.Config{KeepAlive: time.Second}
	parse := func(line string, speed int) (mux.Config, error) {
		cmds, err := at.ParseLine(line)
		if err != nil {
			t.Fatal(err)
		}
		return parseCMUX(cmds[0], open, speed)
	}
	if got, err := parseCMUX(at.Command{Name: nameCMUX, Form: at.Set, Args: []at.Arg{at.Num(0)}}, base, 0); err != nil || got != base {
		t.Errorf("the AP's own N1: %+v %v", got, err)
	}
	for line, want := range map[string]mux.Config{
		"AT+CMUX=0":                     {N1: 31, KeepAlive: time.Second},
		"AT+CMUX=1":                     {N1: 64, KeepAlive: time.Second, Advanced: true},
		"AT+CMUX=1,0,5,,10":             {N1: 64, KeepAlive: time.Second, Advanced: true, T1: 100 * time.Millisecond},
		"AT+CMUX=0,0,5,31,10,3,30,10,2": {N1: 31, KeepAlive: time.Second, T1: 100 * time.Millisecond, N2: 3, T2: 300 * time.Millisecond},
		"AT+CMUX=1,0,5,31,10,3,30":      {N1: 31, KeepAlive: time.Second, Advanced: true, T1: 100 * time.Millisecond, N2: 3, T2: 300 * time.Millisecond},
	} {
		if got, err := parse(line, 115200); err != nil || got != want {
			t.Errorf("%s: %+v %v", line, got, err)
		}
	}
	for _, line := range []string{"AT+CMUX=2", "AT+CMUX=0,1", "AT+CMUX=0,0,6", "AT+CMUX=0,0,7", "AT+CMUX=0,0,,30", "AT+CMUX=0,0,,1501",
		"AT+CMUX=0,0,,,256", "AT+CMUX=0,0,,,,101", "AT+CMUX=0,0,,,,,1", "AT+CMUX=0,0,9", "AT+CMUX=0,0,,,,,,0", "AT+CMUX=0,0,,,,,,256",
		"AT+CMUX=0,0,,,,,,,0", "AT+CMUX=0,0,,,,,,,8", "AT+CMUX=0,0,5,31,10,3,30,10,2,1", "AT+CMUX", "AT+CMUX?"} {
		if got, err := parse(line, 115200); err == nil {
			t.Errorf("%s: %+v", line, got)
		}
	}
	if got, err := parse("AT+CMUX=0,0,8,127", 921600); err != nil || got.N1 != 127 {
		t.Errorf("%+v %v", got, err)
	}
	// What ofono reads: in each pair of parentheses one number or one range.
	for _, values := range strings.Split(cmuxUsage, "),(") {
		if !regexp.MustCompile(`^[0-9]+(-[0-9]+)?$`).MatchString(strings.Trim(values, "()")) {
			t.Errorf("%s: %s", cmuxUsage, values)
		}
	}
	if n := strings.Count(cmuxUsage, "("); n != 9 {
		t.Errorf("%d values", n)
	}
	slow := paced(base, 9600)
	if slow.T1 < 2*time.Second || slow.T2 < slow.T1 || slow.WriteSize != 512+muxOverhead || paced(base, 0) != base {
		t.Errorf("%+v", slow)
	}
	if quick := paced(base, 921600); quick.T1 != 0 {
		t.Errorf("%+v", quick)
	}
	for speed, n1 := range map[int]int{0: 512, 1200: 31, 9600: 31, 19200: 64, 57600: 256, 115200: 512, 230400: 512, 460800: 1499, 4000000: 1499} {
		if got := paced(mux.Config{}, speed); got.N1 != n1 || got.T1 != 0 && speed > 19200 {
			t.Errorf("at %d bit/s: %+v", speed, got)
		}
	}
}

// FuzzResult asserts for each line from the AP that what was read prints and reads the same again.
func FuzzResult(f *testing.F) {
	f.Add(`%NETPAR: 1,"IPV4V6","inter.net","us\22er","pa\5Css;\22word","wlan0","192.0.2.53","2001:db8::53",1400`)
	f.Add(`%NETPAR: 1,,,,,,,"::1",`)
	f.Add(`%WEBOPCH: 7,"::ffff:1.2.3.4",65535`)
	f.Add(`%WEBSTAT: 1,0,602`)
	f.Add(`%NETSTAT: 100,1,"wlan0"`)
	f.Fuzz(func(t *testing.T, line string) {
		same := func(printed []string, err error, again func(string) (any, error), want any) {
			t.Helper()
			if err != nil || len(printed) != 1 {
				t.Fatalf("%q: printed %q, %v", line, printed, err)
			}
			if got, err := again(printed[0]); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: printed %q, read again %+v, %v", line, printed, got, err)
			}
		}
		if n, err := ParseNetPar(line); err == nil {
			printed, err := n.Lines()
			same(printed, err, func(l string) (any, error) { return ParseNetPar(l) }, n)
			if s := n.Password.Reveal(); len(s) > 3 && strings.Contains(maskLine(line), at.Quote(s)) && s != n.User && s != n.AccessPoint && s != n.Interface && s != n.PDPType {
				t.Fatalf("%q: masked %q", line, maskLine(line))
			}
		}
		if ch, local, err := ParseWebOpened(line); err == nil {
			printed, err := WebOpenedLines(ch, local)
			same(printed, err, func(l string) (any, error) { _, a, err := ParseWebOpened(l); return a, err }, local)
		}
		if u, err := ParseUnsolicited(line); err == nil {
			switch u := u.(type) {
			case WebStat:
				same([]string{u.Line()}, nil, ParseUnsolicited, u)
			case NetStat:
				printed, err := u.Lines()
				same(printed, err, ParseUnsolicited, u)
			default:
				t.Fatalf("%q: %T", line, u)
			}
		}
	})
}

// FuzzCommand asserts the same of each command from the CP, and that a refusal is a CMEError.
func FuzzCommand(f *testing.F) {
	f.Add(`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n","u","p\22"`)
	f.Add(`AT%WEBOPCH=2,"TCP","::1",53,1500,,,`)
	f.Add(`AT%GETNET=1,3,"n"`)
	f.Add(`AT%WEBCLCH=1,1`)
	f.Add(`AT%WEBLSTN=1,80,1500`)
	f.Fuzz(func(t *testing.T, line string) {
		cmds, err := at.ParseLine(line)
		if err != nil {
			return
		}
		c := cmds[0]
		var cme at.CMEError
		check := func(err error, print func() (at.Command, error), again func(at.Command) (any, error), want any) {
			t.Helper()
			if err != nil {
				if !errors.As(err, &cme) {
					t.Fatalf("%q: %v is no CMEError", line, err)
				}
				return
			}
			printed, err := print()
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if got, err := again(printed); err != nil || got != want {
				t.Fatalf("%q: %+v, again %+v, %v", line, want, got, err)
			}
		}
		switch c.Name {
		case nameWebOpen:
			w, err := ParseWebOpen(c)
			check(err, w.Command, func(c at.Command) (any, error) { return ParseWebOpen(c) }, w)
		case nameWebClose:
			w, err := ParseWebClose(c)
			check(err, w.Command, func(c at.Command) (any, error) { return ParseWebClose(c) }, w)
		case nameWebListen:
			w, err := ParseWebListen(c)
			check(err, w.Command, func(c at.Command) (any, error) { return ParseWebListen(c) }, w)
		case nameGetNet:
			ch, bearer, nan, err := ParseGetNet(c)
			check(err, func() (at.Command, error) { return getNetCommand(ch, bearer, nan) },
				func(c at.Command) (any, error) { _, _, nan, err := ParseGetNet(c); return nan, err }, nan)
		case nameCMUX:
			_, err := parseCMUX(c, mux.Config{N1: 512}, 0)
			if err != nil && !errors.As(err, &cme) {
				t.Fatalf("%q: %v is no CMEError", line, err)
			}
		}
	})
}
