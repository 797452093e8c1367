package ptylink

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// Channel is the CP's end of a BIP channel: its DLC, whose Read also ends where the server has ended its direction and
// the CP's is still open (see WebEnding). What is written then still goes to the server.
type Channel struct {
	*mux.DLC

	mu    sync.Mutex
	armed bool   // AT%WEBOPCH was answered: what %WEBSTAT tells is of this connection
	ended bool   // the server has ended its direction
	end   uint64 // with ended: the number of octets that come from the server
	got   uint64 // octets read
}

// Read is that of the DLC. It gives io.EOF behind the last octet of a server that has ended its direction.
func (c *Channel) Read(p []byte) (int, error) {
	for {
		if c.over() {
			return 0, io.EOF
		}
		n, err := c.DLC.Read(p)
		c.mu.Lock()
		c.got += uint64(n)
		c.mu.Unlock()
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.over() {
			return n, err
		}
	}
}

// over reports whether all that the server has sent was read.
func (c *Channel) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended && c.got >= c.end
}

// SetReadDeadline bounds Read.
func (c *Channel) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended && c.got >= c.end {
		return nil // Read does not wait any more, and one that waits yet is being woken
	}
	return c.DLC.SetReadDeadline(t)
}

// SetDeadline bounds Read and Write.
func (c *Channel) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// serverEnded takes what %WEBSTAT tells, and wakes a Read that has nothing to wait for.
func (c *Channel) serverEnded(octets uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.armed || c.ended {
		return
	}
	c.ended, c.end = true, octets
	if c.got >= c.end {
		_ = c.DLC.SetReadDeadline(time.Unix(1, 0)) // an error: it is closed, and nobody reads
	}
}

// channels are those of one life of the line, by number.
type channels struct {
	mu       sync.Mutex
	open     [MaxChannel + 1]*Channel
	reporter bool // the AP knows AT%WEBSTAT or does not: it was asked
}

// add makes the Channel of a DLC that was just opened.
func (cs *channels) add(n int, d *mux.DLC) *Channel {
	c := &Channel{DLC: d}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[n] = c
	return c
}

func (cs *channels) get(n int) *Channel {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.open[n]
}

// heard takes a line of the AP, from the goroutine that reads them. Their order tells whether a %WEBSTAT is of the channel's
// connection, whose AT%WEBOPCH was answered before, or of the one before it.
func (cs *channels) heard(line string) {
	switch at.ResultName(line) {
	case nameWebOpen:
		if n, _, err := ParseWebOpened(line); err == nil {
			if c := cs.get(n); c != nil {
				c.mu.Lock()
				c.armed = true
				c.mu.Unlock()
			}
		}
	case nameWebStat:
		if w, err := ParseWebStat(line); err == nil && w.State == WebEnding {
			if c := cs.get(w.Channel); c != nil {
				c.serverEnded(w.Octets)
			}
		}
	}
}

// askForReports asks the AP once for %WEBSTAT of servers that have ended their direction. One of another make may refuse.
func (s *session) askForReports(ctx context.Context) error {
	s.channels.mu.Lock()
	asked := s.channels.reporter
	s.channels.mu.Unlock()
	if asked {
		return nil
	}
	_, err := s.client.Do(ctx, webStatCommand(true))
	if err != nil && !refused(err) {
		return err
	}
	s.channels.mu.Lock()
	defer s.channels.mu.Unlock()
	s.channels.reporter = true
	return nil
}
