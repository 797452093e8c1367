package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bipd/internal/testkit"
	"bipd/ptylink"
)

const (
	staleBipd = "[[card]]\nname = \"card0\"\nreader = \"vpcd:unix:DIR/card0.sock\"\n[card.line]\npath = \"DIR/lines/card0\"\n" +
		"[control]\nsocket = \"\"\n"
	staleProfiles = "[[profile]]\nname = \"a\"\ndefault = true\nuser = \"u\"\npassword = \"not to be seen\"\nreveal = true\n"
	noControl     = "[control]\nsocket = \"\"\n"
)

// TestStaleLine kills bipd, whose link stays. A login gets the link's pty. Neither an apd that had the line nor one that
// starts now touches that terminal, whether it has the line by the directory or by its path; what is typed there is the
// login's, though it be AT%GETNET, which would show the password. The next bipd has its line back.
func TestStaleLine(t *testing.T) {
	for name, lines := range map[string]string{
		"directory": "lines = \"DIR/lines\"\n" + noControl,
		"path":      noControl + "[[line]]\nname = \"card0\"\npath = \"DIR/lines/card0\"\n[[line]]\nname = \"other\"\npath = \"DIR/lines/other\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := workDir(t, map[string]string{
				"bipd.toml": staleBipd, "apd.toml": "profiles = \"DIR/profiles.toml\"\n" + lines, "profiles.toml": staleProfiles,
			})
			bipd := startDaemon(t, dir, "bipd")
			apd := startDaemon(t, dir, "apd")
			bipd.log.Await(t, "line up")
			bipd.signal(t, syscall.SIGKILL)
			link := filepath.Join(dir, "lines", "card0")
			if _, err := os.Lstat(link); err != nil {
				t.Fatalf("bipd was killed, and its link is not there: %v", err)
			}
			login := testkit.LoginAt(t, link)
			login.Type(t, "AT%GETNET=1,3\r")
			for range 2 {
				// It has looked at the link once more when it has come to serve a line that appears later.
				apd.awaitRefusal(t, name == "directory")
				login.Type(t, "AT\r")
				apd.serves(t, filepath.Join(dir, "lines", "other"))
				apd.signal(t, syscall.SIGTERM)
				if err := apd.awaitEnd(t); err != nil {
					t.Error(err)
				}
				apd = startDaemon(t, dir, "apd")
			}
			login.Untouched(t)
			startDaemon(t, dir, "bipd").log.Await(t, "line up")
		})
	}
}

// awaitRefusal waits until an apd says that it leaves the stale line alone.
func (d *runningDaemon) awaitRefusal(t *testing.T, inDirectory bool) {
	t.Helper()
	if !inDirectory {
		d.log.Await(t, "line is not there", "line=card0", "was made or changed after the link")
		return
	}
	d.log.Await(t, "line left out", "line=card0", "nobody holds")
}

// serves has the apd serve one more line, and take it down again.
func (d *runningDaemon) serves(t *testing.T, link string) {
	t.Helper()
	before := len(d.log.Lines("line down", "line=other"))
	up := make(chan bool, 10)
	stop := runLink(t, ptylink.PTYConfig{Link: link}, up)
	receive(t, "a line that somebody serves", up)
	stop()
	d.log.AwaitMore(t, before, "line down", "line=other")
}

// The bipd and the apd of different users meet in a directory that apd was told whose it is, by a group that is let into
// the line; without that apd says what is wrong.
func TestTwoUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts processes of two users")
	}
	const cpUser, apUser, group = 12345, 12346, 12347
	dir := workDir(t, map[string]string{
		"bipd.toml":  staleBipd[:strings.Index(staleBipd, "[control]")] + fmt.Sprintf("group = \"%d\"\n", group) + noControl,
		"apd.toml":   fmt.Sprintf("profiles = \"DIR/profiles.toml\"\nlines = \"DIR/lines\"\nlines_owner = \"%d\"\n", cpUser) + noControl,
		"blind.toml": "profiles = \"DIR/profiles.toml\"\nlines = \"DIR/lines\"\n" + noControl, "profiles.toml": staleProfiles,
	})
	lines := filepath.Join(dir, "lines")
	for path, owner := range map[string]int{
		dir: cpUser, lines: cpUser, filepath.Join(dir, "bipd.toml"): cpUser,
		filepath.Join(dir, "apd.toml"): apUser, filepath.Join(dir, "blind.toml"): apUser, filepath.Join(dir, "profiles.toml"): apUser,
	} {
		if err := os.Chown(path, owner, group); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(lines, 0o750); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) { // of this test alone
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bipd := startDaemonAs(t, dir, "bipd", "bipd.toml", cpUser, group)
	blind := startDaemonAs(t, dir, "apd", "blind.toml", apUser, group)
	blind.log.Await(t, "directory of lines cannot be used", "belongs to user 12345")
	startDaemonAs(t, dir, "apd", "apd.toml", apUser, group)
	bipd.log.Await(t, "line up")
	if len(blind.log.Lines("line found")) != 0 {
		t.Error("apd serves a line in a stranger's directory")
	}
}
