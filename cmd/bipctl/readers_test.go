package main

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bipd/internal/control"
	"bipd/internal/readers"
	"bipd/trace"
)

// readerDaemon is a bipd that holds readers.
type readerDaemon struct{ list []control.Reader }

func (readerDaemon) Cards() []control.Card                { return nil }
func (readerDaemon) Channels() []control.Channel          { return nil }
func (d readerDaemon) Readers() ([]control.Reader, error) { return d.list, nil }

// serveReaders runs the daemon until the end of the test and returns its socket.
func serveReaders(t *testing.T, d readerDaemon) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, path, 0, d, &trace.Stream{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	await(t, "socket", within, func() bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return path
}

// TestReaders has bipctl show what bipd says of its readers. Those of a pcscd that happens to run come after them.
func TestReaders(t *testing.T) {
	atr := []byte{0x3B, 0x09, 'b', 'i', 'p', 'd', ' ', 's', 'o', 'f', 't'}
	list := []control.Reader{{
		Name: "PC Twin Reader", Driver: "ccid", Path: "1-1.2", ID: "08e6:3437", Release: "2.01", Speed: "12", Level: "TPDU", Protocols: []string{"T=0", "T=1"},
		Voltages: "5/3/1.8 V", MaxMessage: 271,
		Slots: []control.ReaderSlot{{ID: "1-1.2.0", State: "card", ServedAs: "card0", ATR: "3B09626970642073" + "6F6674", Card: readers.DecodeATR(atr),
			Config: `reader = "ccid:path=1-1.2"`}},
	}}
	socket := serveReaders(t, readerDaemon{list})
	out, err := bipctl(t.Context(), t, t.TempDir(), "readers", "--socket", socket).Output()
	want := `PC Twin Reader
   port 1-1.2  USB 08e6:3437  release 2.01  serial -  12 Mbit/s
   TPDU level, T=0 T=1, 5/3/1.8 V, messages to 271 octets
   slot 0  card, served as card0
      ATR 3B096269706420736F6674
      T=0, TA1=11 (Fi 372, Di 1), direct convention
      historical bytes 6269706420736F6674 "bipd soft"
      reader = "ccid:path=1-1.2"
`
	if err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, out, want)
	}
	out, err = bipctl(t.Context(), t, t.TempDir(), "readers", "--json", "--socket", socket).Output()
	var got []control.Reader
	if err != nil || json.Unmarshal(out, &got) != nil || len(got) < 1 || !reflect.DeepEqual(got[:1], list) {
		t.Errorf("%v\ngot %s", err, out)
	}
}

// TestReadersWithoutDaemon looks at this machine itself, which may have readers or none.
func TestReadersWithoutDaemon(t *testing.T) {
	out, err := bipctl(t.Context(), t, t.TempDir(), "readers", "--json", "--socket", "/nonexistent/bipd.sock").Output()
	var got []control.Reader
	if err != nil || json.Unmarshal(out, &got) != nil || got == nil {
		t.Errorf("%v: %s", err, out)
	}
}
