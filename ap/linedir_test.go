package ap

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bipd/ptylink"
)

// dirCP is a CP whose pseudo terminal has a link in a directory.
type dirCP struct {
	*ptylink.Link
	up, down chan bool
	stop     func()
}

func startDirCP(t *testing.T, path string) *dirCP {
	t.Helper()
	c := &dirCP{up: make(chan bool, 100), down: make(chan bool, 100)}
	c.Link = ptylink.NewLink(ptylink.LinkConfig{
		Name: filepath.Base(path),
		Open: func(context.Context) (io.ReadWriteCloser, error) {
			return ptylink.OpenPTY(ptylink.PTYConfig{Link: path})
		},
		State: func(up bool, _ error) {
			if up {
				c.up <- true
			} else {
				c.down <- true
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	c.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			receive(t, done, "the end of a CP")
		}
	}
	t.Cleanup(c.stop)
	return c
}

func (c *dirCP) check(t *testing.T) {
	t.Helper()
	receive(t, c.up, "line up")
	if _, err := c.NetStat(t.Context()); err != nil {
		t.Error(err)
	}
}

// Lines of a directory that is there late are served as they appear, and let go as they leave; what is no line is left alone.
func TestServeDir(t *testing.T) {
	a := newAP(t, nil)
	dir := filepath.Join(t.TempDir(), "lines")
	gone := make(chan string, 10)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	cfg := LineDir{Dir: ptylink.Dir{Path: dir}, Every: 20 * time.Millisecond, Gone: func(name string) { gone <- name },
		Peer: func(name string) (ptylink.PeerConfig, error) {
			if name == "refused" {
				return ptylink.PeerConfig{}, errors.New("not this one")
			}
			if name != "card0" && name != "card1" {
				t.Errorf("%s is taken for a line", name)
			}
			return ptylink.PeerConfig{Name: name}, nil
		}}
	go func() { served <- a.ServeDir(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, served, "the end of ServeDir"); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(3 * cfg.Every) // the directory is not there
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sock, err := net.Listen("unix", filepath.Join(dir, "s.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	for _, name := range []string{"nowhere", ".hidden", "a name"} {
		target := "/dev/null"
		if name == "nowhere" {
			target = filepath.Join(dir, "x")
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	startDirCP(t, filepath.Join(dir, "refused"))
	one, two := startDirCP(t, filepath.Join(dir, "card0")), startDirCP(t, filepath.Join(dir, "card1"))
	one.check(t)
	two.check(t)
	one.stop()
	if name := receive(t, gone, "the leaving of a line"); name != "card0" {
		t.Errorf("%s has left", name)
	}
	if !two.Up() {
		t.Error("the other line went down too")
	}
	startDirCP(t, filepath.Join(dir, "card0")).check(t)
	two.stop()
	receive(t, gone, "the leaving of the other")
}
