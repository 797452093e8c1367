package main

import (
	"testing"

	"bipd/internal/config"
)

// The lines that bipctl shows are those of the list and those found, by name; a name is one line's.
func TestLines(t *testing.T) {
	l := newLines([]config.APLine{{Name: "b", Path: "/dev/ttyS1"}})
	if err := l.add(config.APLine{Name: "a", Path: "/x/a"}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a", "b"} {
		if l.add(config.APLine{Name: name, Path: "/y"}) == nil {
			t.Errorf("a second line %s is taken", name)
		}
	}
	if cards := l.Cards(); len(cards) != 2 || cards[0].Name != "a" || cards[1].Reader != "/dev/ttyS1" {
		t.Errorf("lines %+v", cards)
	}
	l.remove("a")
	if cards := l.Cards(); len(cards) != 1 || l.add(config.APLine{Name: "a", Path: "/z/a"}) != nil {
		t.Errorf("after one has left: %+v", cards)
	}
}
