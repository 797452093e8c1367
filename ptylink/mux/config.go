package mux

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Role is the side of the multiplexer.
type Role int

const (
	// Initiator sends SABM on DLCI 0; its commands carry C/R 1 (TS 27.010 clause 5.2.1.2).
	Initiator Role = iota
	// Responder answers that SABM; its commands carry C/R 0.
	Responder
)

func (r Role) String() string {
	switch r {
	case Initiator:
		return "initiator"
	case Responder:
		return "responder"
	}
	return fmt.Sprintf("role %d", int(r))
}

// Config holds what both ends must agree on (Advanced, N1) and this end's timers.
// The zero value is a usable initiator.
type Config struct {
	Role Role
	// Advanced selects the advanced option (clause 5.2.6); default is the basic option.
	Advanced bool
	// N1 is the longest information field of a frame in octets, sent and taken; a
	// longer one is dropped. Default 512, least 31, most MaxN1. With Linux n_gsm keep
	// it at or below 1499: that drops a frame of exactly 1500.
	N1 int
	// Check adds a payload check to every UIH frame, four octets of N1, for a line that
	// may change octets. Both ends must have it on, and both must be of this package:
	// it is no part of TS 27.010. See ErrCheck.
	Check bool
	// Key goes into every sum of the payload check: where the keys of the two ends
	// differ, all checks fail. Ends that make it of all that they agreed on, and of a
	// number that is new each time, notice a difference and frames of an earlier life.
	Key uint32
	// Negotiate makes Open ask for N1 with a PN command before the SABM. A peer that
	// does not know PN costs T2 times N2 if it stays silent, once. PN is always answered.
	Negotiate bool
	// T1 is how long an answer to SABM, DISC and CLD may take before the next try,
	// default 300 ms. The standard's 100 ms is too short for a slow line: take at
	// least 100 ms and four times what a frame of N1 octets needs.
	T1 time.Duration
	// T2 is the same for the other control messages, default 600 ms.
	T2 time.Duration
	// N2 is the number of tries, default 3.
	N2 int
	// KeepAlive is the silence of the peer after which a Test command asks for life,
	// or an MSC where Test is not answered; 0 is never. Any frame counts as life. N2
	// unanswered ones end the multiplexer, if the peer has answered such before.
	KeepAlive time.Duration
	// MaxDLCI is the highest DLC that may be opened, by either side; default and most 61.
	MaxDLCI int
	// WriteSize is how many octets are joined into one write to the line at most, and
	// how many a DLC takes from Write ahead of the line; at least one frame of N1, and
	// two for a DLC. Default 4096, what the kernel gives of a pty at one read: more makes
	// nothing faster, and no AT command can overtake what is written. On a UART take one
	// frame, and a line whose Write waits until little is left in the kernel's queue.
	WriteSize int
	// Log gets what a person needs to see; nil is silence.
	Log *slog.Logger
}

// MaxN1 is the longest information field in octets that is sent and taken. Other
// implementations have the same limit.
const MaxN1 = 1500

const (
	lowestN1    = 31
	highestDLCI = 61 // the address octet of DLCI 62 can look like a flag
)

// withDefaults fills what is not set and brings the rest into range.
func (c Config) withDefaults() Config {
	if c.N1 <= 0 {
		c.N1 = 512
	}
	c.N1 = min(max(c.N1, lowestN1), MaxN1)
	if c.T1 <= 0 {
		c.T1 = 300 * time.Millisecond
	}
	if c.T2 <= 0 {
		c.T2 = 600 * time.Millisecond
	}
	if c.N2 <= 0 {
		c.N2 = 3
	}
	if c.MaxDLCI <= 0 || c.MaxDLCI > highestDLCI {
		c.MaxDLCI = highestDLCI
	}
	if c.WriteSize <= 0 {
		c.WriteSize = 4096
	}
	c.WriteSize = max(c.WriteSize, c.N1+overhead)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Errors of multiplexer and DLC, to be asked for with errors.Is.
var (
	// ErrRefused means that the peer answered SABM with DM.
	ErrRefused = errors.New("mux: refused by the peer")
	// ErrClosed means that the multiplexer or the DLC is closed. It is a net.ErrClosed.
	ErrClosed = fmt.Errorf("mux: %w", net.ErrClosed)
	// ErrTimeout means that the peer gave no answer after N2 tries.
	ErrTimeout = errors.New("mux: no answer from the peer")
	// ErrReset means that the peer lost or restarted the DLC (SABM on an open DLC or
	// on DLCI 0, or DM): data may be missing at the end.
	ErrReset = errors.New("mux: reset by the peer")
	// ErrCheck means that what the peer sent failed the payload check: octets were
	// changed or lost on the line. Those given out before are right.
	ErrCheck = errors.New("mux: payload check failed")
	// ErrOverrun means that the peer went on sending long after it was told to stop.
	ErrOverrun = errors.New("mux: peer ignores flow control")
	// ErrNotOpen means that the multiplexer has not been started.
	ErrNotOpen = errors.New("mux: not started")
	// ErrInUse means that the DLC is open already.
	ErrInUse = errors.New("mux: DLC in use")
)
