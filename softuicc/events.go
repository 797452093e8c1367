package softuicc

import (
	"context"
	"fmt"
	"slices"

	"bipd/cat"
)

// Tags of envelopes (ETSI TS 101 220 clause 7.2).
const (
	envelopeSMSPP byte = 0xD1
	envelopeEvent byte = 0xD6
	envelopeTimer byte = 0xD7
)

// maxEvents bounds the events that an applet has not yet looked at; the oldest give way.
const maxEvents = 64

// Event is an envelope as an applet sees it.
type Event struct {
	Tag      byte          // D1 SMS-PP download, D6 event download, D7 timer expiration, ...
	Code     cat.EventCode // of an event download
	Envelope []byte        // the whole BER-TLV
	Status   cat.ChannelStatus
	Length   int    // Data available: octets waiting, FF = more than 255
	Timer    byte   // timer expiration
	TPDU     []byte // SMS-PP download
}

// String names the event for people.
func (e Event) String() string {
	switch e.Tag {
	case envelopeSMSPP:
		return fmt.Sprintf("SMS-PP download, TPDU of %d octets", len(e.TPDU))
	case envelopeTimer:
		return fmt.Sprintf("timer %d expired", e.Timer)
	case envelopeEvent:
		if e.Code == cat.EventDataAvailable {
			return fmt.Sprintf("%v: %v, %d octets", e.Code, e.Status, e.Length)
		}
		return e.Code.String()
	}
	return fmt.Sprintf("envelope %02X", e.Tag)
}

// envelope answers ENVELOPE (ETSI TS 102 221 clause 11.2.2).
func (c *Card) envelope(m *command) answer {
	kit := c.kit
	switch {
	case m.p1 != 0 || m.p2 != 0:
		return status(swParameters)
	case !m.hasData:
		return status(swWrongLength)
	case kit == nil:
		c.judge.earlyEnvelope(m.raw)
		return status(swConditions)
	case kit.fetched:
		c.judge.envelopeInSession(m.raw)
		return status(swToolkitBusy)
	case c.busy():
		c.judge.answered(swToolkitBusy)
		return status(swToolkitBusy)
	}
	c.judge.envelope(m.raw, m.data)
	e, err := readEvent(m.data)
	if err != nil {
		return status(swWrongData)
	}
	kit.deliver(e)
	if e.Tag == envelopeSMSPP && len(c.cfg.SMSPPAnswer) > 0 {
		return c.later(c.cfg.SMSPPAnswer)
	}
	return answer{sw: swOK, hold: true}
}

func readEvent(b []byte) (Event, error) {
	e := Event{Envelope: slices.Clone(b)}
	tag, content, err := template(e.Envelope)
	if err != nil {
		return e, err
	}
	e.Tag = tag
	var l objects
	if err := l.read(content); err != nil {
		return e, err
	}
	if v, ok := l.find(tagEventList); ok && len(v) == 1 {
		e.Code = cat.EventCode(v[0])
	} else if tag == envelopeEvent {
		return e, fmt.Errorf("event download without one event")
	}
	if v, ok := l.find(tagChannelStatus); ok && len(v) == 2 {
		e.Status = cat.ChannelStatus{Channel: int(v[0] & 7), Link: cat.LinkState(v[0] & 0xC0), Info: v[1]}
	}
	if v, ok := l.find(tagDataLength); ok && len(v) == 1 {
		e.Length = int(v[0])
	}
	if v, ok := l.find(tagTimerID); ok && len(v) == 1 {
		e.Timer = v[0]
	}
	e.TPDU, _ = l.find(tagTPDU)
	return e, nil
}

// deliver gives the event to the connection of its channel, or else to the applets that want it.
func (kit *proactive) deliver(e Event) {
	if e.Tag == envelopeEvent {
		if conn := kit.conns[e.Status.Channel]; conn != nil {
			switch e.Code {
			case cat.EventDataAvailable:
				conn.dataAvailable(e.Length)
				return
			case cat.EventChannelStatus:
				conn.linkChanged(e.Status)
				return
			}
		}
	}
	for _, tk := range kit.apps {
		if tk.ended || e.Tag == envelopeEvent && !tk.wanted[e.Code] {
			continue
		}
		if e.Tag == envelopeTimer && e.Timer < 9 && kit.timers[e.Timer] != nil && kit.timers[e.Timer] != tk {
			continue
		}
		tk.push(e)
	}
}

func (tk *Toolkit) push(e Event) {
	if len(tk.events) == maxEvents {
		tk.events = slices.Delete(tk.events, 0, 1)
		tk.card.log.Warn("applet does not look at its events; the oldest is lost", "card", tk.card.cfg.Name)
	}
	tk.events = append(tk.events, e)
	if tk.watchers > 0 {
		tk.woken(true)
	}
	select {
	case tk.notify <- struct{}{}:
	default:
	}
}

// Wait returns the oldest event that matches (nil matches every event); those before it stay. It wants no subscription:
// see SetUpEventList. One goroutine of an applet waits at a time.
func (tk *Toolkit) Wait(ctx context.Context, match func(Event) bool) (Event, error) {
	c := tk.card
	c.mu.Lock()
	defer c.mu.Unlock()
	tk.watchers++
	defer func() {
		tk.watchers--
		tk.waiting = false
	}()
	for {
		if i := slices.IndexFunc(tk.events, func(e Event) bool { return match == nil || match(e) }); i >= 0 {
			e := tk.events[i]
			tk.events = slices.Delete(tk.events, i, i+1)
			return e, nil
		}
		if c.kit != tk.kit {
			return Event{}, ErrReset
		}
		tk.parked(true)
		c.mu.Unlock()
		var err error
		select {
		case <-tk.notify:
		case <-ctx.Done():
			err = ctx.Err()
		case <-tk.kit.ctx.Done():
			err = ErrReset
		}
		c.mu.Lock()
		if err != nil {
			return Event{}, err
		}
	}
}

// OfCode matches event downloads with one of the codes.
func OfCode(codes ...cat.EventCode) func(Event) bool {
	return func(e Event) bool { return e.Tag == envelopeEvent && slices.Contains(codes, e.Code) }
}

// SetUpEventList subscribes the applet to these events and no others. The terminal's list holds what any applet wants.
func (tk *Toolkit) SetUpEventList(ctx context.Context, codes ...cat.EventCode) error {
	select {
	case tk.kit.listing <- struct{}{}: // one at a time, or an older list would replace a newer
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-tk.kit.listing }()
	var wanted [256]bool
	for _, e := range codes {
		wanted[e] = true
	}
	tk.card.mu.Lock()
	before := tk.wanted
	tk.wanted = wanted
	union := tk.kit.union()
	tk.card.mu.Unlock()
	r, err := tk.Do(ctx, &cat.SetUpEventList{Events: union}, 0, cat.DeviceTerminal)
	if err == nil && r.Result.General >= 0x10 {
		err = &ResultError{cat.TypeSetUpEventList, r.Result}
	}
	if err != nil {
		tk.card.mu.Lock()
		tk.wanted = before
		tk.card.mu.Unlock()
	}
	return err
}

// union lists the events that any applet wants.
func (kit *proactive) union() []cat.EventCode {
	var union []cat.EventCode
	for code := range 256 {
		if slices.ContainsFunc(kit.apps, func(a *Toolkit) bool { return a.wanted[code] }) {
			union = append(union, cat.EventCode(code))
		}
	}
	return union
}

// subscribe adds events to the applet's list, if they are not in it yet.
func (tk *Toolkit) subscribe(ctx context.Context, codes ...cat.EventCode) error {
	tk.card.mu.Lock()
	all := slices.Clone(codes)
	missing := false
	for code, on := range tk.wanted {
		if on {
			all = append(all, cat.EventCode(code))
		}
	}
	for _, code := range codes {
		missing = missing || !tk.wanted[code]
	}
	tk.card.mu.Unlock()
	if !missing {
		return nil
	}
	return tk.SetUpEventList(ctx, all...)
}

// learn keeps what a command that went well means for the toolkit: who wants which event, whose timer it is.
func (kit *proactive) learn(w *call, response []byte) {
	switch commandType(w.command) {
	case typeSetUpEventList, typeTimer:
	default:
		return
	}
	var command, answer objects
	_, content, err := template(w.command)
	if err != nil || command.read(content) != nil || answer.read(response) != nil {
		return
	}
	if r, ok := answer.find(tagResult); !ok || len(r) == 0 || r[0] >= 0x10 {
		return
	}
	if v, ok := command.find(tagTimerID); ok && len(v) == 1 && v[0] < 9 {
		kit.timers[v[0]] = w.owner
	}
	if v, ok := command.find(tagEventList); ok && !kit.isUnion(v) {
		w.owner.wanted = [256]bool{}
		for _, code := range v {
			w.owner.wanted[code] = true
		}
	}
}

// isUnion tells the list that SetUpEventList sends for all applets from one that an applet spelled itself.
func (kit *proactive) isUnion(list []byte) bool {
	return slices.EqualFunc(list, kit.union(), func(b byte, e cat.EventCode) bool { return b == byte(e) })
}

// commandType is the type of a proactive command; 0 where it cannot be read.
func commandType(b []byte) byte {
	_, content, err := template(b)
	if err != nil || len(content) < 5 || content[0]&0x7F != tagDetails || content[1] != 3 {
		return 0
	}
	return content[3]
}
