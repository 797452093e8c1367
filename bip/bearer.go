package bip

import (
	"context"
	"net"
	"net/netip"
	"time"

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
	FinishTime        time.Duration  // how long a far end that takes no octet is waited for at the connection's end
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

// HalfCloser is what the connection of a "tcp" channel has beside net.Conn, so that the far end can tell a stream that is
// complete from one that was cut. There are two ends:
//
//   - CloseWrite ends the stream in order. Everything that was written reaches the far end before the end does. It returns
//     nil when the far end has both: where the host's stack made the connection, when the far end's has acknowledged them,
//     and by method 2, when the AP has confirmed them. Until then it blocks, while reads go on; it gives up by itself when
//     the far end took nothing for Request.FinishTime. After an error the stream counts as cut. It is called once, and
//     never on the card's goroutine.
//   - Close without a CloseWrite that succeeded tears the connection: the far end gets a reset, never an orderly end. So
//     it does when the process is killed. After a CloseWrite that succeeded Close is quiet.
//
// Reads may go on after CloseWrite until the far end closes, or end at once where somebody else, as the AP by method 2,
// takes what the far end still sends.
type HalfCloser interface {
	net.Conn
	CloseWrite() error
}

// undeliverer is a connection that can tell how many octets were written to it that the far end has not acknowledged.
type undeliverer interface{ Undelivered() int }

// Dialer makes one connection. A failure is an *Error, or an error of which CauseOf finds the cause. Reads of the
// connection end with io.EOF where the far end closed, writes of a "udp" one are datagrams. That of a "tcp" one is a
// HalfCloser; one that is not can only be torn.
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
