package ap

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// resetOnClose has Close reset a TCP connection, or end it in order. The same holds when the process is killed.
func resetOnClose(c net.Conn, on bool) {
	if tcp, ok := c.(interface{ SetLinger(sec int) error }); ok {
		seconds := -1
		if on {
			seconds = 0
		}
		_ = tcp.SetLinger(seconds) // an error: it is closed
	}
}

// unacknowledged counts the octets, and FIN, that the server's host has not acknowledged yet.
func (c *conn) unacknowledged() int64 {
	sock, ok := c.server.(syscall.Conn)
	if !ok || c.datagrams() {
		return 0
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	err = raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err != nil {
		return 0
	}
	return int64(n)
}

// reset reports whether a TCP connection of which the own direction is open is dead, by RST or by a time-out: one that the
// server has ended is in state CLOSE_WAIT.
func (c *conn) reset() (dead bool) {
	sock, ok := c.server.(syscall.Conn)
	if !ok || c.datagrams() {
		return false
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		dead = err == nil && info.State == unix.BPF_TCP_CLOSE
	})
	return dead
}

// pollTime is how often a connection that is ending is looked at: no event tells that everything was acknowledged.
const pollTime = 20 * time.Millisecond

// maxLimits bounds the whole time by so many limits, for a server that takes an octet now and then.
const maxLimits = 10

// wait bounds the time without progress of something that is ending.
type wait struct {
	limit  time.Duration
	ticker *time.Ticker
	tick   <-chan time.Time // while it runs
	done   int64            // progress made
	since  time.Time        // when it was made
	begun  time.Time
}

// start starts it; a second call changes nothing.
func (w *wait) start(limit time.Duration) {
	if w.ticker == nil {
		w.limit, w.begun, w.ticker = limit, time.Now(), time.NewTicker(min(pollTime, limit))
		w.tick, w.since = w.ticker.C, w.begun
	}
}

func (w *wait) running() bool { return w.tick != nil }

// stop ends it for good.
func (w *wait) stop() {
	if w.ticker != nil {
		w.ticker.Stop()
		w.tick = nil
	}
}

// over takes the progress made so far, and reports whether there was none for too long.
func (w *wait) over(done int64) bool {
	if done != w.done {
		w.done, w.since = done, time.Now()
	}
	return time.Since(w.since) >= w.limit || time.Since(w.begun) >= maxLimits*w.limit
}
