package softuicc

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bipd/uicc"
)

// DefaultThinkTime is how long a card holds an answer for applets that have not yet made up their mind.
const DefaultThinkTime = 20 * time.Millisecond

// Config is what makes one card differ from another. The zero value is a UICC with a USIM, no PIN and no applets.
type Config struct {
	Name  string // for logs
	ATR   []byte // nil: a T=0 answer to reset
	GSM   bool   // a GSM SIM (3GPP TS 51.011): class A0 alone, 9Fxx instead of 61xx, no USIM
	ICCID string // digits, at most 20; empty: a test number
	IMSI  string // digits, at most 15; empty: a test number
	Label string // of the USIM in EF_DIR; empty: "soft USIM"
	PIN   string // 4 to 8 digits; empty: PIN disabled

	// Applets run from TERMINAL PROFILE to the next reset.
	Applets []Applet
	// ThinkTime bounds how long the answer to an APDU is held while applets run and have queued no command; 0 means
	// DefaultThinkTime. Applets that wait in the toolkit cost nothing.
	ThinkTime time.Duration
	// SMSPPAnswer is the response data to an SMS-PP download envelope (a proof of receipt); empty: none.
	SMSPPAnswer []byte
	// Warning, if set, is asked for the status word of each command whose response data waits for GET RESPONSE: 62xx or
	// 63xx in place of 61xx (ETSI TS 102 221 clause 7.3.1.1.4), or 0 for 61xx. It must not call the card.
	Warning func(capdu []byte) uint16
	// OnViolation is told of each violation as the judge finds it, from within Transmit; it must not call the card.
	OnViolation func(Violation)
	Log         *slog.Logger // nil: silent
}

// Card is one software UICC. It implements uicc.Card as the raw view of a T=0 card: 61xx (9Fxx for a GSM SIM) and 6Cxx
// are for the caller to settle. Transmit is for one goroutine at a time; every other method may be called from any.
type Card struct {
	cfg  Config
	atr  []byte
	log  *slog.Logger
	root *file

	mu      sync.Mutex
	gone    chan struct{} // closed while the card is out of its reader
	powered bool
	run     run        // APDU state since the last reset
	kit     *proactive // toolkit state since TERMINAL PROFILE; nil before it
	pins    pinState
	quirks  Quirks
	judge   judge
	onGone  func() // the reader that holds the card

	started chan struct{} // closed by the first TERMINAL PROFILE
	wake    chan struct{} // an applet acted: the answer that is held may go
	timer   *time.Timer   // think time; used by the transmitting goroutine alone
}

var _ uicc.Card = (*Card)(nil)

// defaultATR announces T=0 alone; its historical bytes spell "bipd soft".
var defaultATR = []byte{0x3B, 0x09, 'b', 'i', 'p', 'd', ' ', 's', 'o', 'f', 't'}

// New makes a card, activated as after a cold reset. It fails on digits that are none or too many.
func New(cfg Config) (*Card, error) {
	root, err := buildFiles(cfg)
	if err != nil {
		return nil, err
	}
	pin, err := newPIN(cfg.PIN)
	if err != nil {
		return nil, err
	}
	if cfg.ThinkTime == 0 {
		cfg.ThinkTime = DefaultThinkTime
	}
	c := &Card{
		cfg: cfg, atr: cfg.ATR, log: cfg.Log, root: root, pins: pin, powered: true,
		gone: make(chan struct{}), started: make(chan struct{}), wake: make(chan struct{}, 1),
		timer: time.NewTimer(time.Hour),
	}
	c.timer.Stop()
	if c.atr == nil {
		c.atr = defaultATR
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.judge.report = cfg.OnViolation
	c.clear()
	return c, nil
}

// ATR returns the answer to reset.
func (c *Card) ATR() []byte { return slices.Clone(c.atr) }

// Reset powers the card up again. Both kinds clear every state but the PIN retry counter; applets' contexts end.
func (c *Card) Reset(ctx context.Context, _ uicc.ResetKind) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isGone() {
		return uicc.ErrRemoved
	}
	c.clear()
	c.powered = true
	return nil
}

// Close powers the card off and ends its applets' contexts. Reset brings it back.
func (c *Card) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	c.powered = false
	return nil
}

// clear forgets everything since the last reset. The caller holds mu.
func (c *Card) clear() {
	if c.kit != nil {
		c.kit.end()
		c.kit = nil
	}
	c.run = run{df: c.root}
	c.judge.reset()
	c.signal()
}

// Remove takes the card out of its reader, also in the middle of an APDU: Transmit then returns uicc.ErrRemoved. A Reader
// that holds the card shows an empty slot.
func (c *Card) Remove() {
	c.mu.Lock()
	tell := c.onGone
	c.onGone = nil
	if !c.isGone() {
		c.clear()
		c.powered = false
		close(c.gone)
	}
	c.mu.Unlock()
	if tell != nil {
		tell()
	}
}

func (c *Card) isGone() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

// signal lets the transmitting goroutine look again.
func (c *Card) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Transmit gives the card a command APDU (or the bytes of a T=0 TPDU) and returns its response. Errors: uicc.ErrRemoved,
// uicc.ErrMute for a card without power, reset meanwhile or mute by quirk, and the context's.
func (c *Card) Transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	c.mu.Lock()
	gone := c.gone
	c.mu.Unlock()
	return c.transmit(ctx, gone, capdu)
}

// transmit is Transmit of the insertion that gone stands for.
func (c *Card) transmit(ctx context.Context, gone <-chan struct{}, capdu []byte) ([]byte, error) {
	if err := c.misbehave(ctx, gone, capdu); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(ctx, gone); err != nil {
		return nil, err
	}
	a := c.process(capdu)
	kit := c.kit
	if a.hold && kit != nil {
		if err := c.settle(ctx, gone, kit); err != nil {
			return nil, err
		}
	}
	if kit != nil && a.sw == swOK && !a.final && kit.announce() {
		a.sw = 0x9100 | uint16(len(kit.current.command)&0xFF)
	}
	if a.hold {
		c.judge.answered(a.sw)
	}
	rapdu := append(make([]byte, 0, len(a.data)+2), a.data...) // the caller's own
	return append(rapdu, byte(a.sw>>8), byte(a.sw)), nil
}

// usable tells why the card cannot take an APDU. The caller holds mu.
func (c *Card) usable(ctx context.Context, gone <-chan struct{}) error {
	select {
	case <-gone:
		return uicc.ErrRemoved
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !c.powered {
		return uicc.ErrMute
	}
	return nil
}

// settle waits until the answer to an APDU can be given: a proactive command is queued, no applet is about to queue one,
// or the think time is over. The caller holds mu, which is free while settle waits.
func (c *Card) settle(ctx context.Context, gone <-chan struct{}, kit *proactive) error {
	for !kit.settled() {
		c.timer.Reset(time.Until(kit.deadline))
		c.mu.Unlock()
		var err error
		select {
		case <-c.wake:
		case <-c.timer.C:
		case <-gone:
			err = uicc.ErrRemoved
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.timer.Stop()
		c.mu.Lock()
		if err != nil {
			return err
		}
		if err := c.usable(ctx, gone); err != nil {
			return err
		}
		if c.kit != kit { // reset meanwhile: the answer died with the old session
			return uicc.ErrMute
		}
	}
	return nil
}
