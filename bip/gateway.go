package bip

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bipd/cat"
	"bipd/trace"
)

// Session is what the gateway needs of the card's session: cat.Session has it.
type Session interface {
	Wake()            // ask the gateway soon for the next event; from any goroutine
	Post(func()) bool // run on the card's goroutine soon; false where the session has ended; from any goroutine
}

// Config is what a Gateway needs to know.
type Config struct {
	Card           string // name, in logs and traces
	Router         Router
	Listen         bool          // offer UICC server mode; the router's bearers for it must be Listeners
	BufferLimit    int           // octets, the most that is granted for each direction; 0 = 16384
	ConnectTimeout time.Duration // 0 = 30 s
	SendTimeout    time.Duration // how long SEND DATA waits for the far end to take what was sent before; 0 = 10 s
	// FinishTime is how long the far end of a channel that was given up is waited for while it takes none of what the card
	// has sent, and then to close; 0 = 30 s. Ten times that is the most in all.
	FinishTime time.Duration
	MayConnect func() bool // asked before each connection that the card wants; nil: it always may
	Log        *slog.Logger
	Trace      *trace.Stream // may be nil
}

// Gateway is the gateway of one card. Its Handle, NextEvent, ChainEnded and CardReset run on the card's goroutine, so the
// channel table needs no lock; nothing in them waits for the network.
type Gateway struct {
	cfg     Config
	log     *slog.Logger
	session Session

	channels [cat.MaxChannels + 1]*channel // index 0 is not used
	opened   [cat.MaxChannels + 1]bool     // with success, since the card's last reset
	kept     keptAccess
	turn     int // channel that is asked first for an event
	scratch  [cat.MaxReceive]byte

	ctx       context.Context
	cancel    context.CancelFunc
	closing   chan struct{} // closed by Close
	finishing atomic.Int32  // how many of running end the connections of closed channels
	running   sync.WaitGroup
}

// New makes a gateway that answers on session. Register it there with Register.
func New(session Session, cfg Config) *Gateway {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BufferLimit <= 0 {
		cfg.BufferLimit = 16384
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 30 * time.Second
	}
	if cfg.SendTimeout <= 0 {
		cfg.SendTimeout = 10 * time.Second
	}
	if cfg.FinishTime <= 0 {
		cfg.FinishTime = 30 * time.Second
	}
	g := &Gateway{cfg: cfg, log: cfg.Log.With("card", cfg.Card), session: session, closing: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Register makes the session send the channel commands to g and take its events.
func (g *Gateway) Register(s *cat.Session) {
	s.Handle(g, cat.TypeOpenChannel, cat.TypeCloseChannel, cat.TypeReceiveData, cat.TypeSendData, cat.TypeGetChannelStatus)
	s.AddSource(g)
}

// Close ends every connection and waits until nothing of the gateway runs any more: a far end that is slow to take what
// the card has sent is waited for, as FinishTime says. Call it once, after the session has ended.
func (g *Gateway) Close() {
	g.CardReset()
	close(g.closing)
	slow := time.AfterFunc(time.Second, func() { g.log.Info("waiting for far ends to take what the card has sent") })
	defer slow.Stop()
	g.running.Wait()
	g.cancel()
}

func (g *Gateway) wake() { g.session.Wake() }

// Facilities are the bits of the TERMINAL PROFILE that the gateway makes true.
func (g *Gateway) Facilities() []cat.Facility {
	f := append(cat.FacilityChannels(cat.MaxChannels),
		cat.FacilityDataAvailable, cat.FacilityChannelStatus,
		cat.FacilityOpenChannel, cat.FacilityCloseChannel, cat.FacilityReceiveData, cat.FacilitySendData, cat.FacilityGetChannelStatus,
		cat.FacilityGPRS, cat.FacilityEUTRAN, cat.FacilityHSDPA, cat.FacilityUTRANExtended, cat.FacilityWLANBearer,
		cat.FacilityTCPClient, cat.FacilityUDPClient, cat.FacilityTCPClientLocal, cat.FacilityUDPClientLocal,
		cat.FacilityDNSRequest, cat.FacilityAccessReuse)
	if g.cfg.Listen {
		f = append(f, cat.FacilityTCPServer)
	}
	return f
}

// Handle answers the five channel commands.
func (g *Gateway) Handle(ctx context.Context, cmd cat.Command) cat.Answer {
	for _, c := range g.channels[1:] {
		if c != nil {
			c.checkLink()
		}
	}
	switch body := cmd.Body.(type) {
	case *cat.OpenChannel:
		return g.openChannel(cmd, body)
	case *cat.CloseChannel:
		return g.closeChannel(cmd)
	case *cat.SendData:
		return g.sendData(cmd, body.Data)
	case *cat.ReceiveData:
		return g.receiveData(cmd, int(body.Length))
	case *cat.GetChannelStatus:
		return g.getChannelStatus(cmd)
	}
	return cat.Answer{Response: cat.Respond(cmd, cat.Result{General: cat.ResultBeyondCapabilities})}
}

// CardReset gives up all channels: the card knows of none any more. What it has sent is still delivered.
func (g *Gateway) CardReset() {
	for id, c := range g.channels {
		if c != nil {
			c.hangUp(false)
			if c.server != nil {
				c.server.abort()
			}
		}
		g.channels[id], g.opened[id] = nil, false
	}
	g.kept = keptAccess{}
}

// NextEvent returns what a card is to be told next: for each channel in turn that its link stands, that data wait, and
// last that the link is gone, which it must not hear before it has read the data.
func (g *Gateway) NextEvent() (cat.Due, bool) {
	for i := range cat.MaxChannels {
		id := (g.turn+i)%cat.MaxChannels + 1
		c := g.channels[id]
		if c == nil {
			continue
		}
		c.checkLink()
		c = g.channels[id] // a server's, where its client has gone
		if due, ok := c.nextEvent(); ok {
			taken := due.Taken
			due.Taken = func() { g.turn = id % cat.MaxChannels; taken() }
			return due, true
		}
	}
	return cat.Due{}, false
}

func (c *channel) nextEvent() (cat.Due, bool) {
	switch {
	case c.downDue: // first: the link may stand again by now
		return cat.Due{
			Envelope: cat.ChannelStatusEvent(cat.ChannelStatus{Channel: c.id, Info: cat.StatusDropped}),
			Sending:  func() { c.emit("", trace.CP, trace.UICC, "ENVELOPE: Channel status, link dropped", 0) },
			Taken:    func() { c.downDue = false },
		}, true
	case c.state == listening:
		return c.serverEvent()
	case c.upDue:
		return cat.Due{
			Envelope: cat.ChannelStatusEvent(c.status()),
			Sending: func() {
				c.emit(c.steps.established, trace.CP, trace.UICC, "ENVELOPE: Channel status, link established", 0)
			},
			Taken: func() { c.upDue = false },
		}, true
	case c.state != up:
		return cat.Due{}, false
	}
	n, due := c.rx.pending()
	if !due {
		return cat.Due{}, false
	}
	return cat.Due{
		Envelope: cat.DataAvailableEvent(c.status(), n),
		Sending: func() {
			c.emit(c.steps.available, trace.CP, trace.UICC, fmt.Sprintf("ENVELOPE: Data available, %d bytes wait", n), 0)
		},
		Taken: func() { c.rx.tell(false); c.readData = false },
	}, true
}

// ChainEnded has the card told again of data that it left unread: some cards read only after an event. A card that read
// nothing since the last one is not told again, or the two would never come to an end.
func (g *Gateway) ChainEnded() {
	for _, c := range g.channels[1:] {
		if c == nil || c.state != up || !c.readData {
			continue
		}
		if n, _ := c.rx.pending(); n > 0 {
			c.rx.tell(true)
		}
	}
}

// channelOf finds the channel that a command is for. It refuses one that was never open otherwise than one that is closed.
func (g *Gateway) channelOf(cmd cat.Command) (*channel, *cat.Answer) {
	id, ok := cmd.Devices.Destination.Channel()
	if ok && g.channels[id] != nil {
		return g.channels[id], nil
	}
	info := cat.BIPChannelInvalid
	if ok && g.opened[id] {
		info = cat.BIPChannelClosed
	}
	a := refuse(cmd, bipError(info))
	return nil, &a
}

func refuse(cmd cat.Command, r cat.Result, objects ...cat.TLV) cat.Answer {
	return cat.Answer{Response: cat.Respond(cmd, r, objects...)}
}

// ChannelInfo is what can be told of an open channel.
type ChannelInfo struct {
	ID       int
	Method   trace.Method
	State    string
	Network  string
	Remote   netip.AddrPort
	Buffer   int   // octets granted
	Received int   // octets that the card has read
	Sent     int64 // octets that the connection has taken
}

// Channels lists the open channels. It is for the card's goroutine.
func (g *Gateway) Channels() []ChannelInfo {
	var list []ChannelInfo
	for _, c := range g.channels[1:] {
		if c != nil {
			list = append(list, ChannelInfo{c.id, c.bearer.Method(), c.state.String(), c.req.Network, c.req.Remote,
				c.req.Buffer, c.received, c.tx.sent.Load()})
		}
	}
	return list
}
