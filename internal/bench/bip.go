package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"bipd/cat"
	"bipd/egress"
	"bipd/internal/cp"
	"bipd/softuicc"
	"bipd/trace"
)

// block is the data of one RECEIVE DATA cycle, the most that fits.
const block = cat.MaxReceive

func bipFigures() []figure {
	return []figure{
		{name: "bip.cycle", unit: "us", peer: "237-byte reads of a loopback TCP connection", prepare: func(context.Context) (stand, error) {
			l, err := source()
			if err != nil {
				return stand{}, err
			}
			return stand{
				ours:  func(ctx context.Context, span time.Duration) (float64, error) { return cycle(ctx, l.Addr(), nil, span) },
				peer:  func(ctx context.Context, span time.Duration) (float64, error) { return bareReads(ctx, l.Addr(), span) },
				close: func() { l.Close() },
			}, nil
		}},
		{name: "trace.cost", unit: "us", peer: "bip.cycle without a subscriber", prepare: func(context.Context) (stand, error) {
			l, err := source()
			if err != nil {
				return stand{}, err
			}
			return stand{
				ours: func(ctx context.Context, span time.Duration) (float64, error) {
					stream := &trace.Stream{Source: "bench"}
					sub := stream.Subscribe(1 << 12)
					drained := make(chan struct{})
					go func() {
						defer close(drained)
						for range sub.C {
						}
					}()
					defer func() { sub.Close(); <-drained }()
					return cycle(ctx, l.Addr(), stream, span)
				},
				peer: func(ctx context.Context, span time.Duration) (float64, error) {
					return cycle(ctx, l.Addr(), &trace.Stream{Source: "bench"}, span)
				},
				close: func() { l.Close() },
			}, nil
		}},
	}
}

// source is a server on loopback that sends to each client without end.
func source() (net.Listener, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for p := make([]byte, 64<<10); ; {
					if _, err := c.Write(p); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l, nil
}

// cycle runs a card whose applet reads from addr for the span, through a whole CP with method 1. The value is
// microseconds for each 237 octets: one FETCH and one TERMINAL RESPONSE.
func cycle(ctx context.Context, addr net.Addr, stream *trace.Stream, span time.Duration) (us float64, err error) {
	policy, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8"}}}})
	if err != nil {
		return 0, err
	}
	card, err := softuicc.New(softuicc.Config{
		ThinkTime: time.Minute, // a late applet is not to wait for the next poll
		Applets: []softuicc.Applet{func(ctx context.Context, tk *softuicc.Toolkit) error {
			us, err = readForSpan(ctx, tk, addr, span)
			return err
		}},
	})
	if err != nil {
		return 0, err
	}
	reader := softuicc.NewReader("bench")
	if err := reader.Insert(card); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- cp.New(cp.Config{Name: "bench", Reader: reader, Policy: policy, Trace: stream}).Run(ctx)
	}()
	err = card.Wait(ctx)
	cancel()
	<-done
	return us, errors.Join(err, card.Close())
}

// readForSpan is the applet: after some blocks of warming up it reads until the span is over.
func readForSpan(ctx context.Context, tk *softuicc.Toolkit, addr net.Addr, span time.Duration) (float64, error) {
	server := addr.(*net.TCPAddr).AddrPort()
	dst := netip.AddrFrom4(server.Addr().As4())
	opened, err := tk.OpenChannel(ctx, &cat.OpenChannel{
		Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1500,
		Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: server.Port()}, Destination: &dst,
	}, cat.OpenImmediate)
	if err != nil {
		return 0, err
	}
	p := make([]byte, block)
	read := func(octets int) (got int, err error) {
		for got < octets && err == nil {
			var n int
			n, _, err = tk.ReceiveData(ctx, opened.Status.Channel, p)
			got += n
		}
		return got, err
	}
	if _, err := read(200 * block); err != nil {
		return 0, err
	}
	octets := 0
	start := time.Now()
	for time.Since(start) < span {
		n, err := read(50 * block)
		if err != nil {
			return 0, err
		}
		octets += n
	}
	return microseconds(time.Since(start)) / (float64(octets) / block), tk.CloseChannel(ctx, opened.Status.Channel, 0)
}

// bareReads is the peer: the same connection, read in blocks of the same size.
func bareReads(ctx context.Context, addr net.Addr, span time.Duration) (float64, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	p := make([]byte, block)
	blocks := 0
	start := time.Now()
	for time.Since(start) < span {
		for range 50 {
			if _, err := io.ReadFull(c, p); err != nil {
				return 0, fmt.Errorf("bare reads: %w", err)
			}
		}
		blocks += 50
	}
	return microseconds(time.Since(start)) / float64(blocks), nil
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
