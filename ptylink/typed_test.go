package ptylink

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// person types at a terminal and reads the screen.
type person struct {
	t    *testing.T
	tty  interface{ Write([]byte) (int, error) }
	text chan string
	seen string
}

func newPerson(t *testing.T, path string) *person {
	t.Helper()
	tty := testTTY(t, path)
	p := &person{t: t, tty: tty, text: make(chan string, 100)}
	go func() {
		buf := make([]byte, 256)
		for {
			n, err := tty.Read(buf)
			if err != nil {
				return
			}
			select {
			case p.text <- string(buf[:n]):
			case <-t.Context().Done():
				return
			}
		}
	}()
	return p
}

// greet types AT until somebody answers: what is typed before the AP opens its line is lost.
func (p *person) greet() {
	p.t.Helper()
	for end := time.Now().Add(testTime); !strings.Contains(p.seen, "OK"); {
		if time.Now().After(end) {
			p.t.Fatalf("nobody answers: %q", p.seen)
		}
		_, _ = p.tty.Write([]byte("\rAT\r"))
		select {
		case s := <-p.text:
			p.seen += s
		case <-time.After(300 * time.Millisecond):
		}
	}
	for quiet := false; !quiet; {
		select {
		case <-p.text:
		case <-time.After(500 * time.Millisecond):
			quiet = true
		}
	}
}

// types sends a line, a key at a time, and waits for the text.
func (p *person) types(line, want string) {
	p.t.Helper()
	p.seen = ""
	for i := range line {
		if _, err := p.tty.Write([]byte{line[i]}); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.tty.Write([]byte("\r")); err != nil {
		p.t.Fatal(err)
	}
	for end := time.After(testTime); !strings.Contains(p.seen, want); {
		select {
		case s := <-p.text:
			p.seen += s
		case <-end:
			p.t.Fatalf("typed %q, read %q, want %q in it", line, p.seen, want)
		}
	}
	p.t.Logf("%q", p.seen)
}

// A person at a terminal sees what they type, help, answers and errors; over a plain pty, and over socat where that is.
func TestTyped(t *testing.T) {
	t.Run("pty", func(t *testing.T) {
		e := uartEnds(t)
		l, err := e.cp.Open(t.Context()) // finds the path of the CP's end
		if err != nil {
			t.Fatal(err)
		}
		path := l.(*TTY).f.Name()
		l.Close()
		checkTyped(t, PeerConfig{Open: e.ap.Open}, path)
	})
	t.Run("socat", func(t *testing.T) {
		socat, err := exec.LookPath("socat")
		if err != nil {
			t.Skip("no socat here")
		}
		near, far := filepath.Join(t.TempDir(), "near"), filepath.Join(t.TempDir(), "far")
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, socat, "pty,raw,echo=0,link="+near, "pty,raw,echo=0,link="+far)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cancel(); _ = cmd.Wait() })
		for end := time.Now().Add(testTime); ; time.Sleep(10 * time.Millisecond) {
			l, err := OpenTTY(near, TTYConfig{})
			if err == nil {
				l.Close()
				if l, err = OpenTTY(far, TTYConfig{}); err == nil {
					l.Close()
					break
				}
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
		checkTyped(t, PeerConfig{Open: (&end{open: ttyAt(far)}).Open}, near)
	})
}

func checkTyped(t *testing.T, cfg PeerConfig, path string) {
	startAP(t, cfg, testHandlers())
	p := newPerson(t, path)
	p.greet()
	p.types("AT", "AT\r\r\nOK\r\n") // echo and answer
	p.types("AT%GETNET=?", "%GETNET: (1-7),(0-255)[,\"<network access name>\"]\r\n\r\nOK\r\n")
	p.types("at%getnet=1,3", "%NETPAR: 1,\"IPV4V6\"")
	p.types("AT%NETSTAT?", "%NETSTAT: 100,1,\"wlan0\"\r\n\r\nOK\r\n")
	p.types("AT+CLAC", "AT%WEBOPCH\r\n")
	p.types("AT%GETNET=9,3", "\r\nERROR\r\n")
	p.types("AT+CMEE=2", "\r\nOK\r\n")
	p.types("AT%GETNET=9,3", "\r\n+CME ERROR: incorrect parameters\r\n")
	p.types(`AT%WEBOPCH=1,"TCP","192.0.2.1",1,1500`, "\r\n+CME ERROR: connection refused\r\n")
	p.types("AT%NONSENSE", "\r\nERROR\r\n")
	p.types("ATE0", "\r\nOK\r\n")
	p.types("AT+CMEE?", "\r\n+CMEE: 2\r\n")
	if strings.Contains(p.seen, "AT+CMEE?") {
		t.Errorf("echo after ATE0 in %q", p.seen)
	}
}
