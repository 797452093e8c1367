package mux

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"testing"
)

// TestStreams sends bulk data both ways in seven DLCs at once.
func TestStreams(t *testing.T) {
	checkLeaks(t)
	a, b := startPair(t, pipeLine, Config{})
	const size = 1 << 20
	results := make(chan error, 14)
	for dlci := 1; dlci <= 7; dlci++ {
		da, db := openDLC(t, a, b, dlci)
		for i, d := range []*DLC{da, db} {
			sent := make([]byte, size)
			rand.New(rand.NewSource(int64(dlci*2 + i))).Read(sent)
			want := make([]byte, size)
			rand.New(rand.NewSource(int64(dlci*2 + 1 - i))).Read(want)
			go func() { d.Write(sent) }()
			go func() {
				got := make([]byte, size)
				if _, err := io.ReadFull(d, got); err != nil {
					results <- err
				} else if !bytes.Equal(got, want) {
					results <- errors.New("received other data than sent")
				} else {
					results <- nil
				}
			}()
		}
	}
	for range 14 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

func TestCloseOrder(t *testing.T) {
	checkLeaks(t)
	a, b := startPair(t, pipeLine, Config{})
	da, db := openDLC(t, a, b, 3)
	sent := bytes.Repeat([]byte("data"), 5000)
	go func() {
		da.Write(sent)
		da.Close()
	}()
	got, err := io.ReadAll(db)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatalf("got %d octets before the end, want %d", len(got), len(sent))
	}
	if _, err := db.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after the peer's DISC: %v", err)
	}
	db.Close()
	openDLC(t, a, b, 3)
}
