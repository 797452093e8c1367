package cp

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"bipd/cat"
	"bipd/ptylink"
	"bipd/ptylink/at"
)

// TestNetwork is where a terminal is that is nowhere: MCC 001 and MNC 01 of test networks, LAC 1, cell 1 (3GPP TS 24.008
// clause 10.5.1.3).
var TestNetwork = []byte{0x00, 0xF1, 0x10, 0x00, 0x01, 0x00, 0x01}

// location is what cards hear of the service. Where nothing else is configured it is normal while the network can be used, and
// limited otherwise: without an AP by the host's stack, which is there; with one while the line is up and the AP says that its network
// is, for both methods need it.
func (c *CP) location() cat.Location {
	l := c.cfg.Location
	if l.Info == nil {
		l.Info = TestNetwork
	}
	if !c.cfg.FixedLocation {
		l.Status = cat.LocationNormal
		if c.network != nil && !c.network.isUp() {
			l.Status = cat.LocationLimited
		}
	}
	return l
}

var locationNames = map[byte]string{cat.LocationNormal: "normal", cat.LocationLimited: "limited", cat.LocationNoService: "none"}

// apNetwork is the state of the AP's network, as far as it is known. The AP tells it by itself, in the order of its changes; an
// answer to AT%NETSTAT? that comes from before such a change must not take its place.
//
// Cards hear of it by events, so what they are shown follows at a bounded rate, however often the AP changes its mind: what
// came and went between two looks is not shown, and the last state always is.
type apNetwork struct {
	ask  chan struct{} // the line has come up
	wake func()        // what cards are shown may have changed

	mu      sync.Mutex
	up      bool
	changes int // told or learned by other means than an answer

	shown bool // to cards
	pace  *rate.Limiter
	late  bool // shown will follow
}

// How often what cards are shown of the AP's network may change: this many times at once, and then once in each time.
const (
	networkChanges = 20
	networkEvery   = time.Second
)

func newAPNetwork(wake func()) *apNetwork {
	return &apNetwork{ask: make(chan struct{}, 1), wake: wake, pace: rate.NewLimiter(rate.Every(networkEvery), networkChanges)}
}

// isUp is what cards are shown.
func (n *apNetwork) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shown
}

// set notes the state, and shows it now or soon. The caller holds mu.
func (n *apNetwork) set(up bool) {
	n.up = up
	if up == n.shown || n.late {
		return
	}
	wait := n.pace.Reserve().Delay()
	if wait == 0 {
		n.shown = up
		return
	}
	n.late = true
	time.AfterFunc(wait, func() {
		n.mu.Lock()
		n.late, n.shown = false, n.up
		n.mu.Unlock()
		n.wake()
	})
}

func (n *apNetwork) seen() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes
}

// told notes a state that needs no question.
func (n *apNetwork) told(up bool) {
	n.mu.Lock()
	n.set(up)
	n.changes++
	n.mu.Unlock()
	n.wake()
}

// answered notes an answer, unless more was heard since it was asked for.
func (n *apNetwork) answered(up bool, seen int) bool {
	n.mu.Lock()
	current := n.changes == seen
	if current {
		n.set(up)
	}
	n.mu.Unlock()
	n.wake()
	return current
}

// askSoon has the AP asked.
func (n *apNetwork) askSoon() {
	select {
	case n.ask <- struct{}{}:
	default:
	}
}

const (
	networkAskTime = 30 * time.Second // for an answer; the AP may be making a connection meanwhile
	networkRetry   = 10 * time.Second // before an AP that could not say is asked again
)

// followNetwork asks the AP for the state of its network when the line has come up; after that the AP tells it. An AP that does not
// know the command is taken for one whose network is up. known is called once an answer, or the lack of one, is there.
func (c *CP) followNetwork(ctx context.Context, known func()) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	retry.Stop()
	for {
		select {
		case <-c.network.ask:
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		seen := c.network.seen()
		up, err := c.askNetwork(ctx)
		switch {
		case errors.Is(err, ptylink.ErrDown):
			continue // it will come up again
		case err != nil:
			c.log.Debug("the AP does not tell the state of its network", "error", err)
			retry.Reset(networkRetry)
		case c.network.answered(up, seen):
		default:
			c.network.askSoon()
			continue
		}
		known()
	}
}

func (c *CP) askNetwork(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, networkAskTime)
	defer cancel()
	s, err := c.link.NetStat(ctx)
	if errors.Is(err, at.ErrFinal) || errors.Is(err, at.ErrNotSupported) {
		return true, nil
	}
	return s.Up, err
}

// wakeSession has the session look what it may tell its card.
func (c *CP) wakeSession() {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session != nil {
		session.Wake()
	}
}
