package bip

import (
	"context"
	"net"
	"net/netip"

	"bipd/cat"
	"bipd/trace"
)

// Request is what an OPEN CHANNEL asks of a bearer.
type Request struct {
	Card              string
	Channel           int // 1..7
	Bearer            cat.BearerDescription
	NetworkAccessName string // access point name; empty = none named
	Login, Password   *cat.Text
	Network           string         // "tcp" or "udp"; empty in a DNS server address request
	Remote            netip.AddrPort // of a channel that listens: the port alone
	Listen            bool           // UICC server mode
	KeptAccess        bool           // the card had the access to this network kept: nobody need be asked again
	OnTerminal        bool           // the far end is an application on the terminal (UICC client, local)
	Local             netip.Addr     // the zero Addr: any
	Buffer            int            // octets granted for each direction
}

// Bearer makes the connections of channels.
type Bearer interface {
	// Method tells which processor has the TCP/IP stack.
	Method() trace.Method
	// Prepare asks for what the connection will need, without waiting for it, and returns what makes the connection.
	// It is called on the card's goroutine before the card is answered; ctx lasts as long as the channel.
	Prepare(ctx context.Context, r Request) Dialer
	// DNSServers names the DNS servers of the network that the request would use.
	DNSServers(ctx context.Context, r Request) ([]netip.Addr, error)
}

// Dialer makes one connection. A failure is an *Error, or an error of which CauseOf finds the cause. Reads of the
// connection end with io.EOF where the far end closed, writes of a "udp" one are datagrams.
type Dialer interface {
	Dial(ctx context.Context) (net.Conn, error)
}

// DialerFunc is a function as a Dialer.
type DialerFunc func(ctx context.Context) (net.Conn, error)

// Dial calls f.
func (f DialerFunc) Dial(ctx context.Context) (net.Conn, error) { return f(ctx) }

// Router chooses the bearer for a request. It returns an *Error where none fits.
type Router interface {
	Route(r Request) (Bearer, error)
}
