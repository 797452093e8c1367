package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"bipd/internal/config"
	"bipd/internal/control"
)

// lines are the lines that are served, which is what bipctl shows of an AP.
type lines struct {
	mu     sync.Mutex
	served []config.APLine
}

func newLines(listed []config.APLine) *lines { return &lines{served: slices.Clone(listed)} }

// add takes a line that was found. A name that a line has already is an error.
func (l *lines) add(line config.APLine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.served {
		if s.Name == line.Name {
			return fmt.Errorf("the name is that of the line at %s", s.Path)
		}
	}
	l.served = append(l.served, line)
	return nil
}

func (l *lines) remove(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = slices.DeleteFunc(l.served, func(s config.APLine) bool { return s.Name == name })
}

// Cards is what bipctl shows: the lines, by name.
func (l *lines) Cards() []control.Card {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []control.Card
	for _, s := range l.served {
		list = append(list, control.Card{Name: s.Name, Reader: s.Path, State: "line"})
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
