package mux

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

var lines = map[string]line{"pipe": pipeLine, "pty": ptyLine, "noisy pty": noisyLine}

// noise goes before every write of a noisyLine.
var noise = []string{
	"\r\nOK\r\n", "\xf9\xf9\xf9", "", "\xf9AT\r", "\x7eAT\x7e", "\xf9\x07\xef\xfe\xfe", "RING", "\xf9\x06\xef\x01",
}

// noisy writes what is no frame before and between the frames.
type noisy struct {
	io.ReadWriteCloser
	n int
}

func (l *noisy) Write(p []byte) (int, error) {
	l.n++
	if _, err := l.ReadWriteCloser.Write(append([]byte(noise[l.n%len(noise)]), p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func noisyLine(t testing.TB) (a, b io.ReadWriteCloser) {
	a, b = ptyLine(t)
	return &noisy{ReadWriteCloser: a}, &noisy{ReadWriteCloser: b}
}

// stream writes size octets to one end and checks the hash at the other.
func stream(from io.Writer, to io.Reader, size int, seed int64) error {
	for _, end := range []any{from, to} { // or a fault of either would make the test wait for ever
		if d, ok := end.(*DLC); ok {
			d.SetDeadline(time.Now().Add(time.Minute))
		}
	}
	sent, received := sha256.New(), sha256.New()
	wrote := make(chan error, 1)
	go func() {
		r := rand.New(rand.NewSource(seed))
		for left := size; left > 0; {
			block := make([]byte, min(left, 1+r.Intn(20000)))
			r.Read(block)
			sent.Write(block)
			if n, err := from.Write(block); err != nil || n != len(block) {
				wrote <- fmt.Errorf("wrote %d of %d: %w", n, len(block), err)
				return
			}
			left -= len(block)
		}
		wrote <- nil
	}()
	n, err := io.Copy(received, io.LimitReader(to, int64(size)))
	if err != nil {
		return fmt.Errorf("read %d of %d: %w", n, size, err)
	}
	if err := <-wrote; err != nil {
		return err
	}
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return errors.New("other data received than sent")
	}
	return nil
}

// TestStreams sends bulk data both ways in seven DLCs at once.
func TestStreams(t *testing.T) {
	for name, l := range lines {
		for _, advanced := range []bool{false, true} {
			for _, n1 := range []int{31, 1499} {
				t.Run(fmt.Sprintf("%s/advanced %t/N1 %d", name, advanced, n1), func(t *testing.T) {
					testkit.NoLeaks(t)
					a, b := startPair(t, l, Config{Advanced: advanced, N1: n1})
					results := make(chan error, 14)
					for dlci := 1; dlci <= 7; dlci++ {
						da, db := openDLC(t, a, b, dlci)
						go func() { results <- stream(da, db, 300_000, int64(dlci)) }()
						go func() { results <- stream(db, da, 300_000, int64(-dlci)) }()
					}
					for range 14 {
						if err := await(t, "the end of a stream", results); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	}
}

// gated reads only after the gate is open.
type gated struct {
	io.Reader
	gate chan struct{}
}

func (g gated) Read(p []byte) (int, error) {
	<-g.gate
	return g.Reader.Read(p)
}

// TestStalledReader has one reader that does not read: its writer is stopped, the
// others go on, and later everything arrives.
func TestStalledReader(t *testing.T) {
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
			a, b := startPair(t, l, Config{})
			slowA, slowB := openDLC(t, a, b, 2)
			fastA, fastB := openDLC(t, a, b, 3)
			const size = 1 << 20
			slow, gate := make(chan error, 1), make(chan struct{})
			open := sync.OnceFunc(func() { close(gate) })
			defer open()
			go func() { slow <- stream(slowA, gated{slowB, gate}, size, 1) }()
			waitFor(t, b, "flow control", func() bool { return slowB.fc })
			for i := range 3 {
				if err := stream(fastA, fastB, size, int64(i)); err != nil {
					t.Error(err)
				}
			}
			waitFor(t, a, "the peer's stop", func() bool { return slowA.peerStop })
			waitFor(t, b, "its confirmation", func() bool { return len(b.s.commands) == 0 })
			b.mu.Lock()
			waiting := slowB.rx.len()
			b.mu.Unlock()
			if waiting < highWater || waiting > size/2 {
				t.Errorf("%d octets in the receive buffer", waiting)
			}
			open()
			if err := await(t, "the end of the slow stream", slow); err != nil {
				t.Error(err)
			}
		})
	}
}

// waitFor waits for a state of the multiplexer.
func waitFor(t *testing.T, m *Mux, what string, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		m.mu.Lock()
		ok := ready()
		m.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestDeadlines has them before and during Read and Write, moved and taken away.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{})
		da, db := openDLC(t, a, b, 2)
		past, soon := time.Now().Add(-time.Second), func() time.Time { return time.Now().Add(20 * time.Millisecond) }
		buf := make([]byte, 10)

		da.SetReadDeadline(past)
		_, err := da.Read(buf)
		wantErr(t, err, os.ErrDeadlineExceeded)
		da.SetReadDeadline(soon())
		_, err = da.Read(buf)
		wantErr(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v is no timeout", err)
		}
		waiting := make(chan error, 1)
		da.SetReadDeadline(time.Now().Add(time.Hour))
		go func() {
			_, err := da.Read(make([]byte, 1))
			waiting <- err
		}()
		da.SetReadDeadline(past)
		wantErr(t, await(t, "the end of Read", waiting), os.ErrDeadlineExceeded)
		da.SetReadDeadline(time.Time{})
		db.Write([]byte("x"))
		if n, err := da.Read(buf); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}

		da.SetDeadline(soon())
		n, err := da.Write(make([]byte, 1<<20)) // nobody reads: FC stops it
		wantErr(t, err, os.ErrDeadlineExceeded)
		da.SetDeadline(time.Time{})
		got := make([]byte, n)
		db.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadFull(db, got); err != nil {
			t.Errorf("of %d octets said to be written: %v", n, err)
		}
		da.Close()
		wantErr(t, da.SetDeadline(past), net.ErrClosed)
	})
}

// TestCloseOrder has Close send what Write took before the end.
func TestCloseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{})
		da, db := openDLC(t, a, b, 3)
		sent := bytes.Repeat([]byte("data"), 5000)
		go func() {
			da.Write(sent)
			da.Close()
		}()
		got, err := io.ReadAll(db)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("got %d octets before the end, want %d, error %v", len(got), len(sent), err)
		}
		_, err = db.Write([]byte("x"))
		wantErr(t, err, ErrClosed)
		_, err = da.Read(got)
		wantErr(t, err, net.ErrClosed)
		wantErr(t, da.Close(), ErrClosed)
		if err := db.Close(); err != nil {
			t.Errorf("close after the peer's: %v", err)
		}
		openDLC(t, a, b, 3)
	})
}

// TestMuxClose closes the multiplexer from either end: a DLC that was closed before sends what was written, and ends in
// order; one that is still in use is torn.
func TestMuxClose(t *testing.T) {
	for name, l := range lines {
		for _, responder := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/responder %t", name, responder), func(t *testing.T) {
				testkit.NoLeaks(t)
				a, b := startPair(t, l, Config{})
				da, db := openDLC(t, a, b, 2)
				ua, ub := openDLC(t, a, b, 3)
				if responder {
					a, b, da, db, ua, ub = b, a, db, da, ub, ua
				}
				for _, d := range []*DLC{ua, da} {
					if _, err := d.Write([]byte("last words")); err != nil {
						t.Fatal(err)
					}
				}
				da.Close()
				a.Close()
				if got, err := io.ReadAll(ub); !errors.Is(err, ErrReset) {
					t.Errorf("DLC in use: got %q, %v", got, err)
				}
				_, err := ua.Write([]byte("x"))
				wantErr(t, err, ErrClosed)
				if got, err := io.ReadAll(db); string(got) != "last words" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				await(t, "the end of the other multiplexer", b.Done())
				if a.Err() != nil || b.Err() != nil {
					t.Errorf("an orderly end is %v and %v", a.Err(), b.Err())
				}
				_, err = b.Accept(testContext(t))
				wantErr(t, err, ErrClosed)
				_, err = b.Open(testContext(t), 3)
				wantErr(t, err, ErrClosed)
				wantErr(t, b.Start(testContext(t)), ErrClosed)
				_, err = da.Write([]byte("x"))
				wantErr(t, err, ErrClosed)
			})
		}
	}
}

func (l cutLine) Close() error { return l.SetDeadline(time.Now()) }

// TestBothClose closes both ends at the same time, with writers and readers busy.
func TestBothClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		for range 5 {
			a, b := startPair(t, pipeLine, quick)
			var busy sync.WaitGroup
			for dlci := 1; dlci <= 4; dlci++ {
				da, db := openDLC(t, a, b, dlci)
				for _, d := range []*DLC{da, db} {
					busy.Go(func() { io.Copy(io.Discard, d) })
					busy.Go(func() {
						for {
							if _, err := d.Write(make([]byte, 1000)); err != nil {
								return
							}
						}
					})
				}
			}
			var closing sync.WaitGroup
			closing.Go(func() { a.Close() })
			closing.Go(func() { b.Close() })
			ended := make(chan struct{})
			go func() { closing.Wait(); busy.Wait(); close(ended) }()
			await(t, "the end of all", ended)
		}
	})
}

// TestPeerOpens has the responder open a DLC of its own.
func TestPeerOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		a, b := startPair(t, pipeLine, Config{Negotiate: true})
		db, da := openDLC(t, b, a, 4)
		if err := stream(db, da, 50_000, 1); err != nil {
			t.Error(err)
		}
		if da.LocalAddr().String() != "dlc 4" || da.RemoteAddr().Network() != "27.010" {
			t.Errorf("address %v", da.LocalAddr())
		}
	})
}
