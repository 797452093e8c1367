package cp

import (
	"fmt"
	"time"

	"bipd/bip"
	"bipd/internal/control"
)

// Status is what bipctl shows of the card.
func (c *CP) Status() control.Card {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := control.Card{Name: c.cfg.Name, Reader: c.cfg.Reader.Name(), State: c.state, ATR: fmt.Sprintf("%X", c.atr), Line: "none", Service: locationNames[c.location().Status], Over: c.quota.over()}
	if c.err != nil {
		s.Error = c.err.Error()
	}
	switch {
	case c.link == nil:
	case c.link.Multiplexed():
		s.Line = "multiplexed"
	case c.link.Up():
		s.Line = "AT"
	default:
		s.Line = "down"
	}
	return s
}

// statusWait is how long a busy card may keep bipctl waiting.
const statusWait = time.Second

// Channels lists the open channels: nothing where no session runs. While an APDU keeps the card's goroutine longer than
// statusWait it is the list as it was last told.
func (c *CP) Channels() []control.Channel {
	c.mu.Lock()
	session, gateway, last := c.session, c.gateway, c.channels
	c.mu.Unlock()
	if session == nil {
		return nil
	}
	got := make(chan []control.Channel, 1)
	posted := session.Post(func() {
		list := c.listChannels(gateway)
		c.mu.Lock()
		if c.session == session {
			c.channels = list
		}
		c.mu.Unlock()
		got <- list
	})
	if !posted {
		return nil
	}
	select {
	case list := <-got:
		return list
	case <-time.After(statusWait):
		return last
	}
}

// listChannels is for the card's goroutine.
func (c *CP) listChannels(g *bip.Gateway) []control.Channel {
	var list []control.Channel
	for _, i := range g.Channels() {
		ch := control.Channel{Card: c.cfg.Name, Channel: i.ID, Method: int(i.Method), State: i.State, Network: i.Network,
			Buffer: i.Buffer, Received: i.Received, Sent: i.Sent}
		if i.Remote.IsValid() { // a DNS server address request has none
			ch.Remote = i.Remote.String()
		}
		list = append(list, ch)
	}
	return list
}
