package at

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// peer is a scripted far end: for each line that comes it writes what answer gives.
func peer(t *testing.T, answer func(line string) string) (near net.Conn, seen func() []string) {
	t.Helper()
	testkit.NoLeaks(t)
	near, far := net.Pipe()
	var mu sync.Mutex
	var lines []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		in, buf := lineBuffer{ends: "\r"}, make([]byte, 100)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			for p := buf[:n]; len(p) > 0; {
				line, _, rest, ok := in.feed(p)
				if !ok {
					break
				}
				p = rest
				mu.Lock()
				lines = append(lines, string(line))
				mu.Unlock()
				if _, err := io.WriteString(far, answer(string(line))); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() { near.Close(); far.Close(); <-done })
	return near, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(lines)
	}
}

// patience is longer than anything that works takes. Most tests have a clock of their own, which goes on only while all wait:
// there it does not matter how fast the machine is, and what waits for ever is told at once.
const patience = 30 * time.Second

// short bounds what a test waits for.
func short(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestClientDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var unsolicited []string
		answer := map[string]string{
			"AT":                    "\r\nOK\r\n",
			"ATE0":                  "ATE0\r\r\nOK\r\n",
			"AT%GETNET=1,3":         "AT%GETNET=1,3\r\r\n%WEBSTAT: 1,0,0\r\n\r\n%NETPAR: 1\r\nRDY\r\n\r\n%GETNET: 2\r\n\r\nOK\r\n",
			"AT%F":                  "\r\nERROR\r\n",
			"AT%F=1":                "\r\n+CME ERROR: 601\r\n",
			"AT%F=2":                "\r\n+CME ERROR: connection refused\r\n",
			"AT%F=3":                "\r\n+CME ERROR: out of cheese\r\n",
			"AT%F=4":                "\x00\xff%F: 1\r\n" + strings.Repeat("x", 5000) + "\r\nOK\n",
			"AT%F=6":                "\r\nNO CARRIER\r\n",
			"AT%F=7":                "\r\n+CMS ERROR: 302\r\n",
			"AT%F=8":                "\r\n+EXT ERROR: 1\r\n",
			"AT%F=9":                "%F:1\r\n OK \r\n",
			"AT%F=10":               "BUSY\r",
			"AT%F=11":               "NO ANSWER\r",
			"AT%F=12":               "NO DIALTONE\r",
			"AT%F=13":               "+CME ERROR:601\r",
			"AT%F=5":                strings.Repeat("%F: 1\r\n", maxLines+1) + "OK\r\n",
			"\x18":                  "",
			"AT%P=\"\\0D\\22\\5C\"": "%P: \"a\"\r\nOK\r\n",
		}
		near, _ := peer(t, func(line string) string {
			a, ok := answer[line]
			if !ok {
				t.Errorf("unexpected %q", line)
			}
			return a
		})
		c := NewClient(near, ClientConfig{
			Unsolicited: func(l string) { unsolicited = append(unsolicited, l) },
			Answers:     map[string]string{"%GETNET": "%NETPAR"},
		})
		set := func(name string, args ...Arg) Command { return Command{Name: name, Form: Set, Args: args} }
		for _, tt := range []struct {
			cmd   Command
			lines []string
			err   error
		}{
			{Command{}, nil, nil},
			{set("E", Num(0)), nil, nil},
			{set("%GETNET", Num(1), Num(3)), []string{"%NETPAR: 1", "%GETNET: 2"}, nil},
			{Command{Name: "%F"}, nil, ErrFinal},
			{set("%F", Num(1)), nil, ErrRefused},
			{set("%F", Num(2)), nil, ErrRefused},
			{set("%F", Num(3)), nil, ErrUnknown},
			{set("%F", Num(4)), nil, nil},
			{set("%F", Num(5)), nil, ErrBabble},
			{set("%F", Num(6)), nil, ErrFinal},
			{set("%F", Num(7)), nil, ErrFinal},
			{set("%F", Num(8)), nil, ErrFinal},
			{set("%F", Num(9)), []string{"%F:1"}, nil},
			{set("%F", Num(10)), nil, ErrFinal},
			{set("%F", Num(11)), nil, ErrFinal},
			{set("%F", Num(12)), nil, ErrFinal},
			{set("%F", Num(13)), nil, ErrRefused},
			{set("%P", Str("\r\"\\")), []string{`%P: "a"`}, nil},
			{Command{Name: "lower"}, nil, ErrSyntax},
		} {
			lines, err := c.Do(short(t, patience), tt.cmd)
			if !slices.Equal(lines, tt.lines) || !errors.Is(err, tt.err) {
				t.Errorf("%v: %q %v, want %q %v", tt.cmd, lines, err, tt.lines, tt.err)
			}
		}
		near.Close()
		<-c.Done()
		if want := []string{"%WEBSTAT: 1,0,0", "RDY"}; !slices.Equal(unsolicited, want) {
			t.Errorf("%q", unsolicited)
		}
		if _, err := c.Do(t.Context(), Command{}); !errors.Is(err, ErrClosed) || !errors.Is(c.Err(), ErrClosed) {
			t.Error(err)
		}
	})
}

// After a command without an answer the late answer is not taken for that of the next command.
func TestClientLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, late := make(chan struct{}), make(chan string, 9)
		near, seen := peer(t, func(line string) string {
			switch line {
			case "AT%SLOW":
				<-release
				return "\r\n%SLOW: 1\r\n\r\n+CME ERROR: 601\r\n"
			case "AT":
				return "\r\nOK\r\n"
			case "AT%NEXT":
				return "\r\n%NEXT: 2\r\n\r\nOK\r\n"
			}
			return ""
		})
		c := NewClient(near, ClientConfig{Unsolicited: func(l string) { late <- l }})
		_, err := c.Do(short(t, 20*time.Millisecond), Command{Name: "%SLOW"})
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if _, err := c.Do(short(t, 20*time.Millisecond), Command{Name: "%NEXT"}); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		close(release)
		lines, err := c.Do(short(t, patience), Command{Name: "%NEXT"})
		if err != nil || !slices.Equal(lines, []string{"%NEXT: 2"}) {
			t.Error(lines, err)
		}
		if len(late) != 0 {
			t.Errorf("stale line %q went out as unsolicited", <-late)
		}
		if lines := seen(); lines[len(lines)-1] != "AT%NEXT" || slices.Index(lines, "AT%NEXT") != len(lines)-1 {
			t.Errorf("%q", lines)
		}
	})
}

// What is left of an answer that was too long is not taken for the next command's.
func TestClientBabble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewClient(near, ClientConfig{})
		go func() {
			r := bufio.NewReader(far)
			_, _ = r.ReadString('\r')
			_, _ = io.WriteString(far, strings.Repeat("%F: 1\r\n", maxLines+1))
			time.Sleep(50 * time.Millisecond) // the next command is on its way
			_, _ = io.WriteString(far, "%F: 2\r\nERROR\r\n")
			for {
				line, err := r.ReadString('\r')
				if err != nil {
					return
				}
				if line != "\x18\r" {
					_, _ = io.WriteString(far, "\r\nOK\r\n")
				}
			}
		}()
		if _, err := c.Do(t.Context(), Command{Name: "%F"}); !errors.Is(err, ErrBabble) {
			t.Error(err)
		}
		if lines, err := c.Do(t.Context(), Command{Name: "%F"}); err != nil || len(lines) > 0 {
			t.Errorf("%q %v", lines, err)
		}
		near.Close()
		far.Close()
		<-c.Done()
	})
}

// Late information lines are stale, however many they are: the next command gets its own answer.
func TestClientManyLateLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		near, _ := peer(t, func(line string) string {
			switch line {
			case "AT%SLOW":
				<-release
				return strings.Repeat("%SLOW: 1\r\n", 3*maxLines) + "OK\r\n"
			case "\x18":
				return ""
			}
			return "\r\nOK\r\n"
		})
		c := NewClient(near, ClientConfig{Unsolicited: func(l string) { t.Errorf("unsolicited: %q", l) }})
		if _, err := c.Do(short(t, 20*time.Millisecond), Command{Name: "%SLOW"}); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		close(release)
		if lines, err := c.Do(short(t, patience), Command{Name: "%NEXT"}); err != nil || len(lines) > 0 {
			t.Errorf("%q %v", lines, err)
		}
		near.Close()
		<-c.Done()
	})
}

// A command given up while it was being written is not carried out in part.
func TestClientCutCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		c := NewClient(near, ClientConfig{})
		cut := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, err := c.Do(ctx, Command{Name: "%ECHO", Form: Set, Args: []Arg{Num(12)}})
			cut <- err
		}()
		part := make([]byte, len("AT%ECHO=1"))
		if _, err := io.ReadFull(far, part); err != nil || string(part) != "AT%ECHO=1" {
			t.Fatalf("%q %v", part, err)
		}
		cancel()
		if err := <-cut; !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		var trace []string
		served := make(chan error, 1)
		s := NewServer(ServerConfig{Trace: func(_ bool, l string) { trace = append(trace, l) }})
		s.Handle("%ECHO", func(context.Context, Command) ([]string, error) { return nil, nil }, "")
		go func() {
			served <- s.Serve(t.Context(), struct {
				io.Reader
				io.Writer
				io.Closer
			}{io.MultiReader(bytes.NewReader(part), far), far, far})
		}()
		if _, err := c.Do(short(t, patience), Command{Name: "%ECHO"}); err != nil {
			t.Error(err)
		}
		near.Close()
		<-served
		if want := []string{"AT%ECHO=1\x18", "ERROR", "AT", "OK", "AT%ECHO", "OK"}; !slices.Equal(trace, want) {
			t.Errorf("%q", trace)
		}
	})
}

// Garbage for ever is an error within the context's time, also before the first answer.
func TestClientGarbage(t *testing.T) {
	testkit.NoLeaks(t)
	near, far := net.Pipe()
	c := NewClient(near, ClientConfig{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := byte(0); ; b += 7 {
			if _, err := far.Write(bytes.Repeat([]byte{b, '\r', b, 'O', 'K', '\n', '%', 'F', ':'}, 100)); err != nil {
				return
			}
		}
	}()
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(io.Discard, far) }()
	for _, do := range []func(context.Context) error{
		c.Sync,
		func(ctx context.Context) error { _, err := c.Do(ctx, Command{Name: "%F"}); return err },
	} {
		start := time.Now()
		if err := do(short(t, 50*time.Millisecond)); !errors.Is(err, ErrTimeout) || time.Since(start) > patience {
			t.Error(err)
		}
	}
	near.Close()
	<-done
	<-drained
	<-c.Done()
}

// Commands queue; a context bounds the wait in the queue too.
func TestClientQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		near, far := net.Pipe()
		s, served := NewServer(ServerConfig{}), make(chan error, 1)
		var running, most int
		hold := make(chan struct{})
		s.Handle("%ONE", func(context.Context, Command) ([]string, error) {
			running++
			most = max(most, running)
			<-hold
			running--
			return nil, nil
		}, "")
		go func() { served <- s.Serve(t.Context(), far) }()
		c := NewClient(near, ClientConfig{})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := c.Do(short(t, patience), Command{Name: "%ONE"}); err != nil {
					t.Error(err)
				}
			})
		}
		for !c.Busy() {
			time.Sleep(time.Millisecond)
		}
		if _, err := c.Do(short(t, 20*time.Millisecond), Command{}); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		close(hold)
		all.Wait()
		if most != 1 {
			t.Errorf("%d commands at once", most)
		}
		near.Close()
		<-served
	})
}

func TestClientLineEndsUnderCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := peer(t, func(string) string { return "" })
		c := NewClient(near, ClientConfig{})
		done := make(chan error, 2)
		for range 2 { // one outstanding, one queued
			go func() { _, err := c.Do(t.Context(), Command{Name: "%F"}); done <- err }()
		}
		for !c.Busy() {
			time.Sleep(time.Millisecond)
		}
		near.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
	})
}

func TestClientSwitchRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := peer(t, func(line string) string {
			if line == "AT+CMUX=0" {
				return "\r\n+CME ERROR: 4\r\n"
			}
			return "\r\nOK\r\nframes"
		})
		c := NewClient(near, ClientConfig{})
		if _, err := c.Switch(t.Context(), Command{Name: "+CMUX", Form: Set, Args: []Arg{Num(0)}}); !errors.Is(err, ErrNotSupported) {
			t.Error(err)
		}
		if _, err := c.Do(t.Context(), Command{}); err != nil {
			t.Error(err)
		}
		near.Close()
		<-c.Done()
	})
}

func TestClientSwitchGivesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := peer(t, func(line string) string { return "\r\nOK\r\n\xf9\x03\x0d\r\xf9" })
		c := NewClient(near, ClientConfig{})
		rest, err := c.Switch(t.Context(), Command{Name: "+CMUX"})
		if err != nil || string(rest) != "\n\xf9\x03\x0d\r\xf9" {
			t.Errorf("%q %v", rest, err)
		}
	})
}

// FuzzClient asserts that whatever came before, a client finds a good server and gets the right answer from it.
func FuzzClient(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add([]byte(s))
	}
	f.Add([]byte("\r\nOK\r\nOK\r\nERROR\r\n+CME ERROR: 3\r\n%ECHO: 1\r\n"))
	f.Add(bytes.Repeat([]byte("%ECHO: 9\r\n"), 200))
	f.Fuzz(func(t *testing.T, junk []byte) {
		synctest.Test(t, func(t *testing.T) { findServer(t, junk) })
	})
}

func findServer(t *testing.T, junk []byte) {
	near, far := net.Pipe()
	s, served := testServer(ServerConfig{Echo: len(junk)%2 == 0}), make(chan error, 1)
	go func() {
		_, _ = far.Write(junk)
		served <- s.Serve(t.Context(), far)
	}()
	c := NewClient(near, ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Sync(ctx); err != nil {
		t.Fatalf("%q: %v", junk, err)
	}
	lines, err := c.Do(ctx, Command{Name: "%ECHO", Form: Set, Args: []Arg{Num(42), Str("x")}})
	if err != nil || !slices.Equal(lines, []string{`%ECHO: 42,"x"`}) {
		t.Fatalf("%q: %q %v", junk, lines, err)
	}
	near.Close()
	<-served
	<-c.Done()
}

// An answer counts also if the line ends right behind it.
func TestClientAnswerBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		for i := range 300 {
			near, far := net.Pipe()
			go func() {
				defer far.Close()
				_, _ = io.ReadFull(far, make([]byte, len("AT%X\r")))
				_, _ = io.WriteString(far, "\r\n%X: 1\r\n\r\nOK\r\n")
			}()
			c := NewClient(near, ClientConfig{})
			lines, err := c.Do(t.Context(), Command{Name: "%X"})
			if err != nil || len(lines) != 1 {
				t.Fatalf("%d: %q %v", i, lines, err)
			}
			<-c.Done()
			near.Close()
		}
	})
}
