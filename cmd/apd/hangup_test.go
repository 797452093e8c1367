package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// SIGHUP ends neither daemon, and says so; SIGTERM ends both in order, and bipd leaves nothing of its line behind.
func TestHangup(t *testing.T) {
	dir := workDir(t, map[string]string{
		"bipd.toml": "[[card]]\nname = \"card0\"\nreader = \"vpcd:unix:DIR/card0.sock\"\n[card.line]\npath = \"DIR/lines/card0\"\n" +
			"[control]\nsocket = \"DIR/bipd.sock\"\n",
		"apd.toml":      "profiles = \"DIR/profiles.toml\"\nlines = \"DIR/lines\"\n[control]\nsocket = \"DIR/apd.sock\"\n",
		"profiles.toml": "[[profile]]\nname = \"a\"\ndefault = true\n",
	})
	bipd, apd := startDaemon(t, dir, "bipd"), startDaemon(t, dir, "apd")
	bipd.log.Await(t, "line up")
	for _, d := range []*runningDaemon{bipd, apd} {
		d.signal(t, syscall.SIGHUP)
		d.log.Await(t, "SIGHUP is ignored")
	}
	for _, d := range []*runningDaemon{bipd, apd} {
		d.signal(t, syscall.SIGTERM)
		if err := d.awaitEnd(t); err != nil {
			t.Errorf("%s after SIGTERM: %v", d.name, err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "lines")); err != nil || len(left) != 0 {
		t.Errorf("bipd has left %v, %v", left, err)
	}
}
