package ap

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// openWait is how long AT%WEBOPCH waits for its DLC, which the CP opens before the command: long for a machine that stands
// still for a while, for without its DLC nobody sends the command.
const openWait = 5 * time.Second

// line is one CP.
type line struct {
	ap      *AP
	name    string
	log     *slog.Logger
	notify  func(string)
	limits  *lineLimits
	running sync.WaitGroup // connections, until their sockets are closed

	mu      sync.Mutex
	slots   [ptylink.MaxChannel + 1]slot // by channel; 0 is unused
	opened  chan struct{}                // closed and renewed when a DLC was opened or a channel became free
	known   bool                         // state is set
	state   ptylink.NetStat              // of the network, as the CP knows it or will be told
	reports bool                         // the CP wants to hear of servers that have ended their direction
}

// slot is the state of one channel:
//
//	empty --CP opens the DLC--> dlc --AT%WEBOPCH--> conn --either end closes--> empty
//
// A DLC that is opened anew takes the place of whatever is there, for the CP has closed it.
type slot struct {
	dlc  dlc   // open, no connection yet
	conn *conn // connecting or connected
}

func newLine(a *AP, name string, l *lineLimits) *line {
	return &line{ap: a, name: name, log: a.log.With("line", name), limits: l, opened: make(chan struct{})}
}

// accept takes the DLCs of channel n as the CP opens them.
func (l *line) accept(ctx context.Context, n int, channel func(context.Context, int) (dlc, error)) {
	for {
		d, err := channel(ctx, n)
		if err != nil {
			if ctx.Err() == nil {
				l.log.Error("channel cannot be accepted", "channel", n, "error", err)
			}
			return
		}
		if l.limits.dlcs.Wait(ctx) != nil {
			d.Close()
			return
		}
		l.mu.Lock()
		old := l.slots[n]
		l.slots[n] = slot{dlc: d}
		l.wake()
		l.mu.Unlock()
		if old.dlc != nil {
			old.dlc.Close()
		}
	}
}

// take puts c in the place of the channel's DLC, which it gets.
func (l *line) take(ctx context.Context, c *conn) error {
	timer := time.NewTimer(l.ap.openWait)
	defer timer.Stop()
	for {
		l.mu.Lock()
		s, opened := &l.slots[c.channel], l.opened
		switch {
		case s.conn != nil && !over(s.conn.dlc): // else the DLC that the CP has opened anew is about to come through accept
			l.mu.Unlock()
			return at.ErrChannelBusy
		case s.conn == nil && s.dlc != nil && !over(s.dlc):
			c.dlc, s.dlc, s.conn = s.dlc, nil, c
			l.running.Add(1)
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		select {
		case <-opened:
		case <-timer.C:
			return at.ErrNoChannel
		case <-ctx.Done():
			return at.ErrNoChannel
		}
	}
}

// free makes room for the channel's next connection, if c still has the place.
func (l *line) free(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots[c.channel].conn == c {
		l.slots[c.channel].conn = nil
		l.wake()
	}
}

// wake lets take look again. The caller holds mu.
func (l *line) wake() {
	close(l.opened)
	l.opened = make(chan struct{})
}

// connOf is the connection of a channel, nil for none.
func (l *line) connOf(n int) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slots[n].conn
}

// report tells of a connection that has ended, unless the CP has closed its channel: it may be about to open it anew. What
// is told here comes before the answer to the AT%WEBOPCH of the channel's next connection.
func (l *line) report(c *conn, stat ptylink.WebStat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slots[c.channel].conn == c && !over(c.dlc) {
		l.notify(stat.Line())
	}
}

// wantsReports reports whether the CP asked for %WEBSTAT of servers that have ended their direction.
func (l *line) wantsReports() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reports
}

// drop ends all there is on the line, but for what the CP has ended in order.
func (l *line) drop(cause error) {
	l.mu.Lock()
	slots := l.slots
	for n := range l.slots {
		l.slots[n] = slot{}
	}
	l.reports = false
	l.mu.Unlock()
	for _, s := range slots {
		if s.dlc != nil {
			s.dlc.Close()
		}
		if s.conn != nil && !(over(s.conn.dlc) && orderly(s.conn.dlc)) {
			s.conn.abort(cause)
		}
	}
}

// emit puts the line's name into the event.
func (l *line) emit(e trace.Event) {
	if l.ap.cfg.Trace.Wanted() {
		e.Card = l.name
		l.ap.cfg.Trace.Emit(e)
	}
}
