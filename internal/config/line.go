package config

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/mux"
)

// lowestN1 and highestN1 bound n1: the standard's default, and what every implementation takes.
const (
	lowestN1  = 31
	highestN1 = 1499
)

// checkN1 lets 0 through, which is: by the line's speed.
func checkN1(n1 int) error {
	if n1 != 0 && (n1 < lowestN1 || n1 > highestN1) {
		return fmt.Errorf("n1: %d is not %d to %d octets", n1, lowestN1, highestN1)
	}
	return nil
}

// checkNotPTY refuses the path of a pseudo terminal itself, which is another one's after its program has ended. A symbolic
// link to it has an age, which tells.
func checkNotPTY(path string) error {
	if strings.HasPrefix(filepath.Clean(path), "/dev/pts/") {
		return fmt.Errorf("path: %s may be anybody's terminal tomorrow: name a symbolic link to it", path)
	}
	return nil
}

// checkUART checks speed and flow control.
func checkUART(speed int, rtscts bool) error {
	switch {
	case speed == 0 && rtscts:
		return fmt.Errorf("rtscts: a line without speed is no serial port")
	case speed != 0:
		return ptylink.CheckSpeed(speed)
	}
	return nil
}

// muxKeepAlive is keep_alive as package ptylink wants it: left out is its default, and 0s is never.
func muxKeepAlive(d *Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case d.Duration == 0:
		return -1
	}
	return d.Duration
}

// checkModes are the words of payload_check.
var checkModes = map[string]ptylink.CheckMode{
	"": ptylink.CheckUART, "auto": ptylink.CheckUART, "on": ptylink.CheckOn, "off": ptylink.CheckOff,
}

// Link is the set-up of the CP's end of the line of a card: of a pseudo terminal, which is made anew each time the line comes
// up, or with a speed of a serial port. l was checked.
func (l *Line) Link(name string, log *slog.Logger) (*ptylink.LinkConfig, error) {
	mode, err := l.FileMode()
	if err != nil {
		return nil, err
	}
	path, uart := l.Path, ptylink.TTYConfig{Speed: l.Speed, RTSCTS: l.RTSCTS}
	pty := ptylink.PTYConfig{Link: path, Mode: mode, GID: gid(l.Group)}
	return &ptylink.LinkConfig{
		Name: name,
		Open: func(context.Context) (io.ReadWriteCloser, error) {
			if uart.Speed != 0 {
				return ptylink.OpenTTY(path, uart)
			}
			return ptylink.OpenPTY(pty)
		},
		NoMux: !l.Multiplexer,
		Mux:   mux.Config{N1: l.N1, KeepAlive: muxKeepAlive(l.KeepAlive), Log: log},
		Check: checkModes[l.PayloadCheck],
		Log:   log,
	}, nil
}

// Peer is the set-up of the AP's end of the line. l was checked.
func (l APLine) Peer(log *slog.Logger) ptylink.PeerConfig {
	path, tty := l.Path, ptylink.TTYConfig{Speed: l.Speed, RTSCTS: l.RTSCTS}
	return ptylink.PeerConfig{
		Name: l.Name,
		Open: func(context.Context) (io.ReadWriteCloser, error) { return ptylink.OpenTTY(path, tty) },
		Mux:  mux.Config{N1: l.N1, KeepAlive: muxKeepAlive(l.KeepAlive), Log: log},
		Log:  log,
	}
}
