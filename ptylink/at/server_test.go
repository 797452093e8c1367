package at

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// script is a line whose input is given and whose output is kept.
type script struct {
	io.Reader
	bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func testServer(cfg ServerConfig) *Server {
	s := NewServer(cfg)
	s.Handle("%ECHO", func(_ context.Context, c Command) ([]string, error) {
		v := NewValues(c.Args)
		n, text := v.Number("number", 0, 99), v.TextOr("text", 10)
		if err := v.End(); err != nil {
			return nil, err
		}
		line, err := PrintResult(c.Name, Num(n), Str(text))
		return []string{line}, err
	}, `(0-99)[,"<text>"]`)
	s.Handle("%FAIL", func(_ context.Context, c Command) ([]string, error) {
		if len(c.Args) == 0 {
			return nil, errors.New("broken")
		}
		return nil, fmt.Errorf("dial: %w", CMEError(c.Args[0].Number))
	}, "")
	s.Handle("%BAD", func(context.Context, Command) ([]string, error) { return []string{"a\r\nOK"}, nil }, "")
	s.Handle("+CMUX", func(_ context.Context, c Command) ([]string, error) { return nil, ErrSwitch }, "(0),(0)")
	return s
}

// answers runs a server over the input and gives its output.
func answers(t testing.TB, cfg ServerConfig, in io.Reader) (out string, err error) {
	t.Helper()
	rw := &script{Reader: in}
	err = testServer(cfg).Serve(context.Background(), rw)
	return rw.String(), err
}

func TestServerAnswers(t *testing.T) {
	const ok, fail = "\r\nOK\r\n", "\r\nERROR\r\n"
	for _, tt := range []struct{ in, want string }{
		{"AT\r", ok},
		{"at\r\nAt\r\n", ok + ok},
		{"AT\r\r\r\rAT\r", ok + ok},
		{"\n\nAT\r", ok},
		{"AT%ECHO=5,\"x\\0A\"\r", "\r\n+CME ERROR: 50\r\n"},
		{"AT%ECHO=5,\"\\22\"\r", "\r\n%ECHO: 5,\"\\22\"\r\n" + ok},
		{"AT%ECHO=?\r", "\r\n%ECHO: (0-99)[,\"<text>\"]\r\n" + ok},
		{"AT%FAIL=?\r", ok},
		{"AT%FAIL\r", fail},
		{"AT%FAIL=601\r", "\r\n+CME ERROR: 601\r\n"},
		{"AT+CMEE=0\rAT%FAIL=601\r", ok + fail},
		{"AT+CMEE=2\rAT%FAIL=601\rAT%FAIL=999\r", ok + "\r\n+CME ERROR: connection refused\r\n\r\n+CME ERROR: 999\r\n"},
		{"AT+CMEE=2;+CMEE?;+CMEE=3;+CMEE=0\r", "\r\n+CMEE: 2\r\n\r\n+CME ERROR: incorrect parameters\r\n"},
		{"AT+CMEE=?\r", "\r\n+CMEE: (0-2)\r\n" + ok},
		{"AT+CLAC\r", "\r\nAT%BAD\r\n\r\nAT%ECHO\r\n\r\nAT%FAIL\r\n\r\nAT+CLAC\r\n\r\nAT+CMEE\r\n\r\nAT+CMUX\r\n\r\nATE\r\n\r\nATS3\r\n\r\nATS4\r\n\r\nATS5\r\n" + ok},
		{"ATI\rAT+GMI\rAT+GMI=?\r", "\r\n+CME ERROR: 4\r\n" + fail + fail},
		{"AX\bT%ECHO= 5\x7f6 , \"a b\" \r", "\r\n%ECHO: 6,\"a b\"\r\n" + ok},
		{"XY\b\b\b\x7fAT\r", ok},
		{"  at e0 \r", ok},
		{"AT%ECHO=1 2\r", fail},
		{"ATS5?S3?;S4?\rATS5=3\rATX\x03\rATX\b\rATS5?\r",
			"\r\n008\r\n\r\n013\r\n\r\n010\r\n" + ok + ok + ok + fail + "\r\n003\r\n" + ok},
		{"ATS5=65\rATS5=13\rATS5=128\rATS3=10\rATS3=13S4=10\r", strings.Repeat("\r\n+CME ERROR: 50\r\n", 4) + ok},
		{"AT%BAD\r", fail},
		{"AT%NONE\r", fail},
		{"ATZ\r", fail},
		{"ATE2\r", "\r\n+CME ERROR: 50\r\n"},
		{"A/\r", fail},
		{"AT\n\r", fail},
		{"AT\x00\r", fail},
		{"hello\rOK\r%ECHO=1\r", ""},
		{"AAAAT%ECHO=1\r", ""},
		{"AT%ECHO=1", ""},
		{strings.Repeat("A", 4096) + "\rAT\r", fail + ok},
		{strings.Repeat("A", 1<<20), ""},
		{"AT%ECHO=1,\"" + strings.Repeat("x", MaxLine) + "\"\rAT\r", fail + ok},
		{"ATE1\rAT\x01T\x18\rAT\r", ok + "AT" + fail + "AT\r" + ok},
		{"ATE1\rATX\b\b\bBT\b\bAT\r", ok + "ATX\b \b\b \b\b \bAT\r" + ok},
		{"ATE1\r\xf9\x07\xef\x1bAT%ECHO=1\r\x41\xf9\r text \r", ok},
		{"ATE1\rAT\rOK\rAT\r", ok + "AT\r" + ok + ok},
		{"ATE1\rATE0\rAT\r", ok + "ATE0\r" + ok + ok},
	} {
		// +CMEE=1 at the start, as the client does.
		out, err := answers(t, ServerConfig{}, strings.NewReader("AT+CMEE=1\r"+tt.in))
		if want := ok + tt.want; out != want || err != io.EOF {
			t.Errorf("%.60q: %q, %v; want %q", tt.in, out, err, want)
		}
		// The same, one octet a read: only where an echo stands may differ.
		if slow, _ := answers(t, ServerConfig{}, iotest.OneByteReader(strings.NewReader("AT+CMEE=1\r"+tt.in))); slow != out {
			t.Errorf("%.60q: one octet a read: %q; want %q", tt.in, slow, out)
		}
	}
}

func TestServerEchoFromTheStart(t *testing.T) {
	out, _ := answers(t, ServerConfig{Echo: true}, strings.NewReader("AT\rATE0\rAT\r"))
	if want := "AT\r\r\nOK\r\nATE0\r\r\nOK\r\n\r\nOK\r\n"; out != want {
		t.Errorf("%q", out)
	}
}

// Who asks is told who answers.
func TestServerName(t *testing.T) {
	out, _ := answers(t, ServerConfig{Name: "bipd AP"}, strings.NewReader("ATI\rat i0\rAT+GMI\rATI1\rAT+GMI?\r"))
	if want := strings.Repeat("\r\nbipd AP\r\n\r\nOK\r\n", 3) + strings.Repeat("\r\nERROR\r\n", 2); out != want {
		t.Errorf("%q", out)
	}
}

func TestServerSwitch(t *testing.T) {
	out, err := answers(t, ServerConfig{}, strings.NewReader("AT+CMUX=0\r\xf9\x03?\x01\x1c\xf9"))
	var sw *Switched
	if !errors.As(err, &sw) || string(sw.Rest) != "\xf9\x03?\x01\x1c\xf9" || out != "\r\nOK\r\n" {
		t.Errorf("%q %v", out, err)
	}
}

// The line that was switched stays usable: no deadline of the server is left on it, no goroutine reads from it.
func TestServerSwitchLeavesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		s, served := testServer(ServerConfig{}), make(chan error, 1)
		go func() { served <- s.Serve(t.Context(), far) }()
		c := NewClient(near, ClientConfig{})
		rest, err := c.Switch(t.Context(), Command{Name: "+CMUX"})
		if err != nil || len(rest) > 1 {
			t.Fatalf("%q %v", rest, err)
		}
		var sw *Switched
		if err := <-served; !errors.As(err, &sw) {
			t.Fatal(err)
		}
		s.Notify("%LATE: 1") // nobody is served: dropped
		go func() { _, _ = far.Write([]byte("frames")) }()
		got := string(rest) // the LF behind the OK may still come first
		for buf := make([]byte, 16); err == nil && len(got) < len("\nframes") && got != "frames"; {
			var n int
			n, err = near.Read(buf)
			got += string(buf[:n])
		}
		if strings.TrimPrefix(got, "\n") != "frames" || err != nil {
			t.Errorf("%q %v", got, err)
		}
		if _, err := c.Do(t.Context(), Command{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// What was to be told between transactions is not written into the protocol that has the line now.
func TestServerSwitchDropsNotices(t *testing.T) {
	s := NewServer(ServerConfig{})
	s.Handle("+CMUX", func(context.Context, Command) ([]string, error) {
		s.Notify("%LATE: 1")
		for wake := s.now.wake; len(wake) > 0; { // until the notifier waits for the end of the transaction
			time.Sleep(time.Millisecond)
		}
		return nil, ErrSwitch
	}, "")
	rw := &script{Reader: strings.NewReader("AT+CMUX\r")}
	var sw *Switched
	if err := s.Serve(t.Context(), rw); !errors.As(err, &sw) || rw.String() != "\r\nOK\r\n" {
		t.Errorf("%q %v", rw.String(), err)
	}
}

func TestServerNotify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		started, goOn := make(chan struct{}), make(chan struct{})
		s := NewServer(ServerConfig{})
		s.Handle("%SLOW", func(context.Context, Command) ([]string, error) {
			close(started)
			<-goOn
			return []string{"%SLOW: 1"}, nil
		}, "")
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, far) }()
		unsolicited := make(chan string, 100)
		order := make(chan string, 100)
		c := NewClient(near, ClientConfig{
			Unsolicited: func(l string) { unsolicited <- l },
			Trace: func(received bool, l string) {
				if received {
					order <- l
				}
			},
		})
		if _, err := c.Do(ctx, Command{}); err != nil {
			t.Fatal(err)
		}
		s.Notify("%WEBSTAT: 1,0,0") // idle: at once
		if l := <-unsolicited; l != "%WEBSTAT: 1,0,0" {
			t.Error(l)
		}
		s.Notify("bad\rline")
		answered := make(chan error, 1)
		go func() {
			_, err := c.Do(ctx, Command{Name: "%SLOW"})
			answered <- err
		}()
		<-started
		for i := range maxNotices + 3 { // the oldest three are dropped
			s.Notify(fmt.Sprintf("%%N: %d", i))
		}
		close(goOn)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		for i := 3; i < maxNotices+3; i++ {
			if l := <-unsolicited; l != fmt.Sprintf("%%N: %d", i) {
				t.Error(l)
			}
		}
		for _, want := range []string{"OK", "%WEBSTAT: 1,0,0", "%SLOW: 1", "OK", "%N: 3"} {
			if l := <-order; l != want {
				t.Errorf("%q, want %q", l, want)
			}
		}
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		near.Close()
		<-c.Done()
	})
}

// A server whose peer does not read ends with its context all the same, notifier and answer alike.
func TestServerEndsUnderWrite(t *testing.T) {
	testkit.NoLeaks(t)
	for _, send := range []string{"", "AT\r"} {
		near, far := net.Pipe()
		s := NewServer(ServerConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		go func() { _, _ = io.WriteString(near, send) }()
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx, far) }()
		for alive, end := true, time.Now().Add(patience); alive; {
			if time.Now().After(end) {
				t.Fatal("Serve does not end with its context")
			}
			s.Notify("%X: 1")
			select {
			case err := <-done:
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				alive = false
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
		near.Close()
	}
}

func TestServerServesOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		s, served := testServer(ServerConfig{}), make(chan error, 1)
		go func() { served <- s.Serve(t.Context(), far) }()
		c := NewClient(near, ClientConfig{})
		if _, err := c.Do(t.Context(), Command{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(t.Context(), &script{Reader: strings.NewReader("AT\r")}); err == nil || err == io.EOF {
			t.Error(err)
		}
		near.Close()
		if err := <-served; err == nil {
			t.Error("no error for a closed line")
		}
		// After the end the server takes the next line.
		if err := s.Serve(t.Context(), &script{Reader: strings.NewReader("AT\r")}); err != io.EOF {
			t.Error(err)
		}
		<-c.Done()
	})
}

// count gives the number of lines in s that are final result codes.
func finals(s string) (n int) {
	for _, l := range strings.Split(s, "\r\n") {
		if final, _ := finalResult(l); final {
			n++
		}
	}
	return n
}

// edited is a line as V.250 5.2.2 leaves it.
func edited(line string) (_ string, over bool) {
	s := ""
	for _, b := range []byte(line) {
		switch {
		case (b == '\n' || b == ' ') && s == "":
		case b == '\b' || b == 0x7f:
			s = s[:max(len(s)-1, 0)]
		default:
			if s += string([]byte{b}); len(s) > MaxLine {
				return s, true
			}
		}
	}
	return s, false
}

// FuzzServer asserts facts of the grammar on arbitrary input: one final result code for each line that has a right to
// one, the same answers however the input is split, bounded memory, and an answer to the first good command afterwards.
func FuzzServer(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add([]byte(s), uint8(1))
	}
	f.Add([]byte(strings.Repeat("A", 4096)+"\r"), uint8(7))
	f.Add([]byte("AT\r\n\r\nAT%ECHO=1\r\nATE1;+CMEE=2\r"), uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		// The echo and what a switch leaves are other tests' matter.
		if bytes.ContainsAny(in, "eE") && bytes.ContainsAny(in, "1") || bytes.Contains(bytes.ToUpper(in), []byte("+CMUX")) {
			in = bytes.Map(func(r rune) rune {
				if r == 'e' || r == 'E' || r == 'm' || r == 'M' {
					return 'x'
				}
				return r
			}, in)
		}
		in = bytes.Map(func(r rune) rune { // S5 would change how lines are edited
			if r == 's' || r == 'S' {
				return 'x'
			}
			return r
		}, in)
		want := 0
		for _, l := range strings.Split(string(in), "\r") {
			l, over := edited(l)
			if startsWithAT(l) || over || strings.EqualFold(l, "A/") {
				want++
			}
		}
		out, err := answers(t, ServerConfig{}, bytes.NewReader(append(bytes.Clone(in), "\rAT\r"...)))
		if err != io.EOF {
			t.Fatal(err)
		}
		if n := finals(out); n != want+1 {
			t.Fatalf("%q: %d final result codes, want %d: %q", in, n, want+1, out)
		}
		if !strings.HasSuffix(out, "\r\nOK\r\n") {
			t.Fatalf("%q: a good command is not answered: %q", in, out)
		}
		split := &stepReader{r: append(bytes.Clone(in), "\rAT\r"...), n: int(step%16) + 1}
		if again, _ := answers(t, ServerConfig{}, split); again != out {
			t.Fatalf("%q: split by %d: %q, whole: %q", in, split.n, again, out)
		}
	})
}

// FuzzLines asserts that a line buffer holds no more than a line, whatever comes.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\rb\r\nc\n"), 2)
	f.Add(bytes.Repeat([]byte("x"), 5000), 1)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		b, e := lineBuffer{ends: "\r"}, editor{erase: backspace}
		r := &stepReader{r: in, n: max(1, n%64)}
		buf := make([]byte, 64)
		for {
			k, err := r.Read(buf)
			if err != nil {
				return
			}
			for p := buf[:k]; len(p) > 0; {
				line, _, rest, ok := b.feed(p)
				if len(line) > MaxLine || len(b.buf) > MaxLine || cap(b.buf) > 4*MaxLine || len(rest) >= len(p) && ok {
					t.Fatalf("line of %d, %d held", len(line), cap(b.buf))
				}
				if bytes.IndexByte(line, '\r') >= 0 {
					t.Fatalf("%q", line)
				}
				p = rest
			}
			for p := buf[:k]; len(p) > 0; {
				line, _, rest, _ := e.feed(p)
				if len(line) > MaxLine || len(e.buf) > MaxLine || cap(e.buf) > 4*MaxLine || len(e.shown) > 6*len(p) || len(rest) >= len(p) {
					t.Fatalf("line of %d, %d held, %d shown", len(line), cap(e.buf), len(e.shown))
				}
				p = rest
			}
		}
	})
}

// stepReader reads n octets at a time.
type stepReader struct {
	r []byte
	n int
}

func (s *stepReader) Read(p []byte) (int, error) {
	if len(s.r) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.r[:min(s.n, len(s.r))])
	s.r = s.r[n:]
	return n, nil
}

// TestServerPace asks before each line is answered, also one that is no command, and ends with the error.
func TestServerPace(t *testing.T) {
	enough := errors.New("enough")
	n := 0
	pace := func(context.Context) error {
		if n++; n > 3 {
			return enough
		}
		return nil
	}
	out, err := answers(t, ServerConfig{Pace: pace}, strings.NewReader("AT\rnothing\rAT\rAT\rAT\r"))
	if !errors.Is(err, enough) || strings.Count(out, "OK") != 2 || n != 4 {
		t.Errorf("%q, %v, asked %d times", out, err, n)
	}
}
