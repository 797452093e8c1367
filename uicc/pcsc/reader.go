// Package pcsc reaches cards through a running pcscd, the PC/SC daemon, by the protocol of its socket. It needs no
// libpcsclite. One Reader is one slot as pcscd lists it.
package pcsc

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"bipd/uicc"
)

// DefaultTimeout is the time for each answer of pcscd where Config has none: a card may ask for more time again and
// again, so that it is long.
const DefaultTimeout = time.Minute

// Config says how to reach pcscd.
type Config struct {
	// Socket is the path of pcscd's socket. Where empty it is that of the environment variable PCSCLITE_CSOCK_NAME, and
	// /run/pcscd/pcscd.comm without that.
	Socket string
	// Timeout bounds each exchange with pcscd and, through it, with the card; DefaultTimeout where zero.
	Timeout time.Duration
	// Tap sees each exchange with the card (see uicc.Tap); may be nil.
	Tap uicc.Tap
	// Log may be nil.
	Log *slog.Logger
}

// filled puts the defaults in.
func (cfg Config) filled() Config {
	cfg.Socket = socketName(cfg.Socket)
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// List gives the names of all readers that pcscd knows, in its order. Errors wrap ErrDaemon or are those of ctx.
func List(ctx context.Context, cfg Config) ([]string, error) {
	states, err := readStates(ctx, cfg.filled())
	if err != nil {
		return nil, err
	}
	return names(states), nil
}

func names(states [maxReaders]stateMessage) []string {
	var list []string
	for i := range states {
		if name := states[i].name(); name != "" {
			list = append(list, name)
		}
	}
	return list
}

// find gives the state of the reader named, nil where it is not listed.
func find(states [maxReaders]stateMessage, name string) *stateMessage {
	for i := range states {
		if states[i].name() == name {
			return &states[i]
		}
	}
	return nil
}

// Reader is a reader of pcscd. Nothing runs, and no connection is open, between its calls.
type Reader struct {
	name  string
	field [maxReaderName]byte
	cfg   Config
	grace time.Duration // how long pcscd may take to notice that a card is gone
}

var _ uicc.Reader = (*Reader)(nil)

// New gives the reader of this name, which need not be attached yet. It is an error where no reader can have the name.
func New(name string, cfg Config) (*Reader, error) {
	field, err := readerName(name)
	if err != nil {
		return nil, err
	}
	return &Reader{name: name, field: field, cfg: cfg.filled(), grace: removalGrace}, nil
}

// Name is the name by which pcscd lists the reader, such as "Virtual PCD 00 00".
func (r *Reader) Name() string { return r.name }

// Connect takes the card for this program alone, with T=0 or T=1 as the card offers, and resets it by power off and
// on. Errors wrap uicc.ErrRemoved (no card, or no such reader), uicc.ErrMute, ErrDaemon, or ErrSharingViolation where
// another program uses the card.
func (r *Reader) Connect(ctx context.Context) (uicc.Card, error) {
	c := &card{reader: r}
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	if err := c.Reset(ctx, uicc.ColdReset); err != nil {
		c.Close()
		return nil, err
	}
	if r.cfg.Tap == nil {
		return uicc.Settle(c), nil
	}
	return uicc.Settle(c, r.cfg.Tap), nil
}

// errAbsent says that pcscd does not list the reader, and which ones it does.
func (r *Reader) errAbsent(states [maxReaders]stateMessage) error {
	list := names(states)
	if len(list) == 0 {
		return fmt.Errorf("%w; pcscd lists none", &Error{"connect to", r.name, ErrUnknownReader})
	}
	return fmt.Errorf("%w; pcscd lists %q", &Error{"connect to", r.name, ErrUnknownReader}, list)
}

// fail gives the error of an answer; nil after success.
func (r *Reader) fail(op string, rv Code) error {
	if rv == Success {
		return nil
	}
	return &Error{op, r.name, rv}
}
