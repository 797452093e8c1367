package softuicc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"bipd/cat"
	"bipd/internal/testkit"
)

// TestChannelCommands goes through the calls that are one command each: the bytes they send and what they return.
func TestChannelCommands(t *testing.T) {
	testkit.NoLeaks(t)
	var got []string
	note := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
	p := make([]byte, 200)
	applet := func(ctx context.Context, tk *Toolkit) error {
		o, err := tk.OpenChannel(ctx, &cat.OpenChannel{Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400}, cat.OpenImmediate|cat.OpenDNSRequest)
		note("%v %d %v %v %v", o.Status, o.BufferSize, o.DNS, o.Modified, err)
		o, err = tk.OpenChannel(ctx, openTCP, cat.OpenImmediate)
		note("%v %d %v %v %v", o.Status, o.BufferSize, o.DNS, o.Modified, err)
		_, err = tk.OpenChannel(ctx, openTCP, cat.OpenImmediate)
		note("%v", err)
		list, err := tk.GetChannelStatus(ctx)
		note("%v %v", list, err)
		free, err := tk.SendData(ctx, 2, []byte{1, 2, 3}, false)
		note("%d %v", free, err)
		free, err = tk.SendData(ctx, 2, make([]byte, MaxSend), true)
		note("%d %v", free, err)
		n, left, err := tk.ReceiveData(ctx, 2, p)
		note("%d %d %v", n, left, err)
		_, _, err = tk.ReceiveData(ctx, 3, p)
		var refused *ResultError
		note("%v %v", errors.As(err, &refused), err)
		_, _, err = tk.ReceiveData(ctx, 2, make([]byte, 256))
		note("%v", err)
		note("%v", tk.CloseChannel(ctx, 2, cat.CloseUpkeep))
		return nil
	}
	c := newCard(t, Config{Applets: []Applet{applet}})
	e := newTerminal(t, c)
	e.profile()
	for i, x := range []struct{ command, answer, note string }{
		{"D0108103014009820281823501033902 0578", "830100 B8028100 350103 39020578 C005217F000035 C005217F000036",
			"channel 1: link established 1400 [127.0.0.53 127.0.0.54] false <nil>"},
		{"D01C8103024001820281823501033902 0578 3C030200503E05217F000001", "830107 38028200 350103 39020400",
			"channel 2: link established 1024 [] true <nil>"},
		{"D01C8103034001820281823501033902 0578 3C030200503E05217F000001", "83023A00 350103 39020578",
			"softuicc: OPEN CHANNEL: BIP error: no specific cause"},
		{"D009810304440082028182", "830100 B8028100 B8028200", "[channel 1: link established channel 2: link established] <nil>"},
		{"D00E81030543008202 8122B603010203", "830100 B701FF", "255 <nil>"},
		{"D081F181030643018202 8122B681E5" + strings.Repeat("00", MaxSend), "830100 B70164", "100 <nil>"},
		{"D00C8103074200820281 22B701C8", "830102 B603010203 B70100", "3 0 <nil>"},
		{"D00C8103084200820281 23B701C8", "83023A03", "true softuicc: RECEIVE DATA: BIP error: channel identifier not valid"},
		{"D009810309410182028122", "830100", "<nil>"},
	} {
		m := e.fetch()
		want(t, fmt.Sprintf("command %d", i+1), toHex(m), strings.ReplaceAll(x.command, " ", ""))
		e.respond(m, x.answer)
	}
	ended(t, c)
	clean(t, c)
	wanted := []string{
		"channel 1: link established 1400 [127.0.0.53 127.0.0.54] false <nil>",
		"channel 2: link established 1024 [] true <nil>",
		"softuicc: OPEN CHANNEL: BIP error: no specific cause",
		"[channel 1: link established channel 2: link established] <nil>",
		"255 <nil>", "100 <nil>", "3 0 <nil>",
		"true softuicc: RECEIVE DATA: BIP error: channel identifier not valid",
		"softuicc: RECEIVE DATA of 256 octets, at most 255 can be asked for",
		"<nil>",
	}
	want(t, "results", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	want(t, "received", bytes.HasPrefix(p, []byte{1, 2, 3}), true)
}

// TestBrokenResponses gives the calls answers that they cannot use: each is an error, and the card goes on.
func TestBrokenResponses(t *testing.T) {
	testkit.NoLeaks(t)
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		_, err := tk.OpenChannel(ctx, openTCP, cat.OpenImmediate)
		note(err)
		_, err = tk.SendData(ctx, 1, nil, true)
		note(err)
		_, _, err = tk.ReceiveData(ctx, 1, make([]byte, 1))
		note(err)
		_, _, err = tk.ReceiveData(ctx, 1, make([]byte, 1))
		note(err)
		_, err = tk.GetChannelStatus(ctx)
		note(err)
		note(tk.CloseChannel(ctx, 1, 0))
		_, err = tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
		note(err)
		return nil
	}}})
	e := newTerminal(t, c)
	e.profile()
	answers := []string{ok, ok, "830100 B70100", "830100 B6020102 B70100", ok, "82", "830200"}
	for _, a := range answers {
		e.respond(e.fetch(), a)
	}
	ended(t, c)
	want(t, "errors", len(errs), len(answers))
	for i, err := range errs {
		if err == nil {
			t.Errorf("call %d took the answer %s", i+1, answers[i])
		}
	}
	if len(c.Violations()) < len(answers) {
		t.Errorf("the judge says only %v", c.Violations())
	}
}
