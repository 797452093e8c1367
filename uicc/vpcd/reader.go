// Package vpcd is a card reader for cards made of software: they dial in by the protocol of vsmartcard's virtual smart
// card reader, in which the reader listens and the card connects.
//
// Each message is a length of two bytes, big endian, and a payload. A payload of one byte is a control from the
// reader (00 power off, 01 power on, 02 reset, without reply; 04 get ATR, whose reply is the ATR); any other is an
// APDU, whose reply is the response with its status word. One request is outstanding at a time. A card that closes
// the connection is removed.
package vpcd

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"time"

	"bipd/uicc"
)

// DefaultPort is where cards dial the first slot of vsmartcard's reader.
const DefaultPort = 35963

// DefaultExchangeTimeout is the time for a response where Config has none.
const DefaultExchangeTimeout = 30 * time.Second

// leaveGrace is how long a card that dials in waits for the last one to be gone.
const leaveGrace = 500 * time.Millisecond

// ErrInUse says that the card of the slot is connected already; Close gives it back.
var ErrInUse = errors.New("vpcd: the card is in use")

// Config describes one slot.
type Config struct {
	// Name names the slot; Listen where empty.
	Name string
	// Listen is "unix:/path/of/the/socket" or "tcp:127.0.0.1:35963".
	Listen string
	// AllowRemote permits addresses that are not loopback. Whoever reaches the port can be the card.
	AllowRemote bool
	// Mode is the mode of the socket file; 0600 where zero.
	Mode fs.FileMode
	// ExchangeTimeout bounds each exchange with the card; DefaultExchangeTimeout where zero.
	ExchangeTimeout time.Duration
	// Tap sees each exchange (see uicc.Tap); may be nil.
	Tap uicc.Tap
	// Log may be nil.
	Log *slog.Logger

	grace time.Duration // leaveGrace where zero
}

// Reader is a slot that listens for its card. The first card to dial in is inserted; another one is turned away until
// the first has left.
type Reader struct {
	cfg    Config
	ln     net.Listener
	ending chan struct{} // closed by Close
	tasks  sync.WaitGroup

	mu      sync.Mutex
	link    *link         // the card inserted, or nil
	used    bool          // link is lent out by Connect
	closed  bool          // state is SlotGone
	changes int           // counts the changes of the slot
	changed chan struct{} // closed and replaced at each change
}

var _ uicc.Reader = (*Reader)(nil)

// Listen opens the socket of the slot and begins to wait for cards. Errors wrap ErrAddress where cfg.Listen is at fault.
func Listen(cfg Config) (*Reader, error) {
	if cfg.Name == "" {
		cfg.Name = cfg.Listen
	}
	if cfg.Mode == 0 {
		cfg.Mode = 0o600
	}
	if cfg.ExchangeTimeout <= 0 {
		cfg.ExchangeTimeout = DefaultExchangeTimeout
	}
	if cfg.grace <= 0 {
		cfg.grace = leaveGrace
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ln, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	r := &Reader{cfg: cfg, ln: ln, ending: make(chan struct{}), changed: make(chan struct{})}
	r.tasks.Add(1)
	go r.accept()
	return r, nil
}

// Name is the name of the slot.
func (r *Reader) Name() string { return r.cfg.Name }

// Addr is where the slot listens.
func (r *Reader) Addr() net.Addr { return r.ln.Addr() }

// Close ends the slot: no card can dial in any more, then the card is removed, then all watchers see SlotGone. It
// returns when the socket file is gone and no connection is served any more; further calls do nothing.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	link := r.link
	r.noteChange()
	r.mu.Unlock()

	close(r.ending)
	err := r.ln.Close()
	if link != nil {
		link.end(net.ErrClosed)
	}
	r.tasks.Wait()
	return err
}

// noteChange wakes the watchers. r.mu is held.
func (r *Reader) noteChange() {
	r.changes++
	close(r.changed)
	r.changed = make(chan struct{})
}

// accept takes cards that dial in, until Close.
func (r *Reader) accept() {
	defer r.tasks.Done()
	for {
		conn, err := r.ln.Accept()
		if err == nil {
			r.insert(conn)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		r.cfg.Log.Warn("cannot accept a card", "slot", r.cfg.Name, "error", err)
		select { // out of descriptors, for one; that may pass
		case <-time.After(time.Second):
		case <-r.ending:
			return
		}
	}
}

// insert makes conn the card of the slot, or turns it away. A card that is exchanged for another may dial in before
// the end of the first one was noticed, hence the grace.
func (r *Reader) insert(conn net.Conn) {
	r.awaitEmpty(r.cfg.grace)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.link != nil {
		conn.Close()
		if !r.closed {
			r.cfg.Log.Warn("slot is taken, card turned away", "slot", r.cfg.Name, "from", conn.RemoteAddr())
		}
		return
	}
	l := newLink(conn)
	r.link, r.used = l, false
	r.noteChange()
	r.cfg.Log.Info("card inserted", "slot", r.cfg.Name)
	r.tasks.Add(1)
	go func() {
		defer r.tasks.Done()
		l.receive()
		r.remove(l)
	}()
}

// awaitEmpty returns when the slot is empty, at the latest after d or when the slot ends.
func (r *Reader) awaitEmpty(d time.Duration) {
	grace := time.NewTimer(d)
	defer grace.Stop()
	for {
		st, _, changed := r.state()
		if st != uicc.SlotPresent {
			return
		}
		select {
		case <-changed:
		case <-grace.C:
			return
		}
	}
}

// remove empties the slot after the connection of l has ended.
func (r *Reader) remove(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link, r.used = nil, false
	if !r.closed {
		r.noteChange()
	}
	r.cfg.Log.Info("card removed", "slot", r.cfg.Name, "cause", l.cause())
}

// state gives the state of the slot, the count of changes that led to it, and what is closed at the next change.
func (r *Reader) state() (uicc.SlotState, int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := uicc.SlotEmpty
	switch {
	case r.closed:
		st = uicc.SlotGone
	case r.link != nil:
		st = uicc.SlotPresent
	}
	return st, r.changes, r.changed
}

// Watch follows the slot (see uicc.Reader). SlotPresent after SlotPresent says that the card was exchanged for another.
func (r *Reader) Watch(ctx context.Context) <-chan uicc.SlotState {
	ch := make(chan uicc.SlotState)
	go func() {
		defer close(ch)
		sent := -1
		for {
			st, n, changed := r.state()
			out := ch
			if n == sent {
				out = nil
			}
			select {
			case out <- st:
				if sent = n; st == uicc.SlotGone {
					return
				}
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}

// Connect powers the card off and on and reads its ATR. Its errors are uicc.ErrRemoved where the slot is empty,
// ErrInUse, uicc.ErrMute, those of the context, and those about an ATR that cannot be (uicc.ErrATR). A card that
// gives no ATR, or is interrupted before, is put out of the slot.
func (r *Reader) Connect(ctx context.Context) (uicc.Card, error) {
	l, err := r.borrow()
	if err != nil {
		return nil, err
	}
	c := &card{reader: r, link: l, timeout: r.cfg.ExchangeTimeout}
	if err := c.Reset(ctx, uicc.ColdReset); err != nil {
		r.giveBack(l)
		return nil, err
	}
	if r.cfg.Tap == nil {
		return uicc.Settle(c), nil
	}
	return uicc.Settle(c, r.cfg.Tap), nil
}

// borrow lends out the card that is inserted.
func (r *Reader) borrow() (*link, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed || r.link == nil:
		return nil, uicc.ErrRemoved
	case r.used:
		return nil, ErrInUse
	}
	r.used = true
	return r.link, nil
}

// giveBack ends what borrow began, unless l has left the slot.
func (r *Reader) giveBack(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == l {
		r.used = false
	}
}
