package cp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"bipd/bip"
	"bipd/egress"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// lineBearer carries channels over the line to the AP, whose stack makes the connections: method 2. It also asks the AP
// for the network of method 1.
type lineBearer struct {
	link      *ptylink.Link
	policy    *egress.Policy // the CP's; the AP has one of its own, and both must allow
	trace     *trace.Stream
	kernelDNS []netip.Addr // where the AP names no server
	numbers   *numbers     // of the connections
	access    accesses
}

func newLineBearer(link *ptylink.Link, policy *egress.Policy, stream *trace.Stream, dns []netip.Addr) *lineBearer {
	return &lineBearer{link: link, policy: policy, trace: stream, kernelDNS: dns, numbers: newNumbers()}
}

// Method is Method2.
func (b *lineBearer) Method() trace.Method { return trace.Method2 }

// Prepare has nothing to ask beforehand.
func (b *lineBearer) Prepare(_ context.Context, r bip.Request) bip.Dialer {
	return bip.DialerFunc(func(ctx context.Context) (net.Conn, error) {
		// The local address, if any, is the AP's.
		if err := judge(b.policy, egress.Request{Card: r.Card, Network: r.Network, Destination: r.Remote, DNS: b.access.servers(b.kernelDNS)}); err != nil {
			return nil, err
		}
		number, err := b.numbers.take(ctx, r.Channel)
		if err != nil {
			return nil, err
		}
		conn, err := b.dial(ctx, r, number)
		if err != nil {
			b.numbers.free(number)
			return nil, err
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
	if a, ok := b.access.get(r.NetworkAccessName); ok && r.KeptAccess {
		return a, nil
	}
	b.emit(r, "S402", trace.CP, trace.AP, "AT%GETNET", nil)
	par, err := b.link.GetNet(ctx, r.Channel, byte(r.Bearer.Type), r.NetworkAccessName)
	if err != nil {
		b.emit(r, "S403", trace.AP, trace.CP, "no network parameters", err)
		if err = withCause(err); bip.CauseOf(err) != bip.CauseNoNetwork {
			err = noNetwork(err) // whatever it is: without the parameters there is none
		}
		return bip.Access{}, err
	}
	b.emit(r, "S403", trace.AP, trace.CP, "%NETPAR: access point "+par.AccessPoint, nil)
	a := bip.Access{AccessPoint: par.AccessPoint, DNS: par.DNS}
	b.access.put(r.Channel, r.NetworkAccessName, a)
	return a, nil
}

// dial opens the DLC of a number, then has the AP connect: so data that the server sends at once has a way.
func (b *lineBearer) dial(ctx context.Context, r bip.Request, number int) (net.Conn, error) {
	dlc, err := b.link.OpenChannel(ctx, number)
	if err != nil {
		return nil, noNetwork(err) // the AP stands in the way, not the far end
	}
	open := ptylink.WebOpen{Channel: number, Network: r.Network, Remote: r.Remote, Buffer: r.Buffer, NAN: r.NetworkAccessName, Local: r.Local}
	if r.Login != nil {
		open.User = r.Login.Decode()
	}
	if r.Password != nil {
		open.Password = ptylink.Secret(r.Password.Decode())
	}
	asked := "AT%WEBOPCH " + r.Network + " " + r.Remote.String()
	if number != r.Channel {
		asked += fmt.Sprintf(", channel %d on the line", number)
	}
	b.emit(r, "S702", trace.CP, trace.AP, asked, nil)
	local, err := b.link.WebOpenChannel(ctx, open)
	if wanted := r.Local; err == nil && wanted.IsValid() && !wanted.IsUnspecified() && local.Addr().Unmap() != wanted.Unmap() {
		err = &bip.Error{Cause: bip.CauseLocal, Err: fmt.Errorf("the AP connects from %s, not from %s", local.Addr(), wanted)}
	}
	if err != nil {
		dlc.Close()
		b.emit(r, "S705", trace.AP, trace.CP, "not connected", err)
		return nil, withCause(err)
	}
	b.emit(r, "S705", trace.AP, trace.CP, "OK", nil)
	conn := &lineConn{Conn: dlc, channel: dlc, number: number, bearer: b, request: r}
	if r.Network == "udp" {
		conn.Conn = ptylink.NewDatagramConn(dlc)
	}
	conn.closing, conn.close = context.WithCancel(context.Background())
	b.numbers.made(number, dlc.Unsent)
	return conn, nil
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

// lineConn is a connection that the AP made. CloseWrite ends it in order, Close alone tears it.
type lineConn struct {
	net.Conn // channel, with datagram framing for UDP
	channel  *ptylink.Channel
	number   int // on the line
	bearer   *lineBearer
	request  bip.Request

	closing context.Context // ends with Close
	close   context.CancelFunc
	ending  sync.Mutex // held by CloseWrite
	once    sync.Once
}

// closeTime bounds AT%WEBCLCH, which may have to wait for another channel's AT%WEBOPCH. An AP of this project ends the
// connection by the DLC's end.
const closeTime = 5 * time.Second

// flush waits until all that was written is on its way to the AP, as long as some of it goes.
func (c *lineConn) flush() error {
	for left := c.channel.Unsent(); ; {
		ctx, cancel := context.WithTimeout(c.closing, c.request.FinishTime)
		err := c.channel.Flush(ctx)
		cancel()
		now := c.channel.Unsent()
		if !errors.Is(err, context.DeadlineExceeded) || now >= left {
			return err
		}
		left = now
	}
}

// Undelivered is how many octets were written that are not on their way to the AP yet.
func (c *lineConn) Undelivered() int { return c.channel.Unsent() }

// CloseWrite ends the connection in order: what was written goes to the server, then FIN. It returns when the AP has all
// of it, and gives up where the AP takes nothing for the request's FinishTime. What the server sends is not wanted any
// more. The AP is told by AT%WEBCLCH, only once all data is on its way, since one of another make may close the connection
// at that; then the DLC ends.
func (c *lineConn) CloseWrite() error {
	c.ending.Lock()
	defer c.ending.Unlock()
	if err := c.flush(); err != nil {
		return err
	}
	b := c.bearer
	ctx, cancel := context.WithTimeout(c.closing, closeTime)
	defer cancel()
	b.emit(c.request, "S717", trace.CP, trace.AP, "AT%WEBCLCH", nil)
	if err := b.link.WebCloseChannel(ctx, c.number); errors.Is(err, ptylink.ErrDown) || c.closing.Err() != nil {
		return err
	}
	if err := c.channel.Close(); err != nil {
		return err
	}
	<-c.channel.Done()
	if err := c.channel.Err(); !errors.Is(err, net.ErrClosed) {
		return err // the line was lost before the AP had the end
	}
	return nil
}

// Close tears the DLC, at which the AP resets the connection, unless CloseWrite has ended it.
func (c *lineConn) Close() error {
	c.once.Do(func() {
		c.close()
		c.channel.Abort()
		c.ending.Lock()
		defer c.ending.Unlock()
		c.bearer.numbers.free(c.number)
	})
	return nil
}

func noNetwork(err error) error { return &bip.Error{Cause: bip.CauseNoNetwork, Err: err} }

// causes are those of the AP's error numbers. Others have no specific cause.
var causes = map[at.CMEError]bip.Cause{
	at.ErrRefused: bip.CauseRefused, at.ErrUnreachable: bip.CauseUnreachable, at.ErrConnectTimeout: bip.CauseTimeout,
	at.ErrNetworkTimeout: bip.CauseTimeout, at.ErrName: bip.CauseName, at.ErrPolicy: bip.CauseDenied,
	at.ErrNoService: bip.CauseNoNetwork, at.ErrNotAllowedNetwork: bip.CauseNoNetwork, at.ErrPortInUse: bip.CausePortInUse,
	at.ErrLocalAddress: bip.CauseLocal, at.ErrTooMany: bip.CauseTooMany,
}

// withCause gives an error of an AT command its cause: the line's, that of the AP's error number, or time out.
func withCause(err error) error {
	var cme at.CMEError
	switch {
	case errors.Is(err, ptylink.ErrDown):
		return noNetwork(err)
	case errors.As(err, &cme):
		if cme == at.ErrPolicy {
			err = fmt.Errorf("by the rules of the AP, whose log names the one: %w", err)
		}
		return &bip.Error{Cause: causes[cme], Err: err}
	}
	return err
}
