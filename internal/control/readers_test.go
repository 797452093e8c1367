package control

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"testing"
)

// readerSource is a daemon with readers.
type readerSource struct {
	source
	list []Reader
	err  error
}

func (r readerSource) Readers() ([]Reader, error) { return r.list, r.err }

func TestReaders(t *testing.T) {
	list := []Reader{{Name: "PC Twin Reader", Driver: "ccid", Path: "1-1.2", ID: "08e6:3437", Protocols: []string{"T=0"},
		Problem: "in use", Holders: []Process{{7, "pcscd"}},
		Slots: []ReaderSlot{{ID: "1-1.2.0", State: "card", ATR: "3B00", Card: &ATR{Convention: "direct", Protocols: []string{"T=0"}, TA1: "11"}, Config: "reader = \"ccid:path=1-1.2\""}}}}
	for name, tc := range map[string]struct {
		src  Source
		want []Reader
		err  error
	}{
		"readers":           {readerSource{list: list}, list, nil},
		"none at the ports": {readerSource{}, []Reader{}, nil},
		"holds none":        {readerSource{err: ErrNoReaders}, nil, ErrNoReaders},
		"apd":               {source{}, nil, ErrNoReaders},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := serveSource(t, tc.src).Readers(within(t))
			if !errors.Is(err, tc.err) || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("readers %+v, %v\nwant %+v, %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// A daemon that is not there holds no readers; one that cannot be asked may.
func TestReadersWithoutDaemon(t *testing.T) {
	if _, err := NewClient("/does/not/exist").Readers(within(t)); !errors.Is(err, ErrNoReaders) {
		t.Errorf("no socket: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewClient(dead).Readers(within(t)); !errors.Is(err, ErrNoReaders) {
		t.Errorf("a dead daemon's socket: %v", err)
	}
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if _, err := serveSource(t, readerSource{}).Readers(ctx); err == nil || errors.Is(err, ErrNoReaders) {
		t.Errorf("no answer in time: %v", err)
	}
}
