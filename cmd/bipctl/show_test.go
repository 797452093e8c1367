package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"bipd/internal/control"
	"bipd/softuicc"
	"bipd/trace"
)

// What bipctl shows of a download under way.
func TestShow(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, nil, func(s *stand) {
		s.serveStream()
		socket := s.term.sockets()[0]
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			c, err := tk.Dialer(s.dial(background))(ctx, "tcp", s.server(streamPort))
			if err != nil {
				return err
			}
			at, err := readOctets(c, 0, enough)
			if err != nil {
				return err
			}
			s.shows([]string{"cards", "--socket", socket}, "card0", "serving", "vpcd:unix:", "multiplexed", "3B")
			method := map[trace.Method]string{trace.Method1: "1", trace.Method2: "2"}[s.net.method]
			s.shows([]string{"channels", "--socket", socket}, "card0", method, "established", "tcp "+s.server(streamPort), "1400")
			return errors.Join(s.follows(c, at), c.Close())
		})
		if err != nil {
			s.Error(err)
		}
		s.shows([]string{"cards", "--socket", s.term.sockets()[1]}, "card0", "line0")
	})
}

// shows runs bipctl and wants one line of the output to have all the words.
func (s *stand) shows(args []string, words ...string) {
	s.Helper()
	out, err := bipctl(s.ctx, s.T, s.dir, args...).Output()
	if err != nil {
		s.Errorf("bipctl %v: %v", args, err)
	}
	for line := range strings.Lines(string(out)) {
		found := 0
		for _, w := range words {
			if strings.Contains(line, w) {
				found++
			}
		}
		if found == len(words) {
			return
		}
	}
	s.Errorf("bipctl %v: no line has %q:\n%s", args, words, out)
}

// follows runs bipctl trace while data flows on from the offset, until it has shown events of each daemon that has some.
func (s *stand) follows(c io.Reader, at int) error {
	live := bipctl(s.ctx, s.T, s.dir, "trace", "--socket", strings.Join(s.term.sockets(), ","))
	out, err := live.StdoutPipe()
	if err != nil {
		return err
	}
	if err := live.Start(); err != nil {
		return err
	}
	sources := make(chan string, 1<<16)
	done := make(chan error, 1)
	go func() {
		for dec := trace.NewDecoder(out); ; {
			e, err := dec.Decode()
			if err != nil {
				done <- err
				return
			}
			select {
			case sources <- e.Source:
			default: // enough has been seen
			}
		}
	}()
	seen := make(map[string]bool)
	for end := time.Now().Add(within); !seen["bipd"] || !seen["apd"] && s.net.method == trace.Method2; {
		if time.Now().After(end) {
			return fmt.Errorf("bipctl trace shows events of %v only", seen)
		}
		if at, err = readOctets(c, at, at+10_000); err != nil {
			return err
		}
		for len(sources) > 0 {
			seen[<-sources] = true
		}
	}
	if err := live.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if err := <-done; err != io.EOF {
		return err
	}
	return live.Wait()
}

func TestShowWithoutDaemon(t *testing.T) {
	for _, what := range []string{"cards", "channels", "trace"} {
		var stderr bytes.Buffer
		cmd := bipctl(t.Context(), t, t.TempDir(), what, "--socket", "/nonexistent/bipd.sock")
		cmd.Stderr = &stderr
		failed(t, cmd.Run(), "", stderr.String(), "/nonexistent/bipd.sock", "is the daemon running?")
	}
}

func TestOverText(t *testing.T) {
	for want, over := range map[string]control.Over{
		"-":                              {},
		"3 resets":                       {Resets: 3},
		"12 OPEN CHANNEL, 140 log lines": {OpenChannel: 12, LogLines: 140},
	} {
		if got := overText(over); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
