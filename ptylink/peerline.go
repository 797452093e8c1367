package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

const (
	// helloTime bounds the closing of a CP's multiplexer as the line is opened.
	helloTime = 200 * time.Millisecond
	// startTime bounds the wait for the CP's SABM after AT+CMUX: gsm0710muxd sends it 2 s later.
	startTime = 10 * time.Second
)

// apName is what ATI and AT+GMI answer.
const apName = "bipd AP"

var errReopened = errors.New("ptylink: the CP has opened the DLC of AT anew")

// serveAT answers on the plain line. It returns *at.Switched with the multiplexer's configuration after AT+CMUX.
func (p *Peer) serveAT(ctx context.Context, line io.ReadWriteCloser) (heard bool, cfg mux.Config, err error) {
	// The CP may still have the multiplexer of an AP before this one.
	hello, cancel := context.WithTimeout(ctx, helloTime)
	_, err = at.WriteContext(hello, line, []byte(closeDown(mux.Responder)))
	cancel()
	if err != nil && hello.Err() == nil {
		return false, cfg, err
	}
	tap := tracer(p.cfg.Tap)
	var check, asked muxCheck // for this command line, and for the next
	s := at.NewServer(at.ServerConfig{Name: apName, Echo: true, Log: p.log, Pace: p.cfg.Pace, Trace: func(received bool, l string) {
		if received {
			heard = true
			check, asked = asked, muxCheck{}
		}
		if tap != nil {
			tap(received, l)
		}
	}})
	p.register(s)
	s.Handle(nameMuxCheck, func(_ context.Context, c at.Command) (_ []string, err error) {
		if asked, err = parseMuxCheck(c); err != nil {
			return nil, err
		}
		return asked.lines()
	}, muxCheckUsage)
	s.Handle(nameCMUX, func(_ context.Context, c at.Command) ([]string, error) {
		speed := lineSpeed(line)
		wanted, err := parseCMUX(c, p.cfg.Mux, speed)
		if err != nil {
			return nil, err
		}
		if cfg, err = check.apply(paced(wanted, speed), c); err != nil {
			return nil, err
		}
		return nil, at.ErrSwitch
	}, cmuxUsage)
	defer p.setServer(s)()
	err = s.Serve(ctx, line)
	return heard, cfg, err
}

func (p *Peer) register(s *at.Server) {
	for name, h := range p.handlers {
		s.Handle(name, h, usages[name])
	}
}

// serveMux runs the multiplexer until it ends or ctx ends: AT on its DLC, the channels to Channel. nil is an orderly end.
func (p *Peer) serveMux(ctx context.Context, line io.ReadWriteCloser, cfg mux.Config) error {
	m := mux.New(line, cfg)
	defer m.Close()
	start, cancel := context.WithTimeout(ctx, startTime)
	err := m.Start(start)
	cancel()
	if err != nil {
		return fmt.Errorf("multiplexer does not start: %w", err)
	}
	p.log.Info("multiplexer started", "n1", cfg.N1, "advanced", cfg.Advanced, "payload_check", cfg.Check)
	ctx, cancel = context.WithCancel(ctx)
	var servers sync.WaitGroup
	endAT := func() {}
	for {
		d, err := m.Accept(ctx)
		if err != nil {
			break
		}
		switch n := d.DLCI() - dlcAT; {
		case n == 0: // opened anew: nobody hears the answers of the one before, which must not pile up behind Pace
			endAT()
			serving, end := context.WithCancelCause(ctx)
			ended := make(chan struct{})
			endAT = func() {
				end(errReopened)
				<-ended
			}
			servers.Go(func() {
				defer close(ended)
				p.serveDLC(serving, d)
			})
		case n <= MaxChannel:
			p.offer(d)
		default:
			p.log.Warn("the CP opened a DLC that has no use", "dlci", d.DLCI())
			d.Close()
		}
	}
	m.Close()
	cancel()
	endAT()
	p.withdraw()
	servers.Wait()
	return m.Err()
}

// serveDLC answers commands on the DLC that carries AT.
func (p *Peer) serveDLC(ctx context.Context, d *mux.DLC) {
	defer d.Close()
	s := at.NewServer(at.ServerConfig{Name: apName, Log: p.log, Pace: p.cfg.Pace, Trace: tracer(p.cfg.Tap)})
	p.register(s)
	defer p.setServer(s)()
	err := s.Serve(ctx, d)
	p.log.Debug("AT ended on its DLC", "error", err)
}
