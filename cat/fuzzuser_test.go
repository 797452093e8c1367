package cat

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzUserCommands parses commands for the user, and short messages, and has them answered.
func FuzzUserCommands(f *testing.F) {
	for typ, body := range map[CommandType]string{
		TypeSetUpMenu:         "85 04 4D656E75 8F 03 01 4F6E 8F 02 FF 41 18 02 13 10 9E 02 01 01 9F 03 01 05 05 D0 04 00000000 D1 08 0000000000000000",
		TypeSelectItem:        "8F 03 01 4F6E 90 01 01",
		TypeDisplayText:       "8D 06 04 48656C6C6F 9E 02 01 01 AB 00 84 02 01 0A D0 04 00000000 E8 01 00",
		TypeSetUpIdleModeText: "8D 05 08 0416 0416",
		TypeSendShortMessage:  "85 00 86 03 91 4477 8B 0D 01 00 02 81 21 00 F4 05 68656C6C6F",
	} {
		f.Add(byte(typ), byte(0x81), octets(f, body))
	}
	f.Add(byte(TypeSetUpMenu), byte(0), octets(f, "85 00 8F 00"))
	f.Fuzz(func(t *testing.T, typ, qualifier byte, body []byte) {
		raw := appendTemplate(nil, templateProactive, append([]byte{0x81, 3, 1, typ, qualifier, 0x82, 2, 0x81, 0x82}, body...))
		c, err := ParseCommand(raw)
		if err != nil {
			var re *ResultError
			if !errors.As(err, &re) {
				t.Fatalf("error %v has no result for the card", err)
			}
			return
		}
		if again, err := ParseCommand(c.Append(nil)); err != nil || !reflect.DeepEqual(again, c) {
			t.Fatalf("parse, append, parse:\n got %#v %v\nwant %#v", again, err, c)
		}
		answerUser(t, c)
	})
}

// answerUser has the user interface, or who sends short messages, answer the command.
func answerUser(t *testing.T, c Command) {
	t.Helper()
	s := NewSession(newTestCard(nil), Config{})
	u := NewUserInterface(s, true)
	sent := false
	m := NewShortMessages(s, func(_ context.Context, m ShortMessage) error { sent = len(m.TPDU) > 0; return nil })
	var a Answer
	switch c.Body.(type) {
	case *SetUpMenu, *DisplayText, *SetUpIdleModeText, *SelectItem:
		a = u.Handle(context.Background(), c)
	case *SendShortMessage:
		if a = m.Handle(context.Background(), c); a.Wait != nil {
			a = a.Wait(context.Background())()
		}
		if sent != (a.Response.Result.General < 0x10) {
			t.Fatalf("sent %v, answered %v", sent, a.Response.Result)
		}
	default:
		return
	}
	switch r := a.Response.Result.General; r {
	case ResultOK, ResultIconNotShown, ResultBeyondCapabilities, ResultDataNotUnderstood:
	default:
		t.Fatalf("answered %v", a.Response.Result)
	}
	menu := u.Menu()
	if !utf8.ValidString(menu.Title) {
		t.Fatalf("title %q", menu.Title)
	}
	for _, i := range menu.Items {
		if e, err := u.Selection(i.ID, menu.Help); err != nil || i.ID == 0 || !utf8.ValidString(i.Text) || len(e.Append(nil)) > 11 {
			t.Fatalf("item %+v: %v", i, err)
		}
	}
}

// FuzzCodeText codes and decodes.
func FuzzCodeText(f *testing.F) {
	f.Add(byte(0x00), "hello w")
	f.Add(byte(0x08), "Привет 😀")
	f.Add(byte(0xF4), "Grüße @")
	f.Fuzz(func(t *testing.T, dcs byte, s string) {
		text, err := CodeText(dcs, s)
		if err != nil || !utf8.ValidString(s) {
			return
		}
		got, want := text.Decode(), s
		if dcs&0x0C == 0 { // CR at the end may be filling
			got, want = strings.TrimRight(got, "\r"), strings.TrimRight(want, "\r")
		}
		if got != want {
			t.Fatalf("%q became %q", want, got)
		}
		if d, err := (Deliver{From: Address{0x91, "1"}, DCS: dcs, Text: s, Time: smsTime}).TPDU(); err == nil && (len(d) < 14 || len(d) > 154) {
			t.Fatalf("SMS-DELIVER of %d octets", len(d))
		}
	})
}
