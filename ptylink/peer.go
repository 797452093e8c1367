package ptylink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// PeerConfig is the set-up of the AP's end of a line.
type PeerConfig struct {
	Name string // of the line, in logs
	// Open opens the line anew: a TTY, or whatever has Close that ends a waiting Read and Write. It should have deadlines.
	Open func(ctx context.Context) (io.ReadWriteCloser, error)
	// Mux describes the multiplexer as in LinkConfig; mode, N1 and timers that the CP's AT+CMUX names come before it, and
	// the CP says whether there is a payload check.
	Mux mux.Config
	Log *slog.Logger // nil: no log
	// Down is called when a line on which a CP was heard is lost: every channel has ended. Run waits for it.
	Down func(err error)
	// Pace is that of at.ServerConfig; may be nil.
	Pace func(ctx context.Context) error
	// Tap gets every AT line, passwords masked; of a line that cannot be read only its length. It must not block.
	Tap func(dir Direction, line string)
}

// Peer is the AP's end of a line: it answers the CP's commands on the plain line and, once the CP has started the
// multiplexer, on DLC 1, and gives out the channels that the CP opens.
type Peer struct {
	cfg      PeerConfig
	log      *slog.Logger
	handlers map[string]at.HandlerFunc

	mu      sync.Mutex
	server  *at.Server // answers the CP now; nil: nobody does
	opened  [MaxChannel + 1]*mux.DLC
	changed chan struct{} // closed and renewed when opened gains a DLC
}

// NewPeer makes a Peer; commands are registered before Run.
func NewPeer(cfg PeerConfig) *Peer {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	log := cfg.Log.With("line", cfg.Name)
	cfg.Mux = muxConfig(cfg.Mux, mux.Responder, log)
	return &Peer{cfg: cfg, log: log, handlers: make(map[string]at.HandlerFunc), changed: make(chan struct{})}
}

// Handle registers a command. Its test form answers the usage that this package has of the CP's commands. The handler's
// context ends when the line is lost, or AT's DLC is opened anew, in multiplexer mode, else with Run's. While it runs no other command is answered; it
// must end with its context, for Run waits for it. A bad name or one taken panics, as in at.Server.
func (p *Peer) Handle(name string, h at.HandlerFunc) {
	check := at.NewServer(at.ServerConfig{})
	p.register(check)
	check.Handle(nameCMUX, h, "") // taken
	check.Handle(nameMuxCheck, h, "")
	check.Handle(name, h, "")
	p.handlers[name] = h
}

// Run answers the CP until ctx ends, opening the line again whenever it is lost, then closes it and returns nil. It is
// called once.
func (p *Peer) Run(ctx context.Context) error {
	wait := newBackoff(0)
	said := ""
	for ctx.Err() == nil {
		heard, err := p.attempt(ctx)
		switch {
		case heard:
			said = ""
			wait.reset()
			p.down(ctx, err)
		case err != nil && ctx.Err() == nil && err.Error() != said:
			said = err.Error()
			p.log.Warn("line is not there", "error", err)
		}
		if wait.wait(ctx) != nil {
			break
		}
	}
	return nil
}

func (p *Peer) down(ctx context.Context, err error) {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if err == nil {
		err = errEnded
	}
	p.log.Info("line down", "error", err)
	if p.cfg.Down != nil {
		p.cfg.Down(err)
	}
}

// Channel waits until the CP opens the DLC of channel n, 1..7, and gives it once; it goes on waiting while the line is
// down. For a channel of datagrams wrap it by NewDatagramConn. A DLC that nobody took when the CP opens the next is closed.
func (p *Peer) Channel(ctx context.Context, n int) (*mux.DLC, error) {
	if n < 1 || n > MaxChannel {
		return nil, fmt.Errorf("%w: %d is not in 1..%d", at.ErrNoChannel, n, MaxChannel)
	}
	for {
		p.mu.Lock()
		d, changed := p.opened[n], p.changed
		p.opened[n] = nil
		p.mu.Unlock()
		if d != nil {
			return d, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// offer has Channel give out a DLC.
func (p *Peer) offer(d *mux.DLC) {
	n := d.DLCI() - dlcAT
	p.mu.Lock()
	old := p.opened[n]
	p.opened[n] = d
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

// withdraw takes back what Channel has not given out.
func (p *Peer) withdraw() {
	p.mu.Lock()
	opened := p.opened
	p.opened = [MaxChannel + 1]*mux.DLC{}
	p.mu.Unlock()
	for _, d := range opened {
		if d != nil {
			d.Close()
		}
	}
}

// Notify sends an unsolicited result code between transactions. It never blocks; while the line is down the code is
// dropped, since the CP asks anew when it has come up.
func (p *Peer) Notify(line string) {
	p.mu.Lock()
	s := p.server
	p.mu.Unlock()
	if s != nil {
		s.Notify(line)
	}
}

// setServer makes s the one that answers, and gives what to call at its end.
func (p *Peer) setServer(s *at.Server) (end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = s
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.server == s {
			p.server = nil
		}
	}
}

// attempt is one life of the line: AT, then the multiplexer if the CP asks for it. heard tells that there was a CP.
func (p *Peer) attempt(ctx context.Context) (heard bool, err error) {
	line, err := p.cfg.Open(ctx)
	if err != nil {
		return false, err
	}
	heard, cfg, err := p.serveAT(ctx, line)
	var sw *at.Switched
	if errors.As(err, &sw) && ctx.Err() == nil {
		return true, p.serveMux(ctx, &restLine{line, sw.Rest}, cfg)
	}
	line.Close()
	return heard, err
}
