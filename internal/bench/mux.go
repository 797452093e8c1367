package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/mux"
)

// frames are the longest information fields of the figures, in octets.
var frames = []int{31, 127, 512, 1500}

// rawSize is the size of writes at which a bare pty is fastest.
const rawSize = 64 << 10

// ptyRounds are so many because the rate of a pty, bare or not, hangs on which processor its goroutines and the kernel's
// worker happen to be on: the same pty gives 50 MB/s in one round and 150 in the next.
const ptyRounds = 25

func muxFigures() []figure {
	list := []figure{{
		name: "mux.raw", unit: "MB/s", peer: "4096-byte writes to a bare pty", rounds: ptyRounds,
		prepare: func(context.Context) (stand, error) { return rawStand() },
	}}
	for _, dlcs := range []int{1, 7} {
		for _, n1 := range frames {
			name := fmt.Sprintf("mux.n%d", n1)
			if dlcs > 1 {
				name += fmt.Sprintf("_dlcs%d", dlcs)
			}
			list = append(list, figure{
				name: name, unit: "MB/s", peer: "a bare pty at its best, 65536-byte writes",
				rounds:  ptyRounds,
				prepare: func(ctx context.Context) (stand, error) { return muxStand(ctx, n1, dlcs) },
			})
		}
	}
	return append(list,
		figure{
			name: "mux.at_latency", unit: "us", peer: "the same line and answer over an idle bare pty",
			prepare: func(ctx context.Context) (stand, error) { return latencyStand(ctx, 0) },
		},
		figure{
			name: "mux.at_latency_loaded", unit: "us", peer: "the same line and answer over an idle bare pty",
			prepare: func(ctx context.Context) (stand, error) { return latencyStand(ctx, 7) },
		},
		figure{
			name: "mux.share115200", unit: "%", peer: "a bare line; N1 512", rounds: 1,
			prepare: func(ctx context.Context) (stand, error) { return shareStand(ctx, false) },
		},
		figure{
			name: "mux.share115200_checked", unit: "%", peer: "a bare line; N1 512, payload check on", rounds: 1,
			prepare: func(ctx context.Context) (stand, error) { return shareStand(ctx, true) },
		},
	)
}

// line is a pty, as it lies between bipd and apd: the master is the CP's end, the slave the AP's.
func line() (cp, ap io.ReadWriteCloser, err error) {
	pty, err := ptylink.OpenPTY(ptylink.PTYConfig{})
	if err != nil {
		return nil, nil, err
	}
	tty, err := ptylink.OpenTTY(pty.Slave(), ptylink.TTYConfig{})
	if err != nil {
		return nil, nil, errors.Join(err, pty.Close())
	}
	return pty, tty, nil
}

// pair is a multiplexer at both ends of a pty.
type pair struct{ cp, ap *mux.Mux }

func newPair(ctx context.Context, n1 int) (*pair, error) {
	master, slave, err := line()
	if err != nil {
		return nil, err
	}
	return pairOn(ctx, master, slave, mux.Config{N1: n1})
}

// pairOn starts a multiplexer at both ends of a line.
func pairOn(ctx context.Context, cp, ap io.ReadWriteCloser, cfg mux.Config) (*pair, error) {
	far := cfg
	far.Role = mux.Responder
	p := &pair{mux.New(cp, cfg), mux.New(ap, far)}
	started := make(chan error, 1)
	go func() { started <- p.ap.Start(ctx) }()
	if err := errors.Join(p.cp.Start(ctx), <-started); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pair) close() {
	p.cp.Close()
	p.ap.Close()
}

// open opens a DLC and returns both ends of it.
func (p *pair) open(ctx context.Context, dlci int) (cp, ap *mux.DLC, err error) {
	accepted := make(chan error, 1)
	go func() {
		var err error
		ap, err = p.ap.Accept(ctx)
		accepted <- err
	}()
	cp, err = p.cp.Open(ctx, dlci)
	return cp, ap, errors.Join(err, <-accepted)
}

// rawStand is a bare pty, by large writes and by small ones.
func rawStand() (stand, error) {
	cp, ap, err := line()
	if err != nil {
		return stand{}, err
	}
	return stand{ours: rate(ap, cp, rawSize), peer: rate(ap, cp, 4096), close: func() { ap.Close(); cp.Close() }}, nil
}

// muxStand is a download: the AP's end writes to the DLCs, the CP's end reads.
func muxStand(ctx context.Context, n1, dlcs int) (stand, error) {
	p, err := newPair(ctx, n1)
	if err != nil {
		return stand{}, err
	}
	var streams []measurement
	for i := range dlcs {
		cp, ap, err := p.open(ctx, 2+i)
		if err != nil {
			p.close()
			return stand{}, err
		}
		streams = append(streams, rate(ap, cp, rawSize))
	}
	rawCP, rawAP, err := line()
	if err != nil {
		p.close()
		return stand{}, err
	}
	return stand{
		ours:  together(streams),
		peer:  rate(rawAP, rawCP, rawSize),
		close: func() { p.close(); rawAP.Close(); rawCP.Close() },
	}, nil
}

// together is the sum of rates that are measured at the same time.
func together(list []measurement) measurement {
	return func(ctx context.Context, span time.Duration) (float64, error) {
		values, errs := make([]float64, len(list)), make([]error, len(list))
		var all sync.WaitGroup
		for i, m := range list {
			all.Go(func() { values[i], errs[i] = m(ctx, span) })
		}
		all.Wait()
		total := 0.0
		for _, v := range values {
			total += v
		}
		return total, errors.Join(errs...)
	}
}

// countedLine counts the octets written to a line.
type countedLine struct {
	net.Conn
	octets atomic.Int64
}

func (l *countedLine) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	l.octets.Add(int64(n))
	return n, err
}

// shareStand is what of a serial port's octets is payload, frame by frame as at 115200 bit/s; octets are counted, not timed.
func shareStand(ctx context.Context, check bool) (stand, error) {
	const n1, size = 512, 1 << 20
	a, b := net.Pipe()
	l := &countedLine{Conn: b}
	p, err := pairOn(ctx, a, l, mux.Config{N1: n1, Check: check, WriteSize: 1})
	if err != nil {
		return stand{}, err
	}
	cp, ap, err := p.open(ctx, 2)
	if err != nil {
		p.close()
		return stand{}, err
	}
	share := func(context.Context, time.Duration) (float64, error) {
		before := l.octets.Load()
		written := make(chan error, 1)
		go func() { _, err := ap.Write(make([]byte, size)); written <- err }()
		_, err := io.CopyN(io.Discard, cp, size)
		return 100 * size / float64(l.octets.Load()-before), errors.Join(err, <-written)
	}
	bare := func(context.Context, time.Duration) (float64, error) { return 100, nil } // nothing but payload
	return stand{ours: share, peer: bare, close: p.close}, nil
}

// rate measures MB/s from one end to the other, in writes of the size. The last octet written is one, which ends the measurement.
func rate(from io.Writer, to io.Reader, size int) measurement {
	return func(_ context.Context, span time.Duration) (float64, error) {
		start := time.Now()
		written := make(chan error, 1)
		go func() {
			block := make([]byte, size)
			var err error
			for err == nil && time.Since(start) < span {
				_, err = from.Write(block)
			}
			if err == nil {
				_, err = from.Write([]byte{1})
			}
			written <- err
		}()
		buf := make([]byte, 32<<10)
		got := 0
		for {
			n, err := to.Read(buf)
			if err != nil {
				return 0, err
			}
			if got += n; n > 0 && buf[n-1] == 1 {
				break
			}
		}
		return float64(got) / 1e6 / time.Since(start).Seconds(), <-written
	}
}

var question, answer = []byte("AT%NETSTAT?\r"), []byte("\r\n%NETSTAT: 1,1,\"wlan0\"\r\n\r\nOK\r\n")

// latencyStand is an AT command's way there and its answer's way back on DLC 1, while so many data DLCs carry data both ways
// as fast as they can.
func latencyStand(ctx context.Context, loaded int) (stand, error) {
	p, err := newPair(ctx, 512)
	if err != nil {
		return stand{}, err
	}
	cp, ap, err := p.open(ctx, 1)
	var data []*mux.DLC
	for i := 0; i < loaded && err == nil; i++ {
		var near, far *mux.DLC
		near, far, err = p.open(ctx, 2+i)
		data = append(data, near, far)
	}
	var rawCP, rawAP io.ReadWriteCloser
	if err == nil {
		rawCP, rawAP, err = line()
	}
	if err != nil {
		p.close()
		return stand{}, err
	}
	var running sync.WaitGroup
	for _, end := range data {
		running.Go(func() { io.Copy(io.Discard, end) })
		running.Go(func() {
			for block := make([]byte, 4096); ; {
				if _, err := end.Write(block); err != nil {
					return
				}
			}
		})
	}
	running.Go(func() { answerAT(ap) })
	running.Go(func() { answerAT(rawAP) })
	return stand{
		ours:  roundTrips(cp),
		peer:  roundTrips(rawCP),
		close: func() { p.close(); rawAP.Close(); rawCP.Close(); running.Wait() },
	}, nil
}

func answerAT(end io.ReadWriter) {
	for buf := make([]byte, len(question)); ; {
		if _, err := io.ReadFull(end, buf); err != nil {
			return
		}
		if _, err := end.Write(answer); err != nil {
			return
		}
	}
}

// roundTrips measures microseconds from the question to the last octet of the answer.
func roundTrips(end io.ReadWriter) measurement {
	return func(_ context.Context, span time.Duration) (float64, error) {
		buf := make([]byte, len(answer))
		n := 0
		start := time.Now()
		for time.Since(start) < span {
			if _, err := end.Write(question); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(end, buf); err != nil {
				return 0, err
			}
			n++
		}
		return microseconds(time.Since(start)) / float64(n), nil
	}
}
