package ap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bipd/ptylink"
)

// LineDir is a directory in which every terminal, or symbolic link to one, is the line of a CP and bears the line's name.
type LineDir struct {
	Path string
	// Peer gives the set-up of the line of a name; path is the terminal's. A line that it refuses is left out.
	Peer func(name, path string) (ptylink.PeerConfig, error)
	// Gone is called when a line has left and everything on it has ended; may be nil.
	Gone  func(name string)
	Every time.Duration // how often to look; 0: 500 ms
}

// dirLine is a line of a directory that is being served.
type dirLine struct {
	missed int           // looks in a row at which its name was not there
	stop   func()        // ends it
	ended  chan struct{} // closed when it has ended
}

// lastMiss is the number of looks without its name after which a line has left: a CP that takes its link away and makes it
// anew as it restarts finds its line still served.
const lastMiss = 3

// ServeDir serves the lines of a directory as names appear in it and leave, until ctx ends. A name that begins with a dot or
// holds a blank, and what is no terminal, is no line. The directory itself may appear late and go too. Each line runs as
// by ServeLine.
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
	refused map[string]string // why a name is no line, as it was logged
	fault   string            // of the directory, as it was logged
	running sync.WaitGroup
}

// look brings the lines in agreement with the directory.
func (d *dirLines) look(ctx context.Context) {
	for name, l := range d.lines {
		if l.left(d.dir.Path, name) {
			delete(d.lines, name)
			if d.dir.Gone != nil {
				d.dir.Gone(name)
			}
		}
	}
	names, err := terminals(d.dir.Path)
	fault := ""
	if err != nil {
		fault = err.Error()
	}
	if fault != d.fault && err != nil {
		d.ap.log.Warn("directory of lines cannot be read", "err", err)
	}
	d.fault = fault
	for _, name := range names {
		if d.lines[name] == nil {
			d.serve(ctx, name)
		}
	}
}

// serve begins to serve a line, if Peer lets it.
func (d *dirLines) serve(ctx context.Context, name string) {
	cfg, err := d.dir.Peer(name, filepath.Join(d.dir.Path, name))
	if err != nil {
		if d.refused[name] != err.Error() {
			d.refused[name] = err.Error()
			d.ap.log.Warn("line left out", "line", name, "err", err)
		}
		return
	}
	delete(d.refused, name)
	d.ap.log.Info("line found", "line", name)
	ctx, cancel := context.WithCancel(ctx)
	l := &dirLine{stop: cancel, ended: make(chan struct{})}
	d.lines[name] = l
	d.running.Go(func() {
		defer close(l.ended)
		defer cancel()
		if err := d.ap.ServeLine(ctx, cfg); err != nil && ctx.Err() == nil {
			d.ap.log.Error("line given up", "line", name, "err", err)
		}
	})
}

// left looks whether the name is still there, ends the line when it is not, and tells when it has ended.
func (l *dirLine) left(dir, name string) bool {
	if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
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

// terminals are the names in a directory that lead to a character device.
func terminals(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || strings.ContainsAny(e.Name(), " \t\r\n") {
			continue
		}
		if st, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && st.Mode()&fs.ModeCharDevice != 0 {
			names = append(names, e.Name())
		}
	}
	return names, err
}
