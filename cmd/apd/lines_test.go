package main

import (
	"errors"
	"testing"

	"bipd/ap"
	"bipd/internal/config"
)

// The lines that bipctl shows are those of the list and those found, by name; a name is one line's.
func TestLines(t *testing.T) {
	l := &lines{over: func(name string) ap.Over { return ap.Over{Connections: int64(len(name))} }}
	if err := errors.Join(l.add(config.APLine{Name: "b", Path: "/dev/ttyS1"}, nil), l.add(config.APLine{Name: "a", Path: "/x/a"}, nil)); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a", "b"} {
		if l.add(config.APLine{Name: name, Path: "/y"}, nil) == nil {
			t.Errorf("a second line %s is taken", name)
		}
	}
	if cards := l.Cards(); len(cards) != 2 || cards[0].Name != "a" || cards[1].Reader != "/dev/ttyS1" || cards[0].Over.OpenChannel != 1 {
		t.Errorf("lines %+v", cards)
	}
	l.remove("a")
	if cards := l.Cards(); len(cards) != 1 || l.add(config.APLine{Name: "a", Path: "/z/a"}, nil) != nil {
		t.Errorf("after one has left: %+v", cards)
	}
}
