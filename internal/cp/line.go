package cp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"bipd/bip"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// lineBearer carries channels over the line to the AP, whose stack makes the connections: method 2. It also asks the AP
// for the network of method 1.
type lineBearer struct {
	link      *ptylink.Link
	trace     *trace.Stream
	kernelDNS []netip.Addr // where the AP names no server
}

// Method is Method2.
func (b *lineBearer) Method() trace.Method { return trace.Method2 }

// Prepare has nothing to ask beforehand.
func (b *lineBearer) Prepare(_ context.Context, r bip.Request) bip.Dialer {
	return bip.DialerFunc(func(ctx context.Context) (net.Conn, error) {
		conn, err := b.dial(ctx, r)
		if err != nil {
			return nil, withCause(err)
		}
		return conn, nil
	})
}

// DNSServers returns those of the AP's network.
func (b *lineBearer) DNSServers(ctx context.Context, r bip.Request) ([]netip.Addr, error) {
	a, err := b.askNetwork(ctx, r)
	if err == nil && len(a.DNS) == 0 {
		return b.kernelDNS, nil
	}
	return a.DNS, err
}

// askNetwork asks for the network parameters by AT%GETNET.
func (b *lineBearer) askNetwork(ctx context.Context, r bip.Request) (bip.Access, error) {
	b.emit(r, "S402", trace.CP, trace.AP, "AT%GETNET", nil)
	par, err := b.link.GetNet(ctx, r.Channel, byte(r.Bearer.Type), r.NetworkAccessName)
	if err != nil {
		b.emit(r, "S403", trace.AP, trace.CP, "no network parameters", err)
		return bip.Access{}, withCause(err)
	}
	b.emit(r, "S403", trace.AP, trace.CP, "%NETPAR: access point "+par.AccessPoint, nil)
	return bip.Access{AccessPoint: par.AccessPoint, DNS: par.DNS}, nil
}

// dial opens the channel's DLC, then has the AP connect: so data that the server sends at once has a way.
func (b *lineBearer) dial(ctx context.Context, r bip.Request) (net.Conn, error) {
	dlc, err := b.link.OpenChannel(ctx, r.Channel)
	if err != nil {
		return nil, err
	}
	open := ptylink.WebOpen{Channel: r.Channel, Network: r.Network, Remote: r.Remote, Buffer: r.Buffer, NAN: r.NetworkAccessName}
	if r.Login != nil {
		open.User = r.Login.Decode()
	}
	if r.Password != nil {
		open.Password = ptylink.Secret(r.Password.Decode())
	}
	b.emit(r, "S702", trace.CP, trace.AP, "AT%WEBOPCH "+r.Network+" "+r.Remote.String(), nil)
	if _, err := b.link.WebOpenChannel(ctx, open); err != nil {
		dlc.Close()
		b.emit(r, "S705", trace.AP, trace.CP, "not connected", err)
		return nil, err
	}
	b.emit(r, "S705", trace.AP, trace.CP, "OK", nil)
	conn := dlc
	if r.Network == "udp" {
		conn = ptylink.NewDatagramConn(dlc)
	}
	return &lineConn{Conn: conn, bearer: b, request: r}, nil
}

func (b *lineBearer) emit(r bip.Request, step string, from, to trace.Party, what string, err error) {
	if !b.trace.Wanted() {
		return
	}
	e := trace.Event{Card: r.Card, Channel: r.Channel, Step: step, From: from, To: to, What: what}
	if err != nil {
		e.Err = err.Error()
	}
	b.trace.Emit(e)
}

// lineConn is a connection that the AP made.
type lineConn struct {
	net.Conn
	bearer  *lineBearer
	request bip.Request
	once    sync.Once
}

// closeTime bounds AT%WEBCLCH: the AP may need its own time to bring the last data to the server.
const closeTime = 5 * time.Second

// Close tells the AP to close the connection, and then closes the DLC.
func (c *lineConn) Close() error {
	var err error
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		b := c.bearer
		b.emit(c.request, "S717", trace.CP, trace.AP, "AT%WEBCLCH", nil)
		err = b.link.WebCloseChannel(ctx, c.request.Channel)
		if errors.Is(err, at.ErrNoChannel) || errors.Is(err, ptylink.ErrDown) {
			err = nil // the AP has closed it already
		}
		err = errors.Join(err, c.Conn.Close())
	})
	return err
}

// withCause gives an error of the line its cause. Every one of these means that the AP, not the far end, stands in the way,
// unless the AP's error number says more.
func withCause(err error) error {
	var cme at.CMEError
	switch {
	case errors.Is(err, ptylink.ErrDown), errors.Is(err, ptylink.ErrNoMux):
		return &bip.Error{Cause: bip.CauseNoNetwork, Err: err}
	case !errors.As(err, &cme):
		return err
	}
	causes := map[at.CMEError]bip.Cause{
		at.ErrRefused: bip.CauseRefused, at.ErrUnreachable: bip.CauseUnreachable, at.ErrConnectTimeout: bip.CauseTimeout,
		at.ErrNetworkTimeout: bip.CauseTimeout, at.ErrName: bip.CauseName, at.ErrPolicy: bip.CauseDenied,
		at.ErrNoService: bip.CauseNoNetwork, at.ErrNotAllowedNetwork: bip.CauseNoNetwork, at.ErrPortInUse: bip.CausePortInUse,
	}
	return &bip.Error{Cause: causes[cme], Err: err}
}
