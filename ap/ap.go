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
	"sync/atomic"
	"time"

	"bipd/egress"
	"bipd/limits"
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
	// FinishTime is how long a connection that the CP has closed waits for a server that takes nothing more, or does not
	// close its side: then one that has taken everything is closed, another reset; 0: 30 s. See also Wait.
	FinishTime time.Duration
	// NetworkEvery is how often the network is looked at to tell a change of it; 0: 5 s.
	NetworkEvery time.Duration
	Dial         DialFunc // nil: the host's stack
	Limits       Limits   // of each line
	Log          *slog.Logger
	Trace        *trace.Stream // nil: none
}

// AP serves any number of lines.
type AP struct {
	cfg      Config
	log      *slog.Logger
	openWait time.Duration // see the constant

	finishing sync.WaitGroup // connections that the CP has ended in order
	waiting   atomic.Bool    // for the end of those

	limits limits.Kept[*lineLimits] // by line

	mu       sync.Mutex
	finishes map[string]int // how many of finishing a line has or had; it may be gone
}

// New makes an AP.
func New(cfg Config) *AP {
	if cfg.Network == nil {
		cfg.Network = Interfaces{}
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 20 * time.Second
	}
	if cfg.FinishTime <= 0 {
		cfg.FinishTime = 30 * time.Second
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
	return &AP{cfg: cfg, log: cfg.Log, openWait: openWait, finishes: map[string]int{}}
}

// ServeLine answers one CP until ctx ends; it may run for several lines at once, each with channels 1 to 7 of its own.
// cfg.Name is the line's name in logs, trace and the card patterns of the egress rules. When the line goes down its
// connections are reset, before cfg.Down is called; they are gone when ServeLine returns. Those that the CP has ended in
// order go on until the server has everything, see Wait. What is of the line is logged by cfg.Log.
//
// The commands and their answers are those of package ptylink: AT%GETNET, AT%WEBOPCH, AT%WEBCLCH, AT%WEBSTAT and
// AT%NETSTAT?. AT%WEBLSTN, UICC server mode, is answered by error 4: the proxy does not offer it.
//
// The CP ends a connection by closing its DLC in order (DISC): what it sent before goes to the server, then FIN. AT%WEBCLCH
// says before that it will: the answer is OK at once, and what the server still sends is dropped. Every other end of the
// DLC or the line resets the connection, as the kernel does when the process is killed.
//
// A server that has ended its direction is told by %WEBSTAT with the number of octets that it sent, where the CP asked for
// it by AT%WEBSTAT=1, and can still be sent to; else the DLC is closed and the connection reset. A connection that breaks is
// told by %WEBSTAT: <ch>,<state>,<cause> before its DLC is closed, a change of the default profile's network by %NETSTAT.
// The CP gives up a connection that is being made by closing its DLC.
func (a *AP) ServeLine(ctx context.Context, cfg ptylink.PeerConfig) error {
	defer a.limits.Release(cfg.Name)
	l := newLine(a, cfg.Name, a.limits.Take(cfg.Name, func() *lineLimits { return newLineLimits(a.cfg.Limits) }))
	if cfg.Log == nil {
		cfg.Log = a.log
	}
	l.log = cfg.Log.With("line", cfg.Name)
	cfg.Pace = l.limits.commands.Wait
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
	peer.Handle("%WEBSTAT", l.webStat)
	peer.Handle("%NETSTAT", l.netStat)

	ctx, cancel := context.WithCancel(ctx)
	var tending sync.WaitGroup
	for n := 1; n <= ptylink.MaxChannel; n++ {
		tending.Go(func() {
			l.accept(ctx, n, func(ctx context.Context, n int) (dlc, error) { return peer.Channel(ctx, n) })
		})
	}
	tending.Go(func() { l.tellChanges(ctx) })
	err := peer.Run(ctx)
	cancel()
	tending.Wait()
	l.drop(errLineDown)
	l.running.Wait()
	return err
}

// Wait waits for the connections that CPs have ended in order and whose servers do not have everything yet, but not for
// servers that have everything to close as well. It is called when no line is served any more.
func (a *AP) Wait() {
	a.waiting.Store(true)
	a.finishing.Wait()
}

// Why a connection ended, where it is not an error of its socket.
var (
	errLineDown  = errors.New("the line is down")
	errClosedCP  = errors.New("closed by the CP")
	errClosedSrv = errors.New("closed by the server")
	errLostCP    = errors.New("the DLC is lost")
	errStalled   = errors.New("not everything could be sent in time: data is lost")
	errGivenUp   = fmt.Errorf("%w: the CP has closed it", at.ErrNoChannel)
)
