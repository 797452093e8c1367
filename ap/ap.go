// Package ap is the application processor's side of the Bearer Independent Protocol: it answers the AT commands of the
// communication processors (CP) on their lines, holds the network profiles with their credentials, and is the proxy
// that opens TCP and UDP connections for the cards and couples each with its data link connection (DLC).
package ap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bipd/egress"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// Config is what an AP works with. The zero value has no profiles, hence no network; the other defaults are usable.
type Config struct {
	Profiles *Profiles
	Policy   *egress.Policy // nil: the defaults of package egress
	Network  Network        // nil: Interfaces
	// DialTimeout bounds the making of a connection; 0: 20 s. The line's AT commands wait that long, so it must be shorter
	// than the CP waits for the answer.
	DialTimeout time.Duration
	// Linger is how long a connection that the CP has closed may take to send what it holds and wait for the server's
	// FIN; 0: 2 s.
	Linger time.Duration
	// NetworkEvery is how often the network is looked at to tell a change of it; 0: 5 s.
	NetworkEvery time.Duration
	Dial         DialFunc // nil: the host's stack
	Log          *slog.Logger
	Trace        *trace.Stream // nil: none
}

// AP serves any number of lines.
type AP struct {
	cfg      Config
	log      *slog.Logger
	openWait time.Duration // see the constant
}

// New makes an AP.
func New(cfg Config) *AP {
	if cfg.Network == nil {
		cfg.Network = Interfaces{}
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 20 * time.Second
	}
	if cfg.Linger <= 0 {
		cfg.Linger = 2 * time.Second
	}
	if cfg.NetworkEvery <= 0 {
		cfg.NetworkEvery = 5 * time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = dialKernel
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &AP{cfg: cfg, log: cfg.Log, openWait: openWait}
}

// ServeLine answers one CP until ctx ends; it may run for several lines at once, each with channels 1 to 7 of its own.
// cfg.Name is the line's name in logs, trace and the card patterns of the egress rules. When the line goes down all its
// connections are closed, before cfg.Down is called; they are gone when ServeLine returns.
//
// The commands and their answers are those of package ptylink: AT%GETNET, AT%WEBOPCH, AT%WEBCLCH (OK once the CP's data is
// with the server and FIN is sent) and AT%NETSTAT?. AT%WEBLSTN, UICC server mode, is answered by error 4: the proxy does
// not offer it.
//
// A connection that breaks is told by %WEBSTAT: <ch>,<state>,<cause> before its DLC is closed, a change of the default
// profile's network by %NETSTAT. The CP gives up a connection that is being made by closing its DLC.
func (a *AP) ServeLine(ctx context.Context, cfg ptylink.PeerConfig) error {
	l := newLine(a, cfg.Name)
	if cfg.Log == nil {
		cfg.Log = a.log
	}
	down := cfg.Down
	cfg.Down = func(err error) {
		l.drop(errLineDown)
		if down != nil {
			down(err)
		}
	}
	peer := ptylink.NewPeer(cfg)
	l.notify = peer.Notify
	peer.Handle("%GETNET", l.getNet)
	peer.Handle("%WEBOPCH", l.webOpen)
	peer.Handle("%WEBCLCH", l.webClose)
	peer.Handle("%WEBLSTN", l.webListen)
	peer.Handle("%NETSTAT", l.netStat)

	ctx, cancel := context.WithCancel(ctx)
	var tending sync.WaitGroup
	for n := 1; n <= ptylink.MaxChannel; n++ {
		tending.Go(func() { l.accept(ctx, n, peer.Channel) })
	}
	tending.Go(func() { l.sweep(ctx) })
	tending.Go(func() { l.tellChanges(ctx) })
	err := peer.Run(ctx)
	cancel()
	tending.Wait()
	l.drop(errLineDown)
	l.running.Wait()
	return err
}

// Why a connection ended, where it is not an error of its socket.
var (
	errLineDown  = errors.New("the line is down")
	errClosedCP  = errors.New("closed by the CP")
	errClosedSrv = errors.New("closed by the server")
	errLostCP    = errors.New("the DLC is lost")
	errStalled   = errors.New("closed while the server did not read: data is lost")
	errGivenUp   = fmt.Errorf("%w: the CP has closed it", at.ErrNoChannel)
	errReopened  = errors.New("the CP has opened the channel anew")
)
