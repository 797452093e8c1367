package mux

import (
	"bytes"
	"testing"
	"time"
)

// TestMessageInnerLength takes messages whose inner length is wrong or missing.
func TestMessageInnerLength(t *testing.T) {
	for _, c := range []struct {
		name, in string
		typ      messageType
		value    string
	}{
		{"CLD without length", "\xc3", msgCLD, ""},
		{"CLD", "\xc3\x01", msgCLD, ""},
		{"MSC of one octet too few", "\xe3\x07\x0b\x8d", msgMSC, "\x0b\x8d"},
		{"length in two octets", "\x23\x04\x01ab", msgTest, "ab"},
		{"Test that claims more than there is", "\x23\xffab", msgTest, "ab"},
	} {
		m, rest, err := parseMessage([]byte(c.in))
		if err != nil || m.typ != c.typ || string(m.value) != c.value || len(rest) != 0 || !m.command {
			t.Errorf("%s: %v % x, rest % x, error %v", c.name, m.typ, m.value, rest, err)
		}
	}
	for _, in := range []string{"", "\x22\x01", "\x23\x02\x02\x02\x02"} {
		if m, _, err := parseMessage([]byte(in)); err == nil {
			t.Errorf("% x: no error, got %v", in, m)
		}
	}
}

func TestParameters(t *testing.T) {
	p := parameters{dlci: 2, priority: 7, t1: 100 * time.Millisecond, n1: 512, n2: 3, k: 2}
	const coded = "\x02\x00\x07\x0a\x00\x02\x03\x02"
	if got := p.value(); string(got) != coded {
		t.Errorf("coded % x", got)
	}
	if got, err := parseParameters([]byte(coded)); err != nil || got != p {
		t.Errorf("decoded %+v, error %v", got, err)
	}
	if _, err := parseParameters([]byte(coded)[:7]); err == nil {
		t.Error("seven octets are no PN")
	}
	if got := (parameters{t1: time.Minute}).value()[3]; got != 255 {
		t.Errorf("T1 of a minute is coded %d", got)
	}
}

func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		"\xe3\x05\x0b\x8d", "\xe1\x07\x0b\x8c\x03", "\x83\x11\x02\x00\x07\x0a\x00\x02\x03\x02",
		"\xc3\x01", "\xc3", "\x23\x05\xde\xad", "\x93\x03\x0b", "\x53\x05\x0b\x03\xd3\x05\x0b\x03", "\x11\x03\xd3",
		"\x23\x04\x01ab", "\xa3\x01\x63\x01",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var messages []message
		for rest := in; len(rest) > 0; {
			m, after, err := parseMessage(rest)
			if err != nil {
				break
			}
			if len(after) >= len(rest) {
				t.Fatal("a message of no octets")
			}
			rest = after
			messages = append(messages, m)
		}
		var coded []byte
		for _, m := range messages {
			coded = appendMessage(coded, m)
		}
		for i, want := range messages {
			m, after, err := parseMessage(coded)
			if err != nil || m.typ != want.typ || m.command != want.command || !bytes.Equal(m.value, want.value) {
				t.Fatalf("message %d is %+v, want %+v, error %v", i, m, want, err)
			}
			coded = after
			valueIdentity(t, m)
		}
		if len(coded) != 0 {
			t.Errorf("% x is left", coded)
		}
		answersBounded(t, in)
	})
}

// valueIdentity parses and prints the values that have a type.
func valueIdentity(t *testing.T, m message) {
	if p, err := parseParameters(m.value); err == nil {
		if again, err := parseParameters(p.value()); err != nil || again != p {
			t.Errorf("parameters %+v become %+v, error %v", p, again, err)
		}
	}
	if s, err := parseModemStatus(m.value); err == nil {
		if again, err := parseModemStatus(s.value()); err != nil || again != s {
			t.Errorf("status %+v becomes %+v, error %v", s, again, err)
		}
	}
}

// answersBounded hands the octets to a station as a control frame: it answers every
// command at most once, with frames that decode, and none longer than N1 unless the
// question was.
func answersBounded(t *testing.T, info []byte) {
	if len(info) > 1499 {
		return
	}
	now := time.Unix(1000, 0)
	s := openStation(t, Config{Role: Responder, N1: 1499}, now)
	s.receive(appendBasic(nil, frame{typ: frameUIH, cr: true, info: info}), now)
	answers := sentFrames(t, s, now)
	if len(answers) > len(info) {
		t.Errorf("%d answers to %d octets", len(answers), len(info))
	}
	for _, a := range answers {
		if a.dlci != 0 || a.typ != frameUIH || a.cr {
			t.Errorf("answered with %v", a)
		}
	}
}
