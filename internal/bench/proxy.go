package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"bipd/ap"
	"bipd/egress"
	"bipd/ptylink"
)

func proxyFigures() []figure {
	return []figure{
		{name: "proxy.rate", unit: "MB/s", peer: "32 KiB reads of the server's loopback connection", prepare: proxyStand},
		{name: "proxy.policy_cost", unit: "ns", peer: "listing the host's addresses", prepare: policyStand},
	}
}

// network is an AP's access to the network that is always there.
type network struct{}

func (network) Status(_ context.Context, iface string) (ap.Status, error) {
	return ap.Status{Up: true, Interface: iface}, nil
}

// proxyStand is an AP and a CP's line to it, joined by a pipe, and a server that sends without end.
func proxyStand(ctx context.Context) (stand, error) {
	l, err := source()
	if err != nil {
		return stand{}, err
	}
	policy, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8"}}}})
	if err != nil {
		return stand{}, err
	}
	profiles, err := ap.NewProfiles([]ap.Profile{{Name: "bench", Default: true}})
	if err != nil {
		return stand{}, err
	}
	cpEnd, apEnd := net.Pipe()
	up := make(chan bool, 8)
	link := ptylink.NewLink(ptylink.LinkConfig{Name: "bench", Open: once(cpEnd), State: func(is bool, _ error) { up <- is }})
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { link.Run(ctx) })
	running.Go(func() {
		ap.New(ap.Config{Policy: policy, Profiles: profiles, Network: network{}}).ServeLine(ctx, ptylink.PeerConfig{Name: "bench", Open: once(apEnd)})
	})
	end := func() { cancel(); l.Close(); running.Wait() }
	conn, err := openByProxy(ctx, link, up, l.Addr())
	if err != nil {
		end()
		return stand{}, err
	}
	direct, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		end()
		return stand{}, err
	}
	return stand{
		ours: readRate(conn), peer: readRate(direct),
		close: func() { direct.Close(); end() },
	}, nil
}

// once opens a line that cannot be opened again.
func once(end io.ReadWriteCloser) func(context.Context) (io.ReadWriteCloser, error) {
	ends := make(chan io.ReadWriteCloser, 1)
	ends <- end
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		select {
		case e := <-ends:
			return e, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// openByProxy opens channel 1 once the line is up.
func openByProxy(ctx context.Context, link *ptylink.Link, up <-chan bool, server net.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case is := <-up:
		if !is {
			return nil, errors.New("the line to the AP does not come up")
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("the line to the AP does not come up: %w", ctx.Err())
	}
	conn, err := link.OpenChannel(ctx, 1)
	if err != nil {
		return nil, err
	}
	_, err = link.WebOpenChannel(ctx, ptylink.WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort(server.String()), Buffer: 1500})
	return conn, err
}

// readRate measures MB/s of what comes in.
func readRate(c net.Conn) measurement {
	return func(_ context.Context, span time.Duration) (float64, error) {
		buf := make([]byte, 32<<10)
		octets := 0
		start := time.Now()
		for time.Since(start) < span {
			n, err := c.Read(buf)
			if err != nil {
				return 0, err
			}
			octets += n
		}
		return float64(octets) / 1e6 / time.Since(start).Seconds(), nil
	}
}

// policyStand is one check as the daemons make it: they ask the kernel for the route to the destination each time, and for
// the host's addresses and routes only after a change. The peer lists the host's addresses.
func policyStand(context.Context) (stand, error) {
	var rules []egress.Rule
	for i := range 10 {
		rules = append(rules, egress.Rule{Action: "deny", Prefix: []string{fmt.Sprintf("198.18.%d.0/24", i)}, Ports: []string{"1-1024"}})
	}
	policy, err := egress.New(egress.Config{Rules: rules})
	if err != nil {
		return stand{}, err
	}
	dst := netip.MustParseAddrPort("192.88.100.1:443")
	return stand{
		ours: perItem(1, func() error { return policy.Check(egress.Request{Card: "bench", Network: "tcp", Destination: dst}) }),
		peer: perItem(1, func() error {
			_, err := net.InterfaceAddrs()
			return err
		}),
	}, nil
}
