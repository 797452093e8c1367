// Package check tells where a fault of a card's toolkit lies: in the applet, in the card or in the terminal and its
// network. It runs a CP with the card, and writes each command with its answer and what is wrong with it.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/egress"
	"bipd/internal/cp"
	"bipd/uicc"
)

// Config is what is looked at and how.
type Config struct {
	Reader uicc.Reader
	PIN    string // empty = none is tried; never shown
	// Network lets the card's channels be opened, as far as Policy goes. Without it each OPEN CHANNEL is answered that
	// there is no network.
	Network   bool
	Policy    *egress.Policy // nil: the defaults of package egress
	LocalInfo *cat.LocalInfo // nil: PROVIDE LOCAL INFORMATION is not offered
	ListenOn  netip.Addr     // of UICC server mode, with Network; the zero Addr: it is not offered
	// PollInterval is the time between two STATUS commands: a card begins only when it is asked. 0 = 1 s.
	PollInterval time.Duration
}

// Result is what was found.
type Result struct {
	Sessions     int // of a card, resets not counted
	NotActivated int // times that the card or its reader did not let it be activated
	Commands     int
	Errors       int // in commands
	Warnings     int
	CardFaults   int // status words and silences by which the card breaks off what it began
	StatusWords  int // others out of the ordinary
	Refused      int // commands that the terminal did not perform
	NoNetwork    int // of those, for want of a network
	NoConnection int // of those, with a BIP error
}

// Failed reports whether the card or its applets are at fault.
func (r Result) Failed() bool { return r.Errors > 0 || r.CardFaults > 0 }

// Run serves the card in the reader, and writes what happens, until ctx ends or the card is taken out.
func Run(ctx context.Context, w io.Writer, cfg Config) (Result, error) {
	if cfg.PollInterval <= 0 {
		cfg.PollInterval = time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := &exam{w: &lockedWriter{w: w}}
	c := cp.Config{
		Name: "card", Reader: &reader{Reader: cfg.Reader, exam: e, out: func() { cancel(errTakenOut) }}, PIN: cfg.PIN,
		LocalInfo: cfg.LocalInfo, PollInterval: cfg.PollInterval, Policy: cfg.Policy, Log: e.logger(),
	}
	if cfg.Network {
		c.ListenOn = cfg.ListenOn
	} else {
		c.Router = nowhere{}
	}
	e.printf("reader %s\n", cfg.Reader.Name())
	err := cp.New(c).Run(ctx)
	if errors.Is(err, errTakenOut) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	e.summary()
	return e.result, err
}

var errTakenOut = errors.New("the card was taken out")

// nowhere is a network that is not there.
type nowhere struct{}

func (nowhere) Route(bip.Request) (bip.Bearer, error) {
	return nil, &bip.Error{Cause: bip.CauseNoNetwork, Err: errors.New("this check opens no connections: see --network")}
}

// lockedWriter is for the card's goroutine and those that log.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// indented puts each line, which comes by one Write, below what it belongs to.
type indented struct{ w io.Writer }

func (i indented) Write(p []byte) (int, error) {
	if _, err := i.w.Write(append([]byte("   "), p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// logger writes the terminal's warnings between the commands, without time and level.
func (e *exam) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(indented{e.w}, &slog.HandlerOptions{Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, slog.LevelKey, "card":
				return slog.Attr{}
			case slog.MessageKey:
				a.Key = "terminal"
			}
			return a
		}}))
}

func (e *exam) printf(format string, args ...any) { fmt.Fprintf(e.w, format, args...) }

// summary says how many, and whose fault it is.
func (e *exam) summary() {
	r := e.result
	e.printf("\n%s, %s (%s, %s), %s of the card, %s out of the ordinary, %s by the terminal\n", count(r.Commands, "command"),
		count(r.Errors+r.Warnings, "finding"), count(r.Errors, "error"), count(r.Warnings, "warning"), count(r.CardFaults, "fault"),
		count(r.StatusWords, "status word"), count(r.Refused, "refusal"))
	e.printf("verdict: %s\n", r.verdict())
}

func (r Result) verdict() string {
	switch {
	case r.Sessions == 0 && r.NotActivated > 0:
		return "the card could not be activated: it, its reader, or another program that has it"
	case r.Sessions == 0:
		return "no card was there"
	case r.Errors > 0:
		return "the applet: its commands break the specification"
	case r.CardFaults > 0:
		return "the card: it breaks off what it began"
	case r.Commands == 0:
		return "the card sent no command: its toolkit is silent or wants something of the terminal that is not offered"
	case r.NoNetwork > 0 && r.NoNetwork == r.Refused:
		return "no fault of applet and card was found; there was no network for the card"
	case r.NoConnection > 0:
		return "no fault of applet and card was found; the terminal or the network refused a channel command"
	case r.Refused > 0:
		return "no fault of applet and card was found; the terminal refused a command"
	case r.Warnings > 0:
		return "no fault was found, but there are warnings: other terminals may not be so patient"
	}
	return "no fault was found"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
