package ap

import (
	"context"
	"net/netip"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// getNet answers AT%GETNET with the profile of the network access name.
func (l *line) getNet(_ context.Context, cmd at.Command) ([]string, error) {
	channel, bearer, nan, err := ptylink.ParseGetNet(cmd)
	if err != nil {
		return nil, err
	}
	p, err := l.ap.cfg.Profiles.Lookup(nan, l.name)
	if err != nil {
		l.log.Warn("no profile for the network", "channel", channel, "bearer", bearer, "nan", nan, "cause", err)
		return nil, at.ErrNoService
	}
	l.log.Info("network parameters asked for", "channel", channel, "bearer", bearer, "nan", nan, "profile", p.Name)
	answer := ptylink.NetPar{
		Channel: channel, PDPType: p.PDPType, AccessPoint: p.AccessPoint, Interface: p.Interface, DNS: p.DNS, MTU: p.MTU,
	}
	if p.Reveal {
		answer.User, answer.Password = p.User, p.Password
	}
	return answer.Lines()
}

// webOpen carries out AT%WEBOPCH. Whatever goes wrong after the DLC was taken, the DLC is closed. The card's user and
// password are left: they are for an access that is made anew, and the AP's is there already. The buffer that the
// card asks for needs no memory here, since flow control reaches from the CP to the server.
func (l *line) webOpen(ctx context.Context, cmd at.Command) ([]string, error) {
	w, err := ptylink.ParseWebOpen(cmd)
	if err != nil {
		return nil, err
	}
	c := &conn{line: l, channel: w.Channel, network: w.Network, dst: w.Remote, closed: make(chan struct{})}
	c.log = l.log.With("channel", c.channel, "destination", c.network+" "+c.dst.String())
	ctx, c.cancel = context.WithTimeout(ctx, l.ap.cfg.DialTimeout)
	defer c.cancel()
	if err := l.mayConnect(); err != nil {
		c.log.Warn("channel not opened", "cause", err)
		return nil, err
	}
	if err := l.take(ctx, c); err != nil {
		c.log.Warn("channel not opened", "cause", err)
		return nil, err
	}
	if err := l.dial(ctx, c, w.NAN, w.Local); err != nil {
		c.abort(err)
		l.free(c)
		l.running.Done()
		c.log.Warn("channel not opened", "cause", err)
		return nil, cmeOf(err)
	}
	// The sockets of package net print addresses that netip reads; what else a DialFunc makes has none to tell.
	local, err := netip.ParseAddrPort(c.server.LocalAddr().String())
	if err != nil {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	c.log.Info("channel open", "local", local.String())
	go c.run()
	return ptylink.WebOpenedLines(c.channel, netip.AddrPortFrom(local.Addr().Unmap(), local.Port()))
}

// dial makes the connection of c. It ends early when the CP closes the DLC.
func (l *line) dial(ctx context.Context, c *conn, nan string, local netip.Addr) error {
	p, err := l.ap.cfg.Profiles.Lookup(nan, l.name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.dlc.Done():
			cancel(errGivenUp)
		case <-ctx.Done():
		}
	}()
	l.emit(trace.Event{Channel: c.channel, Step: "S703", From: trace.AP, To: trace.Server, What: c.transport() + " connect " + c.dst.String()})
	server, err := l.ap.connect(ctx, l.name, c.network, local, c.dst, p)
	if err != nil && context.Cause(ctx) == errGivenUp {
		err = errGivenUp
	}
	answer := trace.Event{Channel: c.channel, Step: "S704", From: trace.Server, To: trace.AP, What: c.transport() + " connected"}
	if err != nil {
		answer.What, answer.Err = c.transport()+" not connected", err.Error()
	}
	l.emit(answer)
	if err == nil {
		c.attach(server)
	}
	return err
}

// webClose carries out AT%WEBCLCH. There is no listening to go back to.
func (l *line) webClose(_ context.Context, cmd at.Command) ([]string, error) {
	w, err := ptylink.ParseWebClose(cmd)
	if err != nil {
		return nil, err
	}
	c := l.connOf(w.Channel)
	switch {
	case c == nil:
		return nil, at.ErrNoChannel
	case w.Listen:
		return nil, at.ErrNotSupported
	}
	c.shutdown()
	return nil, nil
}

// webStat carries out AT%WEBSTAT.
func (l *line) webStat(_ context.Context, cmd at.Command) ([]string, error) {
	on, err := ptylink.ParseWebStatMode(cmd)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = on
	return nil, nil
}

// webListen answers AT%WEBLSTN, UICC server mode: the proxy does not offer it, which is error 4.
func (l *line) webListen(context.Context, at.Command) ([]string, error) {
	return nil, at.ErrNotSupported
}

// netStat answers AT%NETSTAT?.
func (l *line) netStat(ctx context.Context, cmd at.Command) ([]string, error) {
	if cmd.Form != at.Read {
		return nil, at.ErrNotSupported
	}
	n, err := l.networkState(ctx)
	if err != nil {
		l.log.Error("state of the network is unknown", "error", err)
		return nil, at.ErrUnknown
	}
	l.changed(n)
	return n.Lines()
}

// changed notes the state of the network, and tells whether it is another than the one before.
func (l *line) changed(now ptylink.NetStat) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := l.known && now != l.state
	l.state, l.known = now, true
	return changed
}

// networkState is the state of the interface of the default profile, or of any where that is not the card's.
func (l *line) networkState(ctx context.Context) (ptylink.NetStat, error) {
	p, _ := l.ap.cfg.Profiles.Lookup("", l.name)
	s, err := l.ap.cfg.Network.Status(ctx, p.Interface)
	return ptylink.NetStat{Access: s.Access, Up: s.Up, Interface: s.Interface}, err
}

// tellChanges sends %NETSTAT when the state of the network has changed.
func (l *line) tellChanges(ctx context.Context) {
	if now, err := l.networkState(ctx); err == nil && l.changed(now) {
		l.tell(now) // since AT%NETSTAT? was answered
	}
	ticker := time.NewTicker(l.ap.cfg.NetworkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now, err := l.networkState(ctx)
		if err != nil {
			continue // AT%NETSTAT? and AT%WEBOPCH log it
		}
		if l.changed(now) {
			l.tell(now)
		}
	}
}

// tell sends %NETSTAT.
func (l *line) tell(now ptylink.NetStat) {
	l.log.Info("network has changed", "up", now.Up, "access", now.Access, "interface", now.Interface)
	if lines, err := now.Lines(); err == nil {
		l.notify(lines[0])
	}
}
