package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/mux"
)

// frames are the longest information fields of the figures, in octets.
var frames = []int{31, 127, 512, 1500}

func muxFigures() []figure {
	var list []figure
	for _, n1 := range frames {
		list = append(list, figure{
			name: fmt.Sprintf("mux.n%d", n1), unit: "MB/s", peer: "4096-byte writes to a bare pty",
			prepare: func(ctx context.Context) (stand, error) { return muxStand(ctx, n1) },
		})
	}
	return append(list, figure{
		name: "mux.at_latency", unit: "us", peer: "the same line and answer over an idle bare pty", prepare: latencyStand,
	})
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
	p := &pair{mux.New(master, mux.Config{Role: mux.Initiator, N1: n1}), mux.New(slave, mux.Config{Role: mux.Responder, N1: n1})}
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

// muxStand is a download: the AP's end writes to one DLC, the CP's end reads.
func muxStand(ctx context.Context, n1 int) (stand, error) {
	p, err := newPair(ctx, n1)
	if err != nil {
		return stand{}, err
	}
	cp, ap, err := p.open(ctx, 2)
	if err != nil {
		p.close()
		return stand{}, err
	}
	rawCP, rawAP, err := line()
	if err != nil {
		p.close()
		return stand{}, err
	}
	return stand{
		ours:  rate(ap, cp, 4096),
		peer:  rate(rawAP, rawCP, 4096),
		close: func() { p.close(); rawAP.Close(); rawCP.Close() },
	}, nil
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

// latencyStand is an AT command's way there and its answer's way back on DLC 1, while DLC 2 carries data both ways as fast as it can.
func latencyStand(ctx context.Context) (stand, error) {
	p, err := newPair(ctx, 512)
	if err != nil {
		return stand{}, err
	}
	cp, ap, err := p.open(ctx, 1)
	var dataCP, dataAP *mux.DLC
	if err == nil {
		dataCP, dataAP, err = p.open(ctx, 2)
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
	for _, end := range []*mux.DLC{dataCP, dataAP} {
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
