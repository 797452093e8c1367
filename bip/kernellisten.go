package bip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"
)

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Contains reports whether the port is in the range.
func (r PortRange) Contains(port uint16) bool { return port >= r.First && port <= r.Last }

// DefaultListenPorts are those of no privileged service, from 1024 on, without those that the system gives out by itself
// (ip_local_port_range): a card that listened there would meet other programs' connections.
func DefaultListenPorts() []PortRange {
	var first, last uint16
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(string(text), &first, &last)
	}
	if err != nil || first > last {
		first, last = 32768, 60999 // the kernel's default
	}
	var list []PortRange
	if first > 1024 {
		list = append(list, PortRange{1024, first - 1})
	}
	if last < 65535 {
		list = append(list, PortRange{max(1024, last+1), 65535})
	}
	return list
}

// clientKeepAlive finds out in 35 s whether a client that is silent is still there: one that has gone without a word would
// keep the others waiting for ever.
var clientKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 4}

// Listen listens on the port that the card wants.
func (b *KernelBearer) Listen(ctx context.Context, r Request) (net.Listener, error) {
	if !b.ListenOn.IsValid() {
		return nil, &Error{CauseTransport, errors.New("UICC server mode is switched off")}
	}
	ports, port := b.ListenPorts, r.Remote.Port()
	if ports == nil {
		ports = DefaultListenPorts()
	}
	if port == 0 || !slices.ContainsFunc(ports, func(r PortRange) bool { return r.Contains(port) }) {
		return nil, &Error{CausePort, fmt.Errorf("cards may not listen on port %d", port)}
	}
	lc := net.ListenConfig{KeepAliveConfig: clientKeepAlive}
	l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(b.ListenOn, port).String())
	if err != nil {
		return nil, err
	}
	return &kernelListener{l, b.ListenFrom, r.FinishTime}, nil
}

// kernelListener accepts connections from addresses that may connect, as HalfClosers.
type kernelListener struct {
	net.Listener
	from       []netip.Prefix // nil: this machine
	finishTime time.Duration
}

// Accept waits for the next connection. One that may not be is reset, and is an *Error with CauseDenied.
func (l *kernelListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	half, err := newKernelConn(conn, l.finishTime)
	if err == nil && !l.mayConnect(conn) {
		half.Close()
		return nil, &Error{CauseDenied, fmt.Errorf("%v may not connect to cards", conn.RemoteAddr())}
	}
	return half, err
}

func (l *kernelListener) mayConnect(conn net.Conn) bool {
	remote := remoteOf(conn).Addr().Unmap().WithZone("")
	if l.from == nil {
		local, ok := conn.LocalAddr().(*net.TCPAddr)
		return remote.IsLoopback() || ok && local.AddrPort().Addr().Unmap().WithZone("") == remote
	}
	return slices.ContainsFunc(l.from, func(p netip.Prefix) bool { return p.Contains(remote) })
}
