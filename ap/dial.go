package ap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"bipd/egress"
	"bipd/ptylink/at"
)

// DialFunc makes a connection; network is "tcp" or "udp", iface the interface to bind to, if any, and local the address to
// connect from, the zero Addr for any.
type DialFunc func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error)

// dialKernel dials through the host's stack, in the network namespace of the process.
func dialKernel(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if err := prepare(c, network); err != nil || iface == "" {
			return err
		}
		return bindToDevice(c, iface)
	}}
	switch from := netip.AddrPortFrom(local, 0); {
	case !local.IsValid():
	case network == "udp":
		d.LocalAddr = net.UDPAddrFromAddrPort(from)
	default:
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	return d.DialContext(ctx, network, dst.String())
}

// unsent bounds what the kernel takes of a stream ahead of the server, in octets: with megabytes in its queue the CP would
// see no progress for minutes where a slow server takes them.
const unsent = 64 << 10

// prepare has the kernel reset a TCP connection whose process dies, from its making on (see tcpend.ResetOnClose), and bounds its
// queue.
func prepare(c syscall.RawConn, network string) error {
	if network != "tcp" {
		return nil
	}
	var err error
	if ctlErr := c.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent))
	}); ctlErr != nil {
		return ctlErr
	}
	return os.NewSyscallError("setsockopt", err)
}

// bindToDevice keeps a socket on one interface, whatever the routing table prefers.
func bindToDevice(c syscall.RawConn, iface string) error {
	var err error
	if ctlErr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), iface) }); ctlErr != nil {
		return ctlErr
	}
	return os.NewSyscallError("bind to interface "+iface, err)
}

// connect makes a connection for a card, if the egress policy lets it and there is a network. The policy comes first: its
// answer does not depend on the network. The zero Addr stands for any local address.
func (a *AP) connect(ctx context.Context, card, network string, local netip.Addr, dst netip.AddrPort, p Profile) (net.Conn, error) {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if local = local.Unmap(); local.IsUnspecified() {
		local = netip.Addr{}
	}
	r := egress.Request{
		Card: card, Network: network, Destination: dst, Local: local, Profile: p.Name, Interface: p.Interface, DNS: p.DNS,
	}
	if err := a.cfg.Policy.Check(r); err != nil {
		return nil, err
	}
	status, err := a.cfg.Network.Status(ctx, p.Interface)
	if err != nil {
		return nil, err
	}
	if !status.Up {
		return nil, fmt.Errorf("%w: %s", at.ErrNoService, status.Reason)
	}
	return a.cfg.Dial(ctx, network, p.Interface, local, dst)
}

// cmeOf is the answer to the CP for a connection that could not be made, or that broke.
func cmeOf(err error) at.CMEError {
	var cme at.CMEError
	var timeout net.Error
	switch {
	case errors.As(err, &cme):
		return cme
	case errors.As(err, new(*egress.Denied)):
		return at.ErrPolicy
	case errors.As(err, new(*egress.LocalError)):
		return at.ErrLocalAddress
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return at.ErrRefused
	case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENODEV):
		return at.ErrNoService
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTDOWN),
		errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return at.ErrUnreachable // EACCES and EPERM: a prohibiting route or the firewall
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return at.ErrConnectTimeout
	}
	return at.ErrUnknown
}
