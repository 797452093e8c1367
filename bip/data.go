package bip

import (
	"context"

	"bipd/cat"
	"bipd/trace"
)

// sendData answers SEND DATA (clause 6.4.30): store, or send what is stored and the new data, in order.
func (g *Gateway) sendData(cmd cat.Command, data []byte) cat.Answer {
	c, refused := g.channelOf(cmd)
	if refused != nil {
		g.emitUnnamed(cmd, refused.Response.Result)
		return *refused
	}
	c.emit(c.steps.send, trace.UICC, trace.CP, "FETCH: SEND DATA", len(data))
	return g.send(cmd, c, data)
}

func (g *Gateway) send(cmd cat.Command, c *channel, data []byte) cat.Answer {
	c.checkLink()
	immediately := cmd.Details.Qualifier&cat.SendImmediately != 0
	switch {
	case g.channels[c.id] != c || c.linkGone():
		return c.answerSend(cmd, bipError(cat.BIPChannelClosed), nil)
	case len(data) > c.tx.free():
		return c.answerSend(cmd, bipError(cat.BIPBufferUnavailable), nil)
	case c.state == onDemand && c.failed:
		if err := g.mayConnect(); err != nil {
			return c.answerSend(cmd, CauseOf(err).result(), nil)
		}
		c.failed = false
		return g.send(cmd, c, data)
	case c.state == onDemand:
		return g.connect(c, func(err error) cat.Answer {
			if err != nil {
				c.state, c.settled, c.failed = onDemand, make(chan struct{}), true
				return c.answerSend(cmd, CauseOf(err).result(), nil)
			}
			c.upDue = true
			return g.send(cmd, c, data)
		})
	case !immediately:
		c.tx.store(data)
		return c.answerSend(cmd, cat.OK, nil)
	case c.state == opening:
		return g.sendAfter(cmd, c, data, c.settled)
	case c.tx.busy():
		return g.sendAfter(cmd, c, data, c.tx.last.written)
	}
	c.tx.store(data)
	s := c.tx.take()
	return c.answerSend(cmd, cat.OK, func() { c.tx.hand(s) })
}

// linkGone reports whether nothing can be sent any more.
func (c *channel) linkGone() bool {
	if c.state != up {
		return c.state == dropped || c.state == listening || c.state == named || c.lost
	}
	ended, _, _ := c.rx.finished()
	return ended || c.tx.broken.Load()
}

// sendAfter tries again when the event has happened. Where it does not happen in time, nothing of the data is taken.
func (g *Gateway) sendAfter(cmd cat.Command, c *channel, data []byte, event <-chan struct{}) cat.Answer {
	return cat.Answer{Wait: func(ctx context.Context) func() cat.Answer {
		ctx, cancel := context.WithTimeout(ctx, g.cfg.SendTimeout)
		defer cancel()
		err := waitFor(ctx, event)
		return func() cat.Answer {
			if err != nil {
				g.log.Warn("far end takes no data", "channel", c.id, "remote", c.req.Remote)
				return c.answerSend(cmd, bipError(cat.BIPBufferUnavailable), nil)
			}
			return g.send(cmd, c, data)
		}
	}}
}

func (c *channel) answerSend(cmd cat.Command, r cat.Result, sent func()) cat.Answer {
	var objects []cat.TLV
	if r.General == cat.ResultOK {
		objects = append(objects, cat.ChannelDataLengthObject(c.tx.free()))
	}
	return cat.Answer{
		Response: cat.Respond(cmd, r, objects...),
		Sending:  func() { c.emitResponse(c.steps.send, r, 0) },
		Sent:     sent,
	}
}

// receiveData answers RECEIVE DATA (clause 6.4.29) with what is there: it never waits for more.
func (g *Gateway) receiveData(cmd cat.Command, want int) cat.Answer {
	c, refused := g.channelOf(cmd)
	if refused != nil {
		g.emitUnnamed(cmd, refused.Response.Result)
		return *refused
	}
	c.emit(c.steps.receive, trace.UICC, trace.CP, "FETCH: RECEIVE DATA", 0)
	if c.state != up && c.linkGone() {
		return c.answerReceive(cmd, bipError(cat.BIPChannelClosed), nil, 0)
	}
	n, left := 0, 0
	if c.state == up {
		n, left = c.rx.read(g.scratch[:min(want, cat.MaxReceive)])
		c.received += n
		c.readData = c.readData || n > 0
	}
	r := cat.OK
	if n < want && left == 0 {
		r = cat.Result{General: cat.ResultMissingInformation}
	}
	return c.answerReceive(cmd, r, g.scratch[:n], left)
}

func (c *channel) answerReceive(cmd cat.Command, r cat.Result, data []byte, left int) cat.Answer {
	var objects []cat.TLV
	if r.General != cat.ResultBIPError {
		objects = []cat.TLV{cat.ChannelDataObject(data), cat.ChannelDataLengthObject(left)}
	}
	return cat.Answer{
		Response: cat.Respond(cmd, r, objects...),
		Sending:  func() { c.emitResponse(c.steps.received, r, len(data)) },
	}
}

// closeChannel answers CLOSE CHANNEL (clause 6.4.28). The connection is ended after the answer.
func (g *Gateway) closeChannel(cmd cat.Command) cat.Answer {
	c, refused := g.channelOf(cmd)
	if refused != nil {
		g.emitUnnamed(cmd, refused.Response.Result)
		return *refused
	}
	c.emit(c.steps.closing, trace.UICC, trace.CP, "FETCH: CLOSE CHANNEL", 0)
	r := cat.OK
	if c.state == dropped { // it is closed already; now its number is free again
		r = bipError(cat.BIPChannelClosed)
	}
	return cat.Answer{
		Response: cat.Respond(cmd, r),
		Sending:  func() { c.emitResponse(c.steps.closed, r, 0) },
		Sent: func() { // not before: a channel that is not in the table any more is nobody's to end
			if c.server != nil || c.state == listening {
				c.closeServer(cmd.Details.Qualifier&cat.CloseUpkeep != 0)
				return
			}
			g.keep(c, cmd)
			g.channels[c.id] = nil
			c.hangUp(true)
		},
	}
}

// getChannelStatus answers GET CHANNEL STATUS (clause 6.4.31): a status for each open channel, or one that names none.
func (g *Gateway) getChannelStatus(cmd cat.Command) cat.Answer {
	var objects []cat.TLV
	for _, c := range g.channels[1:] {
		if c != nil {
			objects = append(objects, cat.ChannelStatusListObject(c.status()))
		}
	}
	if objects == nil {
		objects = append(objects, cat.ChannelStatusListObject(cat.ChannelStatus{}))
	}
	g.emitUnnamed(cmd, cat.OK)
	return cat.Answer{Response: cat.Respond(cmd, cat.OK, objects...)}
}
