package at

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParseLine(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []Command
	}{
		{"AT", []Command{{}}},
		{"at", []Command{{}}},
		{"AT%GETNET", []Command{{Name: "%GETNET"}}},
		{"at%getnet?", []Command{{Name: "%GETNET", Form: Read}}},
		{"AT%GETNET=?", []Command{{Name: "%GETNET", Form: Test}}},
		{"AT%GETNET=", []Command{{Name: "%GETNET", Form: Set, Args: []Arg{{}}}}},
		{`AT%GETNET=1,3,"Inter.net"`, []Command{{Name: "%GETNET", Form: Set, Args: []Arg{Num(1), Num(3), Str("Inter.net")}}}},
		{`AT%X=,,"",007,`, []Command{{Name: "%X", Form: Set, Args: []Arg{{}, {}, Str(""), Num(7), {}}}}},
		{`AT%X="\22\5c\0D;,\fF"`, []Command{{Name: "%X", Form: Set, Args: []Arg{Str("\"\\\r;,\xff")}}}},
		{"AT%X=18446744073709551615", []Command{{Name: "%X", Form: Set, Args: []Arg{Num(1<<64 - 1)}}}},
		{"ATE0", []Command{{Name: "E", Form: Set, Args: []Arg{Num(0)}}}},
		{"ATE&F0+CMEE=1;+CMEE?", []Command{
			{Name: "E"}, {Name: "&F", Form: Set, Args: []Arg{Num(0)}},
			{Name: "+CMEE", Form: Set, Args: []Arg{Num(1)}}, {Name: "+CMEE", Form: Read}}},
		{`AT+A=";";+B`, []Command{{Name: "+A", Form: Set, Args: []Arg{Str(";")}}, {Name: "+B"}}},
		{`at + cmee = 1 ; + x = "a b", 2 ,  "c"`, []Command{{Name: "+CMEE", Form: Set, Args: []Arg{Num(1)}},
			{Name: "+X", Form: Set, Args: []Arg{Str("a b"), Num(2), Str("c")}}}},
		{"AT ", []Command{{}}},
		{"ats005=8S3?;+X", []Command{{Name: "S5", Form: Set, Args: []Arg{Num(8)}}, {Name: "S3", Form: Read}, {Name: "+X"}}},
		{"ATE0;+X", []Command{{Name: "E", Form: Set, Args: []Arg{Num(0)}}, {Name: "+X"}}},
	} {
		got, err := ParseLine(tt.line)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", tt.line, got, err, tt.want)
		}
	}
}

func TestParseLineRefuses(t *testing.T) {
	for _, line := range []string{
		"", "A", "A/", "XAT", "AT%", "AT%1", "AT+", "AT+?", "AT%GETNET==?", "AT%GETNET?=?", "AT%GETNET??",
		"AT%X=-1", "AT%X=+1", "AT%X=1 2", "ATE0 1", "AT%X=\"a\"1 2", "AT%X=18446744073709551616", "AT%X=0x1", "AT%X=1.5",
		`AT%X="a`, `AT%X="\2"`, `AT%X="\`, `AT%X="\2`, `AT%X="\+1"`, `AT%X="\0_"`, `AT%X="a"b`, `AT%X=1"a"`, "AT%X=\"\xff\"", "AT%X=\"\x08\"",
		"AT%X\x08", "AT\x00%X", "AT+X;", "AT;+X", "AT+X;;+Y", "AT+X+Y", "AT%X;+Y", "AT+Y;%X", "ATE0%X", "ATE?", "ATE=0", "AT&", "AT&1", "ATS3", "ATS3=", "ATS=1", "ATS256?", "AT&S3=13",
		"AT%X=\"\x7f\"",
		"AT%" + strings.Repeat("A", 17), "AT%X=" + strings.Repeat(",", MaxArgs), "AT%X=\"" + strings.Repeat("a", MaxLine) + "\"",
	} {
		if got, err := ParseLine(line); !errors.Is(err, ErrSyntax) || got != nil && !strings.Contains(line, "%") {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
}

func TestParseResult(t *testing.T) {
	name, args, err := ParseResult(`%NETPAR: 1,"IP","a\22b",,1500`)
	if want := []Arg{Num(1), Str("IP"), Str(`a"b`), {}, Num(1500)}; err != nil || name != "%NETPAR" || !reflect.DeepEqual(args, want) {
		t.Errorf("%s %v %v", name, args, err)
	}
	for _, line := range []string{"%X:1,\"a b\",2", "%X:  1, \"a b\" ,2 "} {
		name, args, err := ParseResult(line)
		if want := []Arg{Num(1), Str("a b"), Num(2)}; err != nil || name != "%X" || !reflect.DeepEqual(args, want) {
			t.Errorf("%q: %s %v %v", line, name, args, err)
		}
	}
	for _, line := range []string{"", "OK", "%X", "%X:", "%X: ", "%X: 1 2", "X: 1", "%x: 1", "%X: a", "%X: 1;", "%X : 1", ": 1", `%X: "`} {
		if name, args, err := ParseResult(line); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: %s %v %v", line, name, args, err)
		}
	}
}

func TestPrintLineRefuses(t *testing.T) {
	for _, cmds := range [][]Command{
		{}, {{Name: "X1"}}, {{Name: "%x"}}, {{Name: "%X", Form: Set}}, {{Name: "%X", Args: []Arg{Num(1)}}}, {{Form: Read}},
		{{Name: "E", Form: Read}}, {{Name: "E", Form: Set, Args: []Arg{Str("0")}}}, {{Name: "%X", Form: 9}}, {{}, {Name: "+X"}},
		{{Name: "+X"}, {Name: "%Y"}}, {{Name: "%X", Form: Set, Args: []Arg{{Kind: 9}}}},
		{{Name: "%X", Form: Set, Args: []Arg{Str(strings.Repeat("\x00", 700))}}},
		{{Name: "%X", Form: Set, Args: make([]Arg, MaxArgs+1)}},
	} {
		if line, err := PrintLine(cmds...); !errors.Is(err, ErrSyntax) {
			t.Errorf("%v: %q, %v", cmds, line, err)
		}
	}
}

// A command may carry a password: it must not show in any print of it, nor in an error of the parser.
func TestValuesStaySecret(t *testing.T) {
	c := Command{Name: "%X", Form: Set, Args: []Arg{Num(1), Str("hunter2")}}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c.Args, c.Args, c.Args[1]), c.LogValue().String()} {
		if strings.Contains(s, "hunter2") {
			t.Error(s)
		}
	}
	_, err := ParseLine(`AT%X="hunter2`)
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	v := NewValues([]Arg{Num(7), Str("a"), {}, {}})
	if n, s := v.Number("n", 1, 7), v.Text("s", 1); n != 7 || s != "a" {
		t.Error(n, s)
	}
	if n, s := v.NumberOr("n", 1, 7, 5), v.TextOr("s", 1); n != 5 || s != "" {
		t.Error(n, s)
	}
	if n, s, err := v.NumberOr("n", 1, 7, 3), v.TextOr("s", 1), v.End(); n != 3 || s != "" || err != nil {
		t.Error(n, s, err)
	}
	for name, take := range map[string]func(*Values){
		"low":      func(v *Values) { v.Number("n", 8, 9) },
		"high":     func(v *Values) { v.Number("n", 0, 6) },
		"kind":     func(v *Values) { v.Text("n", 9) },
		"surplus":  func(v *Values) {},
		"long":     func(v *Values) { v.Number("n", 0, 9); v.Text("s", 2) },
		"octets":   func(v *Values) { v.Number("n", 0, 9); v.Text("s", 9) },
		"too much": func(v *Values) { v.Number("n", 0, 9); v.TextOr("s", 9); v.Number("n", 0, 9) },
	} {
		v := NewValues([]Arg{Num(7), Str("a\nb")})
		take(v)
		if err := v.End(); !errors.Is(err, ErrParameters) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCMEErrorText(t *testing.T) {
	for e := range cmeTexts {
		if parseCME(" "+e.Text()) != e || parseCME(fmt.Sprint(int(e))) != e {
			t.Errorf("%v", e)
		}
	}
	for s, want := range map[string]CMEError{"": ErrUnknown, "what": ErrUnknown, "-1": ErrUnknown, "999": 999, "99999": ErrUnknown} {
		if got := parseCME(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

// FuzzParseLine asserts that printing what was parsed and parsing it again gives the same commands, in no longer a line.
func FuzzParseLine(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(strings.TrimRight(s, "\r"))
	}
	f.Add(`ATE0V1;&F S07=1 S3?+A="\41",,0009;+B=?;+C?`)
	f.Add("AT" + strings.Repeat("E", MaxLine-2))
	f.Add("AT%X=\"" + strings.Repeat("~", 2000) + "\"")
	f.Fuzz(func(t *testing.T, line string) {
		cmds, err := ParseLine(line)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("%q: %v", line, err)
			}
			return
		}
		printed, err := PrintLine(cmds...)
		if err != nil || len(printed) > len(line) {
			t.Fatalf("%q: printed %q, %v", line, printed, err)
		}
		again, err := ParseLine(printed)
		if err != nil || !reflect.DeepEqual(again, cmds) {
			t.Fatalf("%q: printed %q, parsed again %v, %v", line, printed, again, err)
		}
	})
}

// FuzzParseResult is the same for information lines.
func FuzzParseResult(f *testing.F) {
	f.Add(`%NETPAR: 1,"IP","apn","","","wlan0","192.0.2.1","",1500`)
	f.Add("%X: ,,")
	f.Add("%X:1")
	f.Fuzz(func(t *testing.T, line string) {
		name, args, err := ParseResult(line)
		if err != nil || len(line) == MaxLine {
			return
		}
		printed, err := PrintResult(name, args...)
		if err != nil || len(printed) > len(line)+1 { // a blank behind the colon
			t.Fatalf("%q: printed %q, %v", line, printed, err)
		}
		name2, args2, err := ParseResult(printed)
		if err != nil || name2 != name || !reflect.DeepEqual(args2, args) {
			t.Fatalf("%q: printed %q, parsed again %s %v, %v", line, printed, name2, args2, err)
		}
	})
}

// FuzzQuote asserts that any octets survive quoting, within the grammar's octets.
func FuzzQuote(f *testing.F) {
	f.Add("\x00\"\\\r\n\xff\x7f;,")
	f.Fuzz(func(t *testing.T, s string) {
		q := Quote(s)
		if !printable(q) {
			t.Fatalf("%q", q)
		}
		p := parser{s: q}
		if a, err := p.quoted(); err != nil || a.String != s || !p.end() {
			t.Fatalf("%q: %v", q, err)
		}
	})
}
