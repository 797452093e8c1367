package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"bipd/ap"
	"bipd/internal/config"
)

// The lines that bipctl shows are those of the list and those found, by name; a name is one line's.
func TestLines(t *testing.T) {
	l := &lines{over: func(name string) ap.Over { return ap.Over{Connections: int64(len(name))} }}
	var text bytes.Buffer
	to := slog.New(slog.NewTextHandler(&text, nil))
	add := func(name, path string) (*slog.Logger, error) {
		return l.add(config.APLine{Name: name, Path: path}, to, 5)
	}
	_, err := add("b", "/dev/ttyS1")
	log, err2 := add("a", "/x/a")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		log.Info("hello")
	}
	for _, name := range []string{"a", "b"} {
		if _, err := add(name, "/y"); err == nil {
			t.Errorf("a second line %s is taken", name)
		}
	}
	if cards := l.Cards(); len(cards) != 2 || cards[0].Name != "a" || cards[1].Reader != "/dev/ttyS1" || cards[0].Over.OpenChannel != 1 {
		t.Errorf("lines %+v", cards)
	}
	l.remove("a")
	cards := l.Cards()
	log, err = add("a", "/z/a")
	if len(cards) != 1 || err != nil {
		t.Errorf("after one has left: %+v, %v", cards, err)
	}
	log.Info("hello") // the line has gone and come back
	if n := strings.Count(text.String(), "hello"); n != 5 || l.Cards()[0].Over.LogLines != 6 {
		t.Errorf("%d lines of the log, and %+v", n, l.Cards())
	}
}
