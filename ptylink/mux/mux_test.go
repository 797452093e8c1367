package mux

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"testing"
	"time"
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
					checkLeaks(t)
					a, b := startPair(t, l, Config{Advanced: advanced, N1: n1})
					results := make(chan error)
					for dlci := 1; dlci <= 7; dlci++ {
						da, db := openDLC(t, a, b, dlci)
						go func() { results <- stream(da, db, 300_000, int64(dlci)) }()
						go func() { results <- stream(db, da, 300_000, int64(-dlci)) }()
					}
					for range 14 {
						if err := <-results; err != nil {
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
			checkLeaks(t)
			a, b := startPair(t, l, Config{})
			slowA, slowB := openDLC(t, a, b, 2)
			fastA, fastB := openDLC(t, a, b, 3)
			const size = 1 << 20
			slow, gate := make(chan error, 1), make(chan struct{})
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
			close(gate)
			if err := <-slow; err != nil {
				t.Error(err)
			}
		})
	}
}

// waitFor waits for a state of the multiplexer.
func waitFor(t *testing.T, m *Mux, what string, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
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
	checkLeaks(t)
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
	wantErr(t, <-waiting, os.ErrDeadlineExceeded)
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
	if _, err := io.ReadFull(db, got); err != nil {
		t.Errorf("of %d octets said to be written: %v", n, err)
	}
	da.Close()
	wantErr(t, da.SetDeadline(past), net.ErrClosed)
}

// TestCloseOrder has Close send what Write took before the end.
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
}

// TestMuxClose sends what was written before it, from either end.
func TestMuxClose(t *testing.T) {
	for name, l := range lines {
		for _, responder := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/responder %t", name, responder), func(t *testing.T) {
				checkLeaks(t)
				a, b := startPair(t, l, Config{})
				da, db := openDLC(t, a, b, 2)
				if responder {
					a, b, da, db = b, a, db, da
				}
				if _, err := da.Write([]byte("last words")); err != nil {
					t.Fatal(err)
				}
				a.Close()
				if got, err := io.ReadAll(db); string(got) != "last words" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				<-b.Done()
				if a.Err() != nil || b.Err() != nil {
					t.Errorf("an orderly end is %v and %v", a.Err(), b.Err())
				}
				_, err := b.Accept(testContext(t))
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

// TestLineTorn has a peer that vanishes: an error, and not io.EOF, after the data.
func TestLineTorn(t *testing.T) {
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			var far io.Closer
			a, b := startPair(t, func(t testing.TB) (io.ReadWriteCloser, io.ReadWriteCloser) {
				la, lb := l(t)
				far = lb
				return la, lb
			}, Config{})
			da, db := openDLC(t, a, b, 2)
			if _, err := db.Write([]byte("before")); err != nil {
				t.Fatal(err)
			}
			waitFor(t, a, "data", func() bool { return da.rx.len() == 6 })
			far.Close()
			<-a.Done()
			got, err := io.ReadAll(da)
			if string(got) != "before" || err == nil {
				t.Errorf("got %q, %v", got, err)
			}
			if a.Err() == nil || errors.Is(a.Err(), io.EOF) {
				t.Errorf("the multiplexer ended with %v", a.Err())
			}
			if _, err := da.Write([]byte("x")); err == nil {
				t.Error("write works")
			}
			_, err = a.Accept(testContext(t))
			wantErr(t, err, a.Err())
		})
	}
}

// rawPeer is a peer without a multiplexer: it reads everything and answers as told.
func rawPeer(t *testing.T, l io.ReadWriteCloser, answer func(f frame) []frame) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d := &decoder{n1: 1499}
		buf := make([]byte, 4096)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			for _, f := range decodeAll(d, buf[:n]) {
				for _, a := range answer(f) {
					l.Write(appendBasic(nil, a))
				}
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
}

var quick = Config{T1: 20 * time.Millisecond, T2: 20 * time.Millisecond}

// ua answers SABM and nothing else.
func ua(f frame) []frame {
	if f.typ != frameSABM {
		return nil
	}
	return []frame{{dlci: f.dlci, cr: true, typ: frameUA, pf: true}}
}

// TestSilentPeer has a peer that answers no message: the keep-alive finds out, and
// Close comes back.
func TestSilentPeer(t *testing.T) {
	checkLeaks(t)
	for _, keepAlive := range []time.Duration{0, 20 * time.Millisecond} {
		la, lb := net.Pipe()
		rawPeer(t, lb, ua)
		cfg := quick
		cfg.KeepAlive = keepAlive
		m := New(la, cfg)
		if err := m.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		d, err := m.Open(testContext(t), 2)
		if err != nil {
			t.Fatal(err)
		}
		if keepAlive > 0 {
			_, err := d.Read(make([]byte, 1))
			wantErr(t, err, ErrTimeout)
			<-m.Done()
			wantErr(t, m.Err(), ErrTimeout)
		}
		m.Close()
		if keepAlive == 0 && m.Err() != nil {
			t.Errorf("own close is %v", m.Err())
		}
	}
}

// TestRefused has a responder with fewer DLCs than asked for, and one that refuses all.
func TestRefused(t *testing.T) {
	checkLeaks(t)
	la, lb := net.Pipe()
	a, b := New(la, quick), New(lb, Config{Role: Responder, MaxDLCI: 4})
	defer b.Close()
	defer a.Close()
	if err := a.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	_, err := a.Open(testContext(t), 5)
	wantErr(t, err, ErrRefused)

	lc, ld := net.Pipe()
	rawPeer(t, ld, func(f frame) []frame {
		return []frame{{dlci: f.dlci, cr: true, typ: frameDM, pf: true}}
	})
	c := New(lc, quick)
	defer c.Close()
	wantErr(t, c.Start(testContext(t)), ErrRefused)
}

// TestNobody has a line without a peer: nobody reads it.
func TestNobody(t *testing.T) {
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			la, lb := l(t)
			defer lb.Close()
			m := New(la, quick)
			wantErr(t, m.Start(testContext(t)), ErrTimeout)
			_, err := m.Open(testContext(t), 1)
			wantErr(t, err, ErrNotOpen)
			m.Close()
			m.Close()
		})
	}
}

// stuckLine never ends a Read, and its Close does not come back, until release.
type stuckLine struct{ release chan struct{} }

func (l stuckLine) Read([]byte) (int, error)    { <-l.release; return 0, io.EOF }
func (l stuckLine) Write(p []byte) (int, error) { <-l.release; return 0, io.ErrClosedPipe }
func (l stuckLine) Close() error                { <-l.release; return nil }

// TestStuckLine has Close come back from a line that does nothing any more.
func TestStuckLine(t *testing.T) {
	checkLeaks(t)
	l := stuckLine{make(chan struct{})}
	m := New(l, quick)
	wantErr(t, m.Start(testContext(t)), ErrTimeout)
	m.Close()
	close(l.release)
}

// TestContexts ends each waiting method by its context.
func TestContexts(t *testing.T) {
	checkLeaks(t)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	la, lb := net.Pipe()
	rawPeer(t, lb, func(f frame) []frame {
		if f.dlci == 0 {
			return ua(f)
		}
		return nil
	})
	m := New(la, Config{})
	if err := m.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	_, err := m.Open(short(), 3)
	wantErr(t, err, context.DeadlineExceeded)
	_, err = m.Open(short(), 3) // its DISC is not answered yet
	wantErr(t, err, context.DeadlineExceeded)
	_, err = m.Accept(short())
	wantErr(t, err, context.DeadlineExceeded)
	lb.Close()
	m.Close()

	lc, ld := net.Pipe()
	defer ld.Close()
	r := New(lc, Config{Role: Responder})
	wantErr(t, r.Start(short()), context.DeadlineExceeded)
	waiting := make(chan error, 1)
	go func() { waiting <- r.Start(context.Background()) }()
	r.Close()
	wantErr(t, <-waiting, ErrClosed)
}

// cutLine is an end of a line that outlives its multiplexer.
type cutLine struct{ net.Conn }

func (l cutLine) Close() error { return l.SetDeadline(time.Now()) }

// TestRestartByNewPeer has the initiator vanish in the middle of a frame and begin
// anew on the same line.
func TestRestartByNewPeer(t *testing.T) {
	checkLeaks(t)
	la, lb := net.Pipe()
	defer la.Close()
	a, b := New(cutLine{la}, Config{}), New(lb, Config{Role: Responder})
	defer b.Close()
	if err := a.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	_, old := openDLC(t, a, b, 2)
	la.SetDeadline(time.Now()) // as if it were killed
	<-a.Done()
	if a.Err() == nil {
		t.Error("no error")
	}
	la.SetDeadline(time.Time{})
	if _, err := la.Write([]byte{flagBasic, 0x0b, 0xef, 0x61}); err != nil {
		t.Fatal(err)
	}
	a = New(la, Config{})
	defer a.Close()
	if err := a.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	_, err := old.Read(make([]byte, 1))
	wantErr(t, err, ErrReset)
	da, db := openDLC(t, a, b, 2)
	if err := stream(da, db, 100_000, 1); err != nil {
		t.Error(err)
	}
}

// TestBothClose closes both ends at the same time, with writers and readers busy.
func TestBothClose(t *testing.T) {
	checkLeaks(t)
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
		closing.Wait()
		busy.Wait()
	}
}

// TestPeerOpens has the responder open a DLC of its own.
func TestPeerOpens(t *testing.T) {
	checkLeaks(t)
	a, b := startPair(t, pipeLine, Config{Negotiate: true})
	db, da := openDLC(t, b, a, 4)
	if err := stream(db, da, 50_000, 1); err != nil {
		t.Error(err)
	}
	if da.LocalAddr().String() != "dlc 4" || da.RemoteAddr().Network() != "27.010" {
		t.Errorf("address %v", da.LocalAddr())
	}
}
