package check

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/egress"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// patience bounds what a test waits for. It passes in full only where a test fails.
const patience = 30 * time.Second

// examine puts a card with the applet into a vpcd reader under check, and takes it out when the applet has ended.
func examine(t *testing.T, cfg Config, applet softuicc.Applet) (string, Result) {
	t.Helper()
	testkit.NoLeaks(t)
	path := filepath.Join(t.TempDir(), "card")
	r, closeReader, err := cp.OpenReader("vpcd:unix:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeReader()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ended := make(chan error, 1)
	var card *softuicc.Card
	sc := softuicc.Config{ThinkTime: time.Second, Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
		err := applet(ctx, tk)
		if errors.Is(err, softuicc.ErrReset) && ctx.Err() != nil {
			return err // it runs again after the reset
		}
		ended <- err
		card.SetQuirks(softuicc.Quirks{Fault: func(capdu []byte) softuicc.Fault {
			if capdu[1] == insStatus { // the terminal has got all answers
				return softuicc.Removal
			}
			return softuicc.NoFault
		}})
		return err
	}}}
	if card, err = softuicc.New(sc); err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- softuicc.ServeVPCD(ctx, conn, card) }()
	cfg.Reader, cfg.PollInterval = r, 20*time.Millisecond
	var out bytes.Buffer
	result, err := Run(ctx, &out, cfg)
	if err != nil {
		t.Errorf("check: %v", err)
	}
	if ctx.Err() != nil {
		t.Errorf("the check did not end with the card\n%s", out.String())
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("applet: %v\n%s", err, out.String())
		}
	default:
		t.Errorf("the applet has not ended\n%s", out.String())
	}
	<-served
	return out.String(), result
}

func wantLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	rest := out
	for _, l := range lines {
		_, after, ok := strings.Cut(rest, l)
		if !ok {
			t.Fatalf("no line %q, or not in its place:\n%s", l, out)
		}
		rest = after
	}
}

func echoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func loopback(t *testing.T) *egress.Policy {
	t.Helper()
	p, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// talk is a good applet: it sends a line to the server and wants it back.
func talk(server netip.AddrPort, login *cat.Text) softuicc.Applet {
	return func(ctx context.Context, tk *softuicc.Toolkit) error {
		conn, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.TCPClientRemote, Remote: server, Qualifier: cat.OpenImmediate,
			Login: login, Password: login})
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
			return err
		}
		return conn.Close()
	}
}

func TestGoodCard(t *testing.T) {
	server := echoServer(t)
	login := cat.NewText("s3cret-l0gin")
	out, r := examine(t, Config{Network: true, Policy: loopback(t)}, talk(server, &login))
	wantLines(t, out, "reader vpcd:unix:", "ATR 3B", "direct convention, T=0", "TERMINAL PROFILE ", "octet 12 bit 1  OPEN CHANNEL\n",
		"-> SET UP EVENT LIST 01: events [Data available, Channel status]", "<- 00 performed successfully",
		"-> OPEN CHANNEL 02 (immediate link): bearer default bearer, buffer 1400, login (not shown), password (not shown), TCP client port",
		"<- 00 performed successfully: channel 1: link established", "-> SEND DATA 03 on channel 1 (send immediately): 5 octets",
		"<- ENVELOPE: Data available: channel 1: link established", "-> RECEIVE DATA", "-> CLOSE CHANNEL", "verdict: no fault was found\n")
	if r.Failed() || r.Commands < 5 || r.Warnings > 0 || r.Refused > 0 || r.StatusWords > 0 || r.Sessions != 1 {
		t.Errorf("%+v\n%s", r, out)
	}
	if strings.Contains(out, "s3cret") || strings.Contains(out, strings.ToUpper(hex.EncodeToString([]byte("s3cret")))) {
		t.Errorf("the login is shown:\n%s", out)
	}
}

// Without --network the card hears that there is none, and that is nobody's fault.
func TestNoNetwork(t *testing.T) {
	out, r := examine(t, Config{}, func(ctx context.Context, tk *softuicc.Toolkit) error {
		_, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.TCPClientRemote, Remote: netip.MustParseAddrPort("192.0.2.1:443"), Qualifier: cat.OpenImmediate})
		var refused *softuicc.ResultError
		if !errors.As(err, &refused) || refused.Result.General != cat.ResultNetworkUnable {
			return errors.Join(errors.New("not refused for want of a network"), err)
		}
		return nil
	})
	wantLines(t, out, "-> OPEN CHANNEL", "   terminal=\"OPEN CHANNEL refused\"", "no network", "<- 21 network currently unable", "there was no network for the card\n")
	if r.Failed() || r.NoNetwork != 1 || r.Refused != 1 {
		t.Errorf("%+v", r)
	}
}

// The default policy keeps cards from loopback, also under --network.
func TestPolicy(t *testing.T) {
	server := echoServer(t)
	out, r := examine(t, Config{Network: true}, func(ctx context.Context, tk *softuicc.Toolkit) error {
		_, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.TCPClientRemote, Remote: server, Qualifier: cat.OpenImmediate})
		if err == nil {
			return errors.New("loopback was reached")
		}
		return nil
	})
	wantLines(t, out, "default: loopback", "<- 3A BIP error: security error", "the terminal or the network refused a channel command\n")
	if r.Failed() || r.NoConnection != 1 {
		t.Errorf("%+v", r)
	}
}

// Each class of finding, from a card's mouth to the report.
func TestBadCards(t *testing.T) {
	const open = "81 03 01 40 01 82 02 81 82 "
	for _, tc := range []struct{ name, command, line string }{
		{"length", "D0 20 81 03 01 02 00 82 02 81 82", "error [TS 101 220 7.1.2]"},
		{"object", "81 03 01 02 00 82 02 81 82 05 20", "error [TS 101 220 7.1.2]"},
		{"mandatory", "81 03 01 03 00 82 02 81 82", "error [6.6.6]: POLL INTERVAL without its mandatory duration"},
		{"devices", "81 03 01 42 00 82 02 81 82 B7 01 ED", "error [6.6.29]: RECEIVE DATA goes to terminal"},
		{"qualifier", "81 03 01 02 01 82 02 81 82", "error [8.6]: qualifier 01 of MORE TIME"},
		{"order", open + "39 02 05 78 35 01 03 3C 03 02 01 BB 3E 05 21 C0 00 02 01", "error [6.6.27]: bearer description"},
		{"bearer", open + "35 02 02 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 C0 00 02 01", "error [8.52]"},
		{"buffer", open + "35 01 03 39 02 00 00 3C 03 02 01 BB 3E 05 21 C0 00 02 01", "error [8.55]: buffer size 0"},
		{"port", open + "35 01 03 39 02 05 78 3C 03 02 00 00 3E 05 21 C0 00 02 01", "error [8.59]: port 0"},
		{"no address", open + "35 01 03 39 02 05 78 3C 03 02 01 BB", "error [6.6.27]: a client without a destination"},
		{"empty address", open + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 00", "error [6.6.27]: a client with an empty destination"},
		{"name", open + "35 01 03 39 02 05 78 47 08 03 6F 74 61 2E 6E 65 74 3C 03 02 01 BB 3E 05 21 C0 00 02 01", "error [8.70]"},
		{"channel 8", "81 03 01 41 00 82 02 81 28", "error [8.7]: CLOSE CHANNEL for channel 8"},
		{"closed channel", "81 03 01 41 00 82 02 81 21", "error [8.56]: CLOSE CHANNEL for channel 1, which is not open"},
		{"receive 0", "81 03 01 42 00 82 02 81 21 B7 01 00", "error [8.54]: RECEIVE DATA for 0 octets"},
		{"event", "81 03 01 05 00 82 02 81 82 99 01 FE", "error [8.25]: event FE"},
		{"timer", "81 03 01 27 00 82 02 81 82 A4 01 09 A5 03 00 01 00", "error [8.37]: timer identifier 09"},
		{"number", "81 03 00 02 00 82 02 81 82", "error [8.6]: command number 00"},
		{"foreign object", "81 03 01 02 00 82 02 81 82 B6 01 00", "error [6.10]: MORE TIME has no object channel data"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, r := examine(t, Config{}, raw(t, tc.command))
			wantLines(t, out, "-> ", tc.line, "<- ", "verdict: the applet: its commands break the specification\n")
			if !r.Failed() || r.Errors < 1 || r.Commands != 1 {
				t.Errorf("%+v\n%s", r, out)
			}
		})
	}
}

// What is only suspicious does not fail the card.
func TestWarnings(t *testing.T) {
	const open = "81 03 01 40 01 82 02 81 82 "
	for _, tc := range []struct{ name, command, line string }{
		{"port swapped", open + "35 01 03 39 02 05 78 3C 03 02 50 00 3E 05 21 C0 00 02 01", "warning [8.59]: port 20480"},
		{"buffer swapped", open + "35 01 03 39 02 78 05 3C 03 02 01 BB 3E 05 21 C0 00 02 01", "warning [8.55]: buffer size 30725"},
		{"length", "D0 81 09 81 03 01 02 00 82 02 81 82", "warning [TS 101 220 7.1.2]"},
		{"not offered", "81 03 01 20 00 82 02 81 03", "warning [5.2]: the TERMINAL PROFILE does not offer PLAY TONE"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, r := examine(t, Config{}, raw(t, tc.command))
			wantLines(t, out, "-> ", tc.line, "<- ", "verdict: no")
			if r.Failed() || r.Warnings < 1 {
				t.Errorf("%+v\n%s", r, out)
			}
		})
	}
}

// SEND DATA larger than what was granted is known only from the responses before.
func TestSendTooMuch(t *testing.T) {
	server := echoServer(t)
	dst := server.Addr()
	out, r := examine(t, Config{Network: true, Policy: loopback(t)}, func(ctx context.Context, tk *softuicc.Toolkit) error {
		o, err := tk.OpenChannel(ctx, &cat.OpenChannel{Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 100,
			Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: server.Port()}, Destination: &dst}, cat.OpenImmediate)
		if err != nil {
			return err
		}
		_, err = tk.Do(ctx, &cat.SendData{Data: make([]byte, 101)}, cat.SendImmediately, cat.DeviceChannel(o.Status.Channel))
		return err
	})
	wantLines(t, out, "-> SEND DATA", "error [6.4.30]: SEND DATA of 101 octets: the terminal granted a buffer of 100", "<- 3A BIP error")
	if r.Errors != 1 {
		t.Errorf("%+v", r)
	}
}

// A card that breaks off what it began is told from an applet that does.
func TestCardAtFault(t *testing.T) {
	out, r := examine(t, Config{}, func(ctx context.Context, tk *softuicc.Toolkit) error {
		_, err := tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
		return err
	})
	if r.Failed() || r.Commands != 1 {
		t.Errorf("%+v\n%s", r, out)
	}
	for _, tc := range []struct {
		capdu, rapdu string
		faults       int
		line         string
	}{
		{"80100000 01 FF", "6D00", 1, "the card answers TERMINAL PROFILE by 6D00"},
		{"80120000 0B", "6F00", 1, "the card answers FETCH by 6F00"},
		{"80140000 0C 810301020082028281830100", "6A80", 1, "the card answers TERMINAL RESPONSE by 6A80"},
		{"80C20000 05 D603990109", "9300", 0, ""},
		{"80C20000 05 D603990109", "6F00", 0, "   ENVELOPE is answered 6F00"},
		{"00A40004 02 3F00", "6A82", 0, "   SELECT is answered 6A82"},
		{"00B20104 00", "6A83", 0, ""},
	} {
		var out bytes.Buffer
		e := &exam{w: &lockedWriter{w: &out}}
		e.exchanged(unhex(t, tc.capdu), unhex(t, tc.rapdu))
		if !strings.Contains(out.String(), tc.line) || e.result.CardFaults != tc.faults || (tc.line == "") != (e.result.StatusWords+e.result.CardFaults == 0) {
			t.Errorf("%s %s: %+v\n%s", tc.capdu, tc.rapdu, e.result, out.String())
		}
	}
}

func TestMuteCard(t *testing.T) {
	var out bytes.Buffer
	e := &exam{w: &lockedWriter{w: &out}}
	c := &card{Card: muteCard{}, exam: e}
	if _, err := c.Transmit(t.Context(), unhex(t, "80F2000C")); !errors.Is(err, uicc.ErrMute) {
		t.Error(err)
	}
	wantLines(t, out.String(), "the card does not answer STATUS")
	if !e.result.Failed() {
		t.Errorf("%+v", e.result)
	}
}

type muteCard struct{ uicc.Card }

func (muteCard) Transmit(context.Context, []byte) ([]byte, error) { return nil, uicc.ErrMute }

// A card that asks for a reset has its session begun anew, and gets no response.
func TestRefreshReset(t *testing.T) {
	session := 0
	out, r := examine(t, Config{}, func(ctx context.Context, tk *softuicc.Toolkit) error {
		if session++; session == 1 {
			_, err := tk.Do(ctx, &cat.Refresh{}, cat.RefreshUICCReset, cat.DeviceTerminal)
			return err
		}
		_, err := tk.Do(ctx, &cat.MoreTime{}, 0, cat.DeviceTerminal)
		return err
	})
	wantLines(t, out, "-> REFRESH 01 (UICC reset)", "<- no response: the card is reset", "-- the card is reset", "TERMINAL PROFILE", "-> MORE TIME", "no fault was found")
	if r.Sessions != 1 || r.Failed() || r.Commands != 2 {
		t.Errorf("%+v", r)
	}
}

func TestNoCard(t *testing.T) {
	testkit.NoLeaks(t)
	r := softuicc.NewReader("empty")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	result, err := Run(ctx, &out, Config{Reader: r})
	if err != nil || result != (Result{}) || !strings.Contains(out.String(), "verdict: no card was there") {
		t.Errorf("%+v, %v\n%s", result, err, out.String())
	}
}

// A reader that is not there says why.
func TestNoReader(t *testing.T) {
	testkit.NoLeaks(t)
	r := softuicc.NewReader("unplugged")
	r.Unplug()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := until{text: "in use by pcscd", end: cancel}
	result, err := Run(ctx, &out, Config{Reader: heldReader{r}})
	if err != nil || result != (Result{}) {
		t.Errorf("%+v, %v", result, err)
	}
	wantLines(t, out.String(), "reader is gone", "in use by pcscd", "verdict: no card was there")
}

// until is what a check writes to; it ends the check once this text is there.
type until struct {
	testkit.Log
	text string
	end  func()
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Log.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.end()
	}
	return n, err
}

type heldReader struct{ uicc.Reader }

func (heldReader) WhyGone() error { return errors.New("in use by pcscd") }

// A reader that does not let go of its card is told from one without.
func TestNotActivated(t *testing.T) {
	testkit.NoLeaks(t)
	r := softuicc.NewReader("taken")
	card, err := softuicc.New(softuicc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Insert(card); err != nil {
		t.Fatal(err)
	}
	defer card.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := until{text: "cannot be activated", end: cancel}
	result, err := Run(ctx, &out, Config{Reader: takenReader{r}})
	if err != nil || result.NotActivated == 0 || result.Sessions != 0 {
		t.Errorf("%+v, %v", result, err)
	}
	wantLines(t, out.String(), "cannot be activated: another program has it", "verdict: the card could not be activated")
}

type takenReader struct{ uicc.Reader }

func (takenReader) Connect(context.Context) (uicc.Card, error) {
	return nil, errors.New("another program has it")
}

// Whatever a card says, the exam goes on and shows no PIN.
func FuzzExam(f *testing.F) {
	for _, s := range [][2]string{
		{"8012000009", "D0098103010200820281829000"}, {"80140000 0C 810301020082028281830100", "9000"}, {"80C20000 05 D603990109", "6F00"},
		{"8010000002FFFF", "9109"}, {"0020000108 3132333435363738", "63C2"}, {"A0F2000016", "9F16"},
	} {
		capdu, _ := hex.DecodeString(strings.ReplaceAll(s[0], " ", ""))
		rapdu, _ := hex.DecodeString(s[1])
		f.Add(capdu, rapdu)
	}
	f.Fuzz(func(t *testing.T, capdu, rapdu []byte) {
		var out bytes.Buffer
		e := &exam{w: &lockedWriter{w: &out}}
		e.exchanged(unhexed("8010000002FFFF"), unhexed("9000"))
		before := e.result
		e.exchanged(capdu, rapdu)
		if r := e.result; r.Commands < before.Commands || r.CardFaults < 0 || r.Commands > 1 {
			t.Fatalf("%+v", r)
		}
		pin := append(unhexed("0020000108"), "97531864"...)
		from := out.Len()
		e.exchanged(pin, rapdu)
		if said := out.String()[from:]; strings.Contains(said, "97531864") || strings.Contains(said, "3937353331383634") {
			t.Fatalf("the PIN is shown: %s", said)
		}
		e.summary()
	})
}

func unhexed(s string) []byte {
	b, _ := hex.DecodeString(s)
	return b
}

func TestDescribeATR(t *testing.T) {
	for _, tc := range []struct{ atr, want string }{
		{"3B9F96801FC78031E073FE211B63E208A8830F90008A", "direct convention, T=0, speed TA1=96"},
		{"3B00", "direct convention, T=0, speed TA1=11"},
		{"3B9F96801FC78031E073FE211B63E208A8830F900000", "warning [ISO/IEC 7816-3 8.2]"},
		{"00", "warning [ISO/IEC 7816-3 8.2]"},
	} {
		if got := strings.Join(describeATR(unhex(t, tc.atr)), "\n"); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s, want %s", tc.atr, got, tc.want)
		}
	}
}

// raw is an applet that sends one command as it stands: a template, or the objects of one.
func raw(t *testing.T, command string) softuicc.Applet {
	b := unhex(t, command)
	if b[0] != 0xD0 {
		b = append([]byte{0xD0, byte(len(b))}, b...)
	}
	return func(ctx context.Context, tk *softuicc.Toolkit) error {
		_, err := tk.DoRaw(ctx, b)
		return err
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
