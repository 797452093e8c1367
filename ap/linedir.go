package ap

import (
	"context"
	"io"
	"sync"
	"time"

	"bipd/ptylink"
)

// LineDir is a directory of lines that the AP serves.
type LineDir struct {
	ptylink.Dir
	// Peer gives the set-up of the line of a name; Open is set by ServeDir. A line that it refuses is left out.
	Peer func(name string) (ptylink.PeerConfig, error)
	// Gone is called when a line has left and everything on it has ended; may be nil.
	Gone  func(name string)
	Every time.Duration // how often to look; 0: 500 ms
}

// dirLine is a line of a directory that is being served.
type dirLine struct {
	missed int           // looks in a row at which its CP was not there
	stop   func()        // ends it
	ended  chan struct{} // closed when it has ended
}

// lastMiss is the number of looks without its CP after which a line has left: a CP that takes its link away and makes it
// anew as it restarts finds its line still served.
const lastMiss = 3

// ServeDir serves the lines of a directory as their CPs come and go, until ctx ends. The directory itself may appear late
// and go too. Each line runs as by ServeLine.
func (a *AP) ServeDir(ctx context.Context, dir LineDir) error {
	if dir.Every <= 0 {
		dir.Every = 500 * time.Millisecond
	}
	d := dirLines{ap: a, dir: dir, lines: map[string]*dirLine{}, refused: map[string]string{}}
	defer d.running.Wait()
	tick := time.NewTicker(dir.Every)
	defer tick.Stop()
	for {
		d.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// dirLines are the lines of a directory.
type dirLines struct {
	ap      *AP
	dir     LineDir
	lines   map[string]*dirLine
	refused map[string]string // why a name is no line, as it was logged; those that are there
	fault   string            // of the directory, as it was logged
	running sync.WaitGroup
}

// look brings the lines in agreement with the directory.
func (d *dirLines) look(ctx context.Context) {
	names, err := d.dir.Names()
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault != d.fault && err != nil {
		d.ap.log.Warn("directory of lines cannot be used", "error", err)
	}
	d.fault = fault

	there, refused := map[string]bool{}, map[string]string{}
	for _, name := range names {
		err := d.dir.Check(name)
		there[name] = err == nil
		if err == nil && d.lines[name] == nil {
			err = d.serve(ctx, name)
		}
		if err != nil && d.lines[name] == nil {
			refused[name] = err.Error()
		}
	}
	for name, why := range refused {
		if d.refused[name] != why {
			d.ap.log.Warn("line left out", "line", name, "error", why)
		}
	}
	d.refused = refused

	for name, l := range d.lines {
		if l.left(there[name]) {
			delete(d.lines, name)
			if d.dir.Gone != nil {
				d.dir.Gone(name)
			}
		}
	}
}

// serve begins to serve a line, if Peer lets it.
func (d *dirLines) serve(ctx context.Context, name string) error {
	cfg, err := d.dir.Peer(name)
	if err != nil {
		return err
	}
	cfg.Open = func(context.Context) (io.ReadWriteCloser, error) {
		return d.dir.Open(name, ptylink.TTYConfig{})
	}
	d.ap.log.Info("line found", "line", name)
	ctx, cancel := context.WithCancel(ctx)
	l := &dirLine{stop: cancel, ended: make(chan struct{})}
	d.lines[name] = l
	d.running.Go(func() {
		defer close(l.ended)
		defer cancel()
		if err := d.ap.ServeLine(ctx, cfg); err != nil && ctx.Err() == nil {
			d.ap.log.Error("line given up", "line", name, "error", err)
		}
	})
	return nil
}

// left ends a line whose CP has not been there for lastMiss looks, and tells whether it has ended.
func (l *dirLine) left(there bool) bool {
	if !there {
		l.missed++
	} else if l.missed < lastMiss {
		l.missed = 0
	}
	if l.missed >= lastMiss {
		l.stop()
	}
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}
