package cp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// traced gives the events of a card's exchanges, each a command and its response.
func traced(t *testing.T, exchanges ...[2][]byte) []trace.Event {
	t.Helper()
	stream := &trace.Stream{Source: "bipd"}
	sub := stream.Subscribe(2 * len(exchanges))
	defer sub.Close()
	tap := &tap{c: New(Config{Name: "card0", Trace: stream})}
	var events []trace.Event
	for _, x := range exchanges {
		before := bytes.Clone(append(bytes.Clone(x[0]), x[1]...))
		tap.exchange(x[0], x[1], time.Now(), 0)
		if !bytes.Equal(before, append(bytes.Clone(x[0]), x[1]...)) {
			t.Error("the tap has changed the APDUs themselves")
		}
		events = append(events, <-sub.C)
	}
	return events
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// PINs, PUKs, challenges and keys are masked in commands and responses, also where GET RESPONSE brings these.
func TestTapMasks(t *testing.T) {
	const secret, shown = "31323334ffffffff", "0000000000000000"
	for _, tc := range []struct{ capdu, rapdu, wantC, wantR string }{
		{"0020000108" + secret, "9000", "0020000108" + shown, "9000"},
		{"0021000108" + secret, "9000", "0021000108" + shown, "9000"},
		{"0024000110" + secret + secret, "9000", "0024000110" + shown + shown, "9000"},
		{"A024000110" + secret + secret, "9000", "a024000110" + shown + shown, "9000"},
		{"0026000108" + secret, "9000", "0026000108" + shown, "9000"},
		{"0028000108" + secret, "9000", "0028000108" + shown, "9000"},
		{"002C000110" + secret + secret, "9000", "002c000110" + shown + shown, "9000"},
		{"0120000108" + secret, "63C2", "0120000108" + shown, "63c2"},
		{"0088008108" + secret + "00", "DB04112233449000", "0088008108" + shown + "00", "0000000000009000"},
		{"A088000008" + secret, "9F0C", "a088000008" + shown, "9f0c"},
		{"80D8010108" + secret, "9000", "80d8010108" + shown, "9000"},
		{"00200001", "63C3", "00200001", "63c3"},
		{"00A40004023F00", "9000", "00a40004023f00", "9000"},
		{"00B2010402", "41429000", "00b2010402", "41429000"},
	} {
		e := traced(t, [2][]byte{unhex(tc.capdu), unhex(tc.rapdu)})[0]
		if e.APDU != tc.wantC || e.RAPDU != tc.wantR {
			t.Errorf("%s %s is traced as %s %s", tc.capdu, tc.rapdu, e.APDU, e.RAPDU)
		}
	}
	events := traced(t,
		[2][]byte{unhex("0088008108" + secret), unhex("6108")},
		[2][]byte{unhex("00C0000004"), unhex("112233446104")},
		[2][]byte{unhex("00C0000004"), unhex("556677889000")},
		[2][]byte{unhex("00A40004023F00"), unhex("6102")},
		[2][]byte{unhex("00C0000002"), unhex("62009000")})
	for i, want := range []string{"6108", "000000006104", "000000009000", "6102", "62009000"} {
		if events[i].RAPDU != want {
			t.Errorf("exchange %d is traced as %s, want %s", i, events[i].RAPDU, want)
		}
	}
	stream := &trace.Stream{}
	sub := stream.Subscribe(2)
	defer sub.Close()
	(&tap{c: New(Config{Trace: stream})}).exchange(unhex("00200001"), nil, time.Now(), 0)
	if e := <-sub.C; e.Err == "" || e.RAPDU != "" {
		t.Errorf("no answer is traced as %+v", e)
	}
}

// Neither login nor password of a proactive command shows, however the response comes: to FETCH, by GET RESPONSE, in two
// parts, behind another command, or with command details twice.
func TestTapMasksLogin(t *testing.T) {
	login, password := cat.NewText("alpha-login"), cat.NewText("omega-word")
	to := netip.MustParseAddr("192.0.2.1")
	open := cat.NewCommand(1, cat.OpenImmediate, &cat.OpenChannel{
		Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400, Login: &login, Password: &password,
		Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: 80}, Destination: &to,
	}).Append(nil)
	timer := cat.NewCommand(2, 1, &cat.TimerManagement{Timer: 1}).Append(nil)
	twice := append(bytes.Clone(open), 0x81, 0x03, 0x01, 0x40, 0x01)
	copy(twice[2:], []byte{0x81, 0x03, 0x01, 0x21, 0x80}) // the first details are DISPLAY TEXT's
	twice[1] += 5
	browser := bytes.Clone(open)
	browser[5] = byte(cat.TypeLaunchBrowser)
	fetch, more := unhex("8012000000"), unhex("00C0000000")
	with := func(data, sw []byte) []byte { return append(bytes.Clone(data), sw...) }
	ok, rest := []byte{0x90, 0}, []byte{0x61, 0x20}
	for name, exchanges := range map[string][][2][]byte{
		"FETCH":            {{fetch, with(open, ok)}},
		"GET RESPONSE":     {{fetch, rest}, {more, with(open, ok)}},
		"two parts":        {{fetch, rest}, {more, with(open[:40], rest)}, {more, with(open[40:], ok)}},
		"behind another":   {{fetch, with(append(bytes.Clone(timer), open...), ok)}},
		"details twice":    {{fetch, with(twice, ok)}},
		"LAUNCH BROWSER":   {{fetch, with(browser, ok)}},
		"without a FETCH":  {{unhex("80C2000000"), rest}, {more, with(open, ok)}},
		"nobody listening": {{fetch, with(open, ok)}, {unhex("0088008100"), rest}, {more, with(open, ok)}},
	} {
		for _, e := range traced(t, exchanges...) {
			shown := unhex(e.RAPDU)
			for _, secret := range []string{"alpha", "login", "omega", "word"} {
				if bytes.Contains(shown, []byte(secret)) {
					t.Errorf("%s: %q shows %q", name, shown, secret)
				}
			}
		}
	}
	if e := traced(t, [2][]byte{fetch, with(timer, ok)})[0]; e.RAPDU != hex.EncodeToString(with(timer, ok)) {
		t.Errorf("TIMER MANAGEMENT is traced as %s", e.RAPDU)
	}
}
