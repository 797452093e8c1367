package bip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"bipd/trace"
)

// Access is what is known of the network that a channel uses: what a PDP context activation would have told.
type Access struct {
	AccessPoint string
	DNS         []netip.Addr
}

// KernelBearer connects through the host's own TCP/IP stack: method 1. The zero value connects without asking anybody.
type KernelBearer struct {
	// Network, where it is set, asks the AP for the network parameters. It returns an *Error where there is no network.
	Network func(ctx context.Context, r Request) (Access, error)
	// Policy, where it is set, says whether the card may make the connection. dns are the DNS servers that it was told
	// of. An error that is no *Error has the cause CauseDenied.
	Policy func(r Request, dns []netip.Addr) error
	// Interface, where it is set, is the network interface that all connections are bound to.
	Interface string
	// ListenOn, where it is valid, is the address on which UICC server mode listens; else that mode is refused.
	ListenOn netip.Addr
	// ListenPorts are the ports that a card may listen on; nil: DefaultListenPorts.
	ListenPorts []PortRange
	// ListenFrom are the addresses that may connect to a card; nil: those of this machine.
	ListenFrom []netip.Prefix
	// DNS names the servers where Network names none.
	DNS   []netip.Addr
	Trace *trace.Stream // may be nil
}

// Method is Method1.
func (b *KernelBearer) Method() trace.Method { return trace.Method1 }

// DNSServers returns those that the AP names, else those of the configuration.
func (b *KernelBearer) DNSServers(ctx context.Context, r Request) ([]netip.Addr, error) {
	if b.Network == nil {
		return b.DNS, nil
	}
	a, err := b.Network(ctx, r)
	if err != nil {
		return nil, err
	}
	return b.serversOf(a), nil
}

func (b *KernelBearer) serversOf(a Access) []netip.Addr {
	if len(a.DNS) == 0 {
		return b.DNS
	}
	return a.DNS
}

// Prepare asks for the network parameters, unless the far end is on the terminal itself.
func (b *KernelBearer) Prepare(ctx context.Context, r Request) Dialer {
	if b.Network == nil || r.OnTerminal {
		return DialerFunc(func(ctx context.Context) (net.Conn, error) { return b.connect(ctx, r, b.DNS) })
	}
	type reply struct {
		Access
		err error
	}
	asked := make(chan reply, 1)
	go func() {
		a, err := b.Network(ctx, r)
		asked <- reply{a, err}
	}()
	return DialerFunc(func(ctx context.Context) (net.Conn, error) {
		select {
		case a := <-asked:
			if a.err != nil {
				return nil, a.err
			}
			return b.connect(ctx, r, b.serversOf(a.Access))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
}

// connect makes a connection that can end in order and by a reset.
func (b *KernelBearer) connect(ctx context.Context, r Request, dns []netip.Addr) (net.Conn, error) {
	conn, err := b.dial(ctx, r, dns)
	if err != nil {
		return nil, err
	}
	return newKernelConn(conn, r.FinishTime)
}

func (b *KernelBearer) dial(ctx context.Context, r Request, dns []netip.Addr) (net.Conn, error) {
	if b.Policy != nil {
		if err := b.Policy(r, dns); err != nil {
			if !errors.As(err, new(*Error)) {
				err = &Error{CauseDenied, err}
			}
			return nil, err
		}
	}
	d := net.Dialer{ControlContext: b.bind}
	if r.Local.IsValid() && !r.Local.IsUnspecified() {
		d.LocalAddr = localAddr(r)
	}
	b.emit(r, "S404", trace.CP, trace.Server, r.Network+" connect to "+r.Remote.String())
	conn, err := d.DialContext(ctx, r.Network, r.Remote.String())
	if err != nil {
		if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = &Error{CauseTimeout, err}
		}
		return nil, err
	}
	b.emit(r, "S405", trace.Server, trace.CP, "connected")
	return conn, nil
}

func (b *KernelBearer) bind(_ context.Context, _, _ string, c syscall.RawConn) error {
	if b.Interface == "" {
		return nil
	}
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), b.Interface) }); cerr != nil {
		return cerr
	}
	return err
}

func localAddr(r Request) net.Addr {
	a := net.IP(r.Local.AsSlice())
	if r.Network == "udp" {
		return &net.UDPAddr{IP: a}
	}
	return &net.TCPAddr{IP: a}
}

func (b *KernelBearer) emit(r Request, step string, from, to trace.Party, what string) {
	if b.Trace.Wanted() {
		b.Trace.Emit(trace.Event{Card: r.Card, Channel: r.Channel, Step: step, From: from, To: to, What: what})
	}
}
