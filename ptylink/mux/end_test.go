package mux

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// TestAbort tears a DLC, with and without data that waits, also after Close: the peer gets ErrReset, never the end of the
// file, and the number can be used again.
func TestAbort(t *testing.T) {
	for name, l := range lines {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/closed %t", name, closed), func(t *testing.T) {
				testkit.NoLeaks(t)
				a, b := startPair(t, l, Config{})
				da, db := openDLC(t, a, b, 2)
				stop(t, da)
				if closed {
					da.Close()
				}
				if err := da.Abort(); (err != nil) != closed {
					t.Errorf("Abort: %v", err)
				}
				await(t, "the end at the peer", db.Done())
				wantErr(t, db.Err(), ErrReset)
				_, err := io.Copy(io.Discard, db)
				wantErr(t, err, ErrReset)
				_, err = da.Write([]byte("x"))
				wantErr(t, err, ErrClosed)
				await(t, "the end", da.Done())
				wantErr(t, da.Err(), ErrClosed)
				wantErr(t, da.Abort(), ErrClosed)
				openDLC(t, a, b, 2)
			})
		}
	}
}

// stop writes until the peer, which does not read, has stopped the DLC and data waits.
func stop(t *testing.T, writer *DLC) {
	t.Helper()
	go func() {
		for {
			if _, err := writer.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	waitFor(t, writer.m, "a stop", func() bool { return writer.peerStop && writer.tx.len() > 0 })
}

// TestDone tells how a DLC ended.
func TestDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{})
		da, db := openDLC(t, a, b, 2)
		if da.Err() != nil || db.Err() != nil {
			t.Errorf("ended before the end: %v, %v", da.Err(), db.Err())
		}
		if _, err := da.Write([]byte("last")); err != nil {
			t.Fatal(err)
		}
		da.Close()
		await(t, "the end at the peer", db.Done())
		await(t, "the end", da.Done())
		wantErr(t, db.Err(), io.EOF)
		wantErr(t, da.Err(), ErrClosed)
		if got, err := io.ReadAll(db); string(got) != "last" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		_, db = openDLC(t, a, b, 2)
		a.line.Close()
		await(t, "the end at the peer", db.Done())
		if err := db.Err(); err == nil || err == io.EOF {
			t.Errorf("a lost line: %v", err)
		}
	})
}

// TestFlush: a frame of another DLC that is written after Flush comes behind all data, also AT, which else overtakes it.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{N1: 64})
		atA, atB := openDLC(t, a, b, atDLCI)
		var busy []*DLC
		for dlci := 3; dlci <= 8; dlci++ {
			da, db := openDLC(t, a, b, dlci)
			busy = append(busy, da)
			go io.Copy(io.Discard, db)
			go func() {
				for {
					if _, err := da.Write(make([]byte, 1000)); err != nil {
						return
					}
				}
			}()
		}
		da, db := openDLC(t, a, b, 2)
		for range 50 {
			sent := bytes.Repeat([]byte("data"), 500)
			if _, err := da.Write(sent); err != nil {
				t.Fatal(err)
			}
			if err := da.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := da.Unsent(); n != 0 {
				t.Fatalf("%d octets are not sent", n)
			}
			if _, err := atA.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(atB, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			b.mu.Lock()
			got := db.rx.len()
			b.mu.Unlock()
			if got != len(sent) {
				t.Fatalf("%d octets are there with the command, of %d", got, len(sent))
			}
			io.ReadFull(db, sent)
		}
		for _, d := range busy {
			d.Close()
		}
	})
}

// TestFlushEnds: it ends with its context, and with the DLC.
func TestFlushEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{})
		da, db := openDLC(t, a, b, 2)
		stop(t, da)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantErr(t, da.Flush(ctx), context.DeadlineExceeded)
		flushed := make(chan error, 1)
		go func() { flushed <- da.Flush(t.Context()) }()
		synctest.Wait()
		db.Abort()
		wantErr(t, await(t, "the end of Flush", flushed), ErrReset)
		da, _ = openDLC(t, a, b, 2)
		da.Close()
		wantErr(t, da.Flush(t.Context()), ErrClosed)
	})
}
