package softuicc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"bipd/cat"
)

// DialParams say what channel Dial asks for. The zero values of Bearer and BufferSize mean the default bearer and 1400.
type DialParams struct {
	Bearer            cat.BearerDescription
	Transport         cat.TransportProtocol // TCPClientRemote, UDPClientRemote, or TCPServer for a listening channel
	Remote            netip.AddrPort        // destination; of TCPServer the port to listen on
	BufferSize        uint16
	Qualifier         byte // cat.OpenImmediate, cat.OpenImmediate|cat.OpenBackground, 0 for on demand, ...
	NetworkAccessName string
	Login, Password   *cat.Text
	Alpha             *cat.Alpha
	Local             *netip.Addr
}

func (p *DialParams) body() *cat.OpenChannel {
	b := &cat.OpenChannel{
		BufferSize: p.BufferSize, Login: p.Login, Password: p.Password, LocalAddress: p.Local,
		Transport: &cat.TransportLevel{Protocol: p.Transport, Port: p.Remote.Port()},
	}
	b.Alpha = p.Alpha
	if p.NetworkAccessName != "" {
		name := cat.NetworkAccessName(p.NetworkAccessName)
		b.NetworkAccessName = &name
	}
	if p.Transport != cat.TCPServer {
		bearer, remote := p.Bearer, p.Remote.Addr()
		b.Bearer, b.Destination = &bearer, &remote
	}
	return b
}

// Dial opens a channel and returns a connection over it: Write becomes SEND DATA; received data are fetched by RECEIVE
// DATA as the terminal announces them. In background mode Dial waits until the terminal reports the link, in UICC server
// mode until a client has come; on demand it returns at once. It subscribes the applet to Data available and Channel
// status. A refusal is a *ResultError.
func (tk *Toolkit) Dial(ctx context.Context, p DialParams) (*Conn, error) {
	if p.Bearer.Type == 0 {
		p.Bearer.Type = cat.BearerDefault
	}
	if p.BufferSize == 0 {
		p.BufferSize = 1400
	}
	if err := tk.subscribe(ctx, cat.EventDataAvailable, cat.EventChannelStatus); err != nil {
		return nil, err
	}
	conn := &Conn{tk: tk, params: p, notify: make(chan struct{}, 1), udp: p.Transport == cat.UDPClientRemote}
	_, err := tk.openChannel(ctx, p.body(), p.Qualifier, func(o Opened) {
		conn.channel = o.Status.Channel
		conn.granted = o.BufferSize
		conn.established = o.Status.Link == cat.LinkEstablished
		tk.kit.conns[conn.channel] = conn
	})
	if err != nil {
		return nil, err
	}
	wait := p.Transport == cat.TCPServer || p.Qualifier&(cat.OpenImmediate|cat.OpenBackground) == cat.OpenImmediate|cat.OpenBackground
	if wait {
		err = conn.waitLink(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// waitLink waits until the terminal has reported that the link is established, or that it is not.
func (c *Conn) waitLink(ctx context.Context) error {
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { close(expired) })
	defer stop()
	card := c.tk.card
	card.mu.Lock()
	defer card.mu.Unlock()
	for {
		switch {
		case c.established:
			return nil
		case c.failure != nil:
			return c.failure
		case c.dropped:
			return fmt.Errorf("softuicc: channel %d: no link: %v", c.channel, c.status)
		case isClosed(expired):
			return ctx.Err()
		}
		c.park(expired)
	}
}

// Dialer returns a function for http.Transport's DialContext, net.Resolver's Dial and the like: it dials the address,
// which has to be numeric, with p's parameters. Networks: tcp and udp, also with 4 or 6 behind; a udp connection is a
// *PacketConn.
func (tk *Toolkit) Dialer(p DialParams) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		remote, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("softuicc: dial %s: %w", address, err)
		}
		p := p
		p.Remote = remote
		switch strings.TrimRight(network, "46") {
		case "tcp":
			p.Transport = cat.TCPClientRemote
		case "udp":
			p.Transport = cat.UDPClientRemote
		default:
			return nil, net.UnknownNetworkError(network)
		}
		conn, err := tk.Dial(ctx, p)
		if err != nil {
			return nil, err // not conn: a nil *Conn is no nil net.Conn
		}
		if conn.udp {
			return &PacketConn{conn}, nil
		}
		return conn, nil
	}
}

// PacketConn is a Conn over UDP that is a net.PacketConn as well, by which net.Resolver knows that it carries datagrams.
type PacketConn struct{ *Conn }

var _ net.PacketConn = (*PacketConn)(nil)

// ReadFrom is Read; all datagrams are the remote's.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.RemoteAddr(), err
}

// WriteTo is Write; a channel has one destination, so that addr has to be the remote's.
func (c *PacketConn) WriteTo(p []byte, addr net.Addr) (int, error) {
	if addr.String() != c.RemoteAddr().String() {
		return 0, fmt.Errorf("softuicc: datagram to %v on a channel to %v", addr, c.RemoteAddr())
	}
	return c.Write(p)
}

// closeTimeout bounds how long Close waits for a terminal that does not fetch.
const closeTimeout = 30 * time.Second
