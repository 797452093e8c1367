package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"bipd/trace"
)

type source struct{}

func (source) Cards() []Card { return []Card{{Name: "card0", State: "serving", Line: "AT"}} }
func (source) Channels() []Channel {
	return []Channel{{Card: "card0", Channel: 1, Remote: "192.0.2.1:443"}}
}

// patience bounds every wait; it passes in full only where a test fails.
const patience = 30 * time.Second

// within is patience as a context.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("unreachable")
	}
}

// serve runs a server until the test ends and returns its socket.
func serve(t *testing.T, src Source, stream *trace.Stream) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, path, 0, src, stream) }()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, "the end of Serve", done); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	waitFor(t, path)
	return path
}

// waitFor waits until the socket is served: an answer, not only a connection, for it takes those before it has its mode.
func waitFor(t *testing.T, path string) {
	t.Helper()
	c := NewClient(path)
	defer c.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := c.Cards(within(t)); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestAsk(t *testing.T) {
	c := NewClient(serve(t, source{}, &trace.Stream{}))
	defer c.Close()
	cards, err := c.Cards(within(t))
	if err != nil || !reflect.DeepEqual(cards, source{}.Cards()) {
		t.Errorf("cards %+v, %v", cards, err)
	}
	channels, err := c.Channels(within(t))
	if err != nil || !reflect.DeepEqual(channels, source{}.Channels()) {
		t.Errorf("channels %+v, %v", channels, err)
	}
	if _, err := c.get(within(t), "nothing"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("unknown question: %v", err)
	}
}

func TestEvents(t *testing.T) {
	stream := &trace.Stream{Source: "test"}
	c := NewClient(serve(t, source{}, stream))
	defer c.Close()
	ctx, cancel := context.WithCancel(within(t))
	var got []trace.Event
	ready := func() {
		stream.Emit(trace.Event{Step: "S401", From: trace.UICC, To: trace.CP, What: "one"})
		stream.Emit(trace.Event{Step: "S402", From: trace.CP, To: trace.UICC, What: "two"})
	}
	err := c.Events(ctx, ready, func(e trace.Event) {
		if got = append(got, e); len(got) == 2 {
			cancel()
		}
	})
	if err != nil || len(got) != 2 || got[0].Step != "S401" || got[1].What != "two" || got[0].Source != "test" {
		t.Errorf("events %+v, %v", got, err)
	}
	if err := c.Events(ctx, func() { t.Error("ready after the end") }, nil); err != nil {
		t.Errorf("the end came before the first answer: %v", err)
	}
}

func TestSocket(t *testing.T) {
	path := serve(t, source{}, &trace.Stream{})
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	err := Serve(within(t), path, 0, source{}, &trace.Stream{})
	if err == nil || !strings.Contains(err.Error(), "another daemon serves it") {
		t.Errorf("a second daemon: %v", err)
	}
	stale := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err := listen(within(t), stale, 0); err != nil {
		t.Errorf("the socket of a dead daemon: %v", err)
	} else {
		l.Close()
	}
	if err := Serve(within(t), filepath.Join(t.TempDir(), "no", "such", "folder"), 0, source{}, nil); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

// A file that is no socket is left alone, and so is a link to one.
func TestSocketIsAnotherFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "bipd.toml"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("keep"), 0o600), os.Symlink(file, link), os.Mkdir(filepath.Join(dir, "d"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, filepath.Join(dir, "d")} {
		err := Serve(within(t), path, 0, source{}, &trace.Stream{})
		if err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(link); string(b) != "keep" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// What has taken the socket's place is not removed by the end of the daemon.
func TestSocketReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen(within(t), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the other file: %v", err)
	}
}

// The socket is the user's alone from its first moment, whatever the umask; only a group that is named may ask as well.
func TestSocketMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0)) // not parallel
	modes := map[int]os.FileMode{0: 0o600}
	if gid := otherGroup(t); gid != 0 {
		modes[gid] = 0o660
	}
	for gid, mode := range modes {
		path := filepath.Join(t.TempDir(), "s")
		l, err := listen(within(t), path, gid)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("group %d: mode %v, %v", gid, st.Mode(), err)
		}
		if got := st.Sys().(*syscall.Stat_t).Gid; gid != 0 && int(got) != gid {
			t.Errorf("the socket is group %d's, want %d", got, gid)
		}
	}
}

// otherGroup is a group besides its own that the process may give files to; 0: there is none.
func otherGroup(t *testing.T) int {
	if os.Geteuid() == 0 {
		return 12345
	}
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g != os.Getegid() && g != 0 {
			return g
		}
	}
	t.Log("the user is in one group only: no group is tried")
	return 0
}

func TestNoDaemon(t *testing.T) {
	_, err := NewClient("/does/not/exist").Cards(within(t))
	if err == nil || !strings.Contains(err.Error(), "is the daemon running?") {
		t.Errorf("got %v", err)
	}
}
