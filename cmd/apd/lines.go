package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"bipd/ap"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/limits"
)

// lines are the lines that are served, which is what bipctl shows of an AP.
type lines struct {
	mu     sync.Mutex
	served []servedLine
	over   func(name string) ap.Over
	logs   limits.Kept[lineLog]
}

// lineLog is a line's log, of which only so many lines in a minute pass.
type lineLog struct {
	log  *slog.Logger
	left *limits.Bucket // lines left out
}

// servedLine is a line with what was left out of its log.
type servedLine struct {
	config.APLine
	left *limits.Bucket
}

// add takes a line and gives its log, of which n lines in a minute go to another. A name that a line has already is an
// error.
func (l *lines) add(line config.APLine, to *slog.Logger, n int) (*slog.Logger, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.served {
		if s.Name == line.Name {
			return nil, fmt.Errorf("the name is that of the line at %s", s.Path)
		}
	}
	log := l.logs.Take(line.Name, func() (made lineLog) {
		made.log, made.left = limits.Log(to, n, "line", line.Name)
		return made
	})
	l.served = append(l.served, servedLine{line, log.left})
	return log.log, nil
}

func (l *lines) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = slices.DeleteFunc(l.served, func(s servedLine) bool { return s.Name == name })
	l.logs.Release(name)
}

// Cards is what bipctl shows: the lines, by name.
func (l *lines) Cards() []control.Card {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []control.Card
	for _, s := range l.served {
		o := l.over(s.Name)
		list = append(list, control.Card{Name: s.Name, Reader: s.Path, State: "line",
			Over: control.Over{OpenChannel: o.Connections, ATCommands: o.Commands, DLCs: o.DLCs, LogLines: s.left.Over()}})
	}
	slices.SortFunc(list, func(a, b control.Card) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Channels are not told: they are the CPs'.
func (l *lines) Channels() []control.Channel { return []control.Channel{} }

// inDir says of which directory the lines come besides.
func inDir(dir string) string {
	if dir == "" {
		return ""
	}
	return " and those in " + dir
}
