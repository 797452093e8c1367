package softuicc

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrReset is what a toolkit call returns when the card was reset, powered off or removed under it.
var ErrReset = errors.New("softuicc: card reset or powered off")

// maxCommand is the length of the longest proactive command that one FETCH can bring here.
const maxCommand = 255

// call is one proactive command on its way: queued, announced by 91xx, fetched, answered.
type call struct {
	owner    *Toolkit
	command  []byte
	take     func(response []byte) // may be nil; run under the card's lock, and the octets are the terminal's
	done     chan struct{}         // has room for one; nil when nobody waits
	response []byte                // a copy for who waits
	foreign  bool                  // made while the applet's own goroutine waits in the toolkit
}

// calls are for use again, with their channels and the room for a response.
var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// release gives back a call whose response was read.
func (w *call) release() {
	w.owner, w.command, w.take = nil, nil, nil
	calls.Put(w)
}

// proactive is the toolkit's state from TERMINAL PROFILE to the next reset. The card's lock guards it.
type proactive struct {
	card     *Card
	ctx      context.Context
	cancel   context.CancelFunc
	profile  Profile
	apps     []*Toolkit
	turn     int       // the applet whose command comes next
	current  *call     // announced or fetched
	fetched  bool      // between FETCH and TERMINAL RESPONSE
	number   byte      // of the last command
	deadline time.Time // end of the think time
	conns    [8]*Conn  // by channel
	timers   [9]*Toolkit
	running  int           // applets
	ended    chan struct{} // closed when none runs any more
	errs     []error
	listing  chan struct{} // held by the SetUpEventList under way
}

// terminalProfile answers TERMINAL PROFILE (ETSI TS 102 221 clause 11.2.1): the first starts the applets.
func (c *Card) terminalProfile(m *command) answer {
	switch {
	case m.p1 != 0 || m.p2 != 0:
		return status(swParameters)
	case !m.hasData:
		return status(swWrongLength)
	}
	c.judge.profileArrived(m.raw, m.data, c.kit != nil && c.kit.fetched)
	profile := slices.Clone(Profile(m.data))
	if c.kit != nil {
		c.kit.profile = profile
		return answer{sw: swOK, hold: true}
	}
	kit := &proactive{card: c, profile: profile, listing: make(chan struct{}, 1), ended: make(chan struct{})}
	kit.ctx, kit.cancel = context.WithCancel(context.Background())
	c.kit = kit
	kit.touch()
	kit.running = len(c.cfg.Applets)
	if kit.running == 0 {
		close(kit.ended)
	}
	for _, run := range c.cfg.Applets {
		tk := &Toolkit{card: c, kit: kit, notify: make(chan struct{}, 1)}
		kit.apps = append(kit.apps, tk)
		go tk.run(run)
	}
	select {
	case <-c.started:
	default:
		close(c.started)
	}
	return answer{sw: swOK, hold: true}
}

// fetch answers FETCH (ETSI TS 102 221 clause 11.2.3).
func (c *Card) fetch(m *command) answer {
	kit := c.kit
	switch {
	case m.p1 != 0 || m.p2 != 0:
		return status(swParameters)
	case m.hasData:
		return status(swWrongLength)
	case kit == nil || kit.current == nil:
		c.judge.fetchedNothing(m.raw, kit != nil)
		return status(swConditions)
	}
	if a := outgoing(m, kit.current.command); a.sw != swOK {
		return a
	}
	c.judge.fetched(m.raw, kit.current.command, kit.fetched)
	kit.fetched = true
	return answer{data: kit.current.command, sw: swOK, final: true}
}

// terminalResponse answers TERMINAL RESPONSE (ETSI TS 102 221 clause 11.2.4) and lets the applet have its data.
func (c *Card) terminalResponse(m *command) answer {
	kit := c.kit
	switch {
	case m.p1 != 0 || m.p2 != 0:
		return status(swParameters)
	case !m.hasData:
		return status(swWrongLength)
	case kit == nil || !kit.fetched:
		c.judge.strayResponse(m.raw)
		return status(swConditions)
	}
	c.judge.response(m.raw, m.data)
	done := kit.current
	kit.current, kit.fetched = nil, false
	kit.finish(done, m.data)
	return answer{sw: swOK, hold: true}
}

// finish hands a response to who asked for it.
func (kit *proactive) finish(done *call, response []byte) {
	kit.learn(done, response)
	if done.take != nil {
		done.take(response)
	}
	if done.done == nil {
		return
	}
	done.response = append(done.response[:0], response...)
	if done.foreign {
		done.owner.astir = true
	}
	kit.touch()
	done.done <- struct{}{}
}

// touch starts the think time anew: an applet got something to think about.
func (kit *proactive) touch() { kit.deadline = time.Now().Add(kit.card.cfg.ThinkTime) }

// settled reports whether an answer need not be held for the applets any longer.
func (kit *proactive) settled() bool {
	if kit.current != nil {
		return true
	}
	busy := false
	for _, tk := range kit.apps {
		if len(tk.queue) > 0 {
			return true
		}
		busy = busy || tk.busy()
	}
	if !busy {
		return true
	}
	if time.Now().Before(kit.deadline) {
		return false
	}
	for _, tk := range kit.apps {
		tk.astir = false
	}
	return true
}

// announce chooses the next command, the applets taking turns, and reports whether one waits to be fetched.
func (kit *proactive) announce() bool {
	if kit.fetched {
		return false
	}
	for i := 0; kit.current == nil && i < len(kit.apps); i++ {
		tk := kit.apps[(kit.turn+i)%len(kit.apps)]
		if len(tk.queue) > 0 {
			kit.current = tk.queue[0]
			tk.queue = slices.Delete(tk.queue, 0, 1)
			kit.turn = (kit.turn + i + 1) % len(kit.apps)
		}
	}
	return kit.current != nil
}

// enqueue adds a command to its applet's queue.
func (kit *proactive) enqueue(w *call) {
	w.owner.queue = append(w.owner.queue, w)
	kit.card.signal()
}

// withdraw takes a command back that the terminal has not been told of; otherwise its response is dropped.
func (kit *proactive) withdraw(w *call) {
	if i := slices.Index(w.owner.queue, w); i >= 0 {
		w.owner.queue = slices.Delete(w.owner.queue, i, i+1)
	}
	w.take = nil
}

// end tells the applets that the card was reset.
func (kit *proactive) end() {
	kit.cancel()
	for _, conn := range kit.conns {
		if conn != nil {
			conn.fail(ErrReset)
		}
	}
}
