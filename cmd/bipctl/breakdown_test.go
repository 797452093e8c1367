package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/softuicc"
	"bipd/trace"
)

const (
	streamPort = 7001 // sends octets without end
	resetPort  = 7002 // sends resetAfter octets, and RST once the card has read enough
	resetAfter = 20000
	enough     = 10000 // octets after which a download is in its middle
)

// octets gives n octets of the stream that the servers send.
func octets(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from+i) ^ byte((from+i)>>8)
	}
	return b
}

// readOctets reads the stream on from an offset to another, or to the connection's end. It returns where it has come to.
func readOctets(c io.Reader, from, to int) (at int, err error) {
	b := make([]byte, 1000)
	for at = from; at < to && err == nil; {
		var n int
		n, err = c.Read(b)
		if !bytes.Equal(b[:n], octets(at, n)) {
			return at, fmt.Errorf("octets %d to %d are wrong", at, at+n)
		}
		at += n
	}
	return at, err
}

// serveStream serves at streamPort. The channel gets what ended each connection.
func (s *stand) serveStream() <-chan error {
	ended := make(chan error, 10)
	s.serve(streamPort, func(c *net.TCPConn) {
		for n := 0; ; n += 4096 {
			if _, err := c.Write(octets(n, 4096)); err != nil {
				ended <- err
				return
			}
		}
	})
	return ended
}

// within bounds what has to come, such as the news that a card's link is gone. It passes in full only where a test fails.
const within = 30 * time.Second

// breakDown opens a channel, reads enough, has something happen, and reads on to the end of the connection, which has
// to come. It returns how much came.
func (s *stand) breakDown(ctx context.Context, tk *softuicc.Toolkit, port int, happen func() error) (int, error) {
	c, err := tk.Dialer(s.dial(background))(ctx, "tcp", s.server(port))
	if err != nil {
		return 0, err
	}
	c.SetReadDeadline(time.Now().Add(within))
	at, err := readOctets(c, 0, enough)
	if err == nil {
		err = happen()
	}
	if err != nil {
		return at, errors.Join(err, c.Close())
	}
	at, err = readOctets(c, at, math.MaxInt)
	if !errors.Is(err, io.EOF) {
		return at, fmt.Errorf("%d octets, then %w; want the end", at, err)
	}
	return at, c.Close()
}

// toldDropped is the envelope Channel status for channel 1 with "link dropped" (ETSI TS 102 223 clause 8.56).
var toldDropped = sight{"Channel status 01 05", func(e trace.Event) bool {
	return strings.HasPrefix(e.APDU, "80c2") && strings.Contains(e.APDU, "b8020105")
}}

func TestServerResets(t *testing.T) {
	needNamespaces(t)
	eachMethod(t, nil, func(s *stand) {
		reset := make(chan struct{})
		s.serve(wordPort, repeatWord)
		s.serve(resetPort, func(c *net.TCPConn) {
			c.Write(octets(0, resetAfter))
			select {
			case <-reset:
			case <-s.ctx.Done():
			}
			c.SetLinger(0)
		})
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			n, err := s.breakDown(ctx, tk, resetPort, func() error { close(reset); return nil })
			if err == nil && n > resetAfter {
				err = fmt.Errorf("%d octets, the server has sent %d", n, resetAfter)
			}
			return errors.Join(err, s.download(ctx, tk, wordPort))
		}, toldDropped)
		if err != nil {
			s.Error(err)
		}
	})
}

// When apd dies the card hears that the link is gone, and the next apd serves the same card.
func TestApdKilled(t *testing.T) {
	t.Parallel()
	needNamespaces(t)
	s := newStand(t, trace.Method2, nil)
	s.serveStream()
	s.serve(wordPort, repeatWord)
	err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
		_, err := s.breakDown(ctx, tk, streamPort, func() error {
			err := s.term.ap.cmd.Process.Kill()
			<-s.term.ap.done
			return err
		})
		if err != nil {
			return err
		}
		next, err := s.term.start(context.WithoutCancel(s.ctx), s.net.ap, "apd")
		if err != nil {
			return err
		}
		s.term.ap = next
		if err := s.term.ready(ctx); err != nil {
			return err
		}
		return s.download(ctx, tk, wordPort)
	}, toldDropped)
	if err != nil {
		t.Error(err)
	}
}

// bipd ends in order in the middle of a download, the server's connection ends with it, and the next bipd serves.
func TestBipdTerminated(t *testing.T) {
	needNamespaces(t)
	// By method 2 the server, which sends for ever, is cut off by apd.
	finish := map[string]string{"apd.toml": "[proxy]\nfinish_time = \"1s\"\n"}
	eachMethod(t, finish, func(s *stand) {
		server := s.serveStream()
		s.serve(wordPort, repeatWord)
		var asked time.Time
		err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error {
			_, err := s.breakDown(ctx, tk, streamPort, func() error {
				asked = time.Now()
				return s.term.cp.cmd.Process.Signal(syscall.SIGTERM)
			})
			return err
		})
		if !errors.Is(err, errReaderGone) && !errors.Is(err, softuicc.ErrReset) {
			s.Errorf("the card saw %v", err)
		}
		select {
		case <-s.term.cp.done:
		case <-s.ctx.Done():
			s.Fatal("bipd does not end")
		}
		if took := time.Since(asked); took > within {
			s.Errorf("bipd took %v to end", took)
		}
		if s.term.cp.err != nil {
			s.Errorf("bipd ended: %v", s.term.cp.err)
		}
		select {
		case <-server:
		case <-time.After(within):
			s.Error("the connection to the server outlives bipd")
		}
		if _, err := os.Lstat(s.dir + "/line0"); !errors.Is(err, os.ErrNotExist) {
			s.Errorf("the link to the line is left behind: %v", err)
		}
		next, err := s.term.start(context.WithoutCancel(s.ctx), s.net.cp, "bipd")
		if err != nil {
			s.Fatal(err)
		}
		s.term.cp = next
		if err := s.term.ready(s.ctx); err != nil {
			s.Fatal(err)
		}
		if err := s.use(func(ctx context.Context, tk *softuicc.Toolkit) error { return s.download(ctx, tk, wordPort) }); err != nil {
			s.Error(err)
		}
	})
}
