package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"bipd/internal/testkit"
)

// TestLineTorn has a peer that vanishes: an error, and not io.EOF, after the data.
func TestLineTorn(t *testing.T) {
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
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
			await(t, "the end of the multiplexer", a.Done())
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

var quick = Config{T1: 50 * time.Millisecond, T2: 50 * time.Millisecond}

// ua answers SABM and nothing else.
func ua(f frame) []frame {
	if f.typ != frameSABM {
		return nil
	}
	return []frame{{dlci: f.dlci, cr: true, typ: frameUA, pf: true}}
}

// uaOnce answers SABM, and one message: a peer that dies then.
func uaOnce() func(f frame) []frame {
	answered := false
	return func(f frame) []frame {
		if f.typ != frameUIH || f.dlci != 0 || answered {
			return ua(f)
		}
		answered = true
		m, _, _ := parseMessage(f.info)
		m.command = false
		return []frame{{typ: frameUIH, info: appendMessage(nil, m)}}
	}
}

// TestSilentPeer has a peer that answers one message and no other: the keep-alive finds out, and Close comes back.
func TestSilentPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		for _, keepAlive := range []time.Duration{0, 20 * time.Millisecond} {
			la, lb := net.Pipe()
			rawPeer(t, lb, uaOnce())
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
				await(t, "the end of the multiplexer", m.Done())
				wantErr(t, m.Err(), ErrTimeout)
			}
			m.Close()
			if keepAlive == 0 && m.Err() != nil {
				t.Errorf("own close is %v", m.Err())
			}
		}
	})
}

// TestRefused has a responder with fewer DLCs than asked for, and one that refuses all.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
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
	})
}

// TestNobody has a line without a peer: nobody reads it.
func TestNobody(t *testing.T) {
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			testkit.NoLeaks(t)
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
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		l := stuckLine{make(chan struct{})}
		m := New(l, quick)
		wantErr(t, m.Start(testContext(t)), ErrTimeout)
		m.Close()
		close(l.release)
	})
}

// TestContexts ends each waiting method by its context.
// TestOpenGivenUp closes the DLC that its user does not wait for any more.
func TestOpenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		m := New(near, Config{})
		go func() {
			_, _ = far.Write(appendBasic(nil, frame{typ: frameUA, cr: true, pf: true}))
			_, _ = io.Copy(io.Discard, far)
		}()
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		opened := make(chan error, 1)
		go func() { _, err := m.Open(ctx, 2); opened <- err }()
		synctest.Wait()
		cancel()
		wantErr(t, <-opened, context.Canceled)
		m.mu.Lock()
		if d := m.s.dlcs[2]; d == nil || d.state != dlcClosing {
			t.Errorf("DLC %+v", d)
		}
		m.mu.Unlock()
		far.Close()
		<-m.Done()
	})
}

func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
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
		wantErr(t, await(t, "the end of Start", waiting), ErrClosed)
	})
}

// cutLine is an end of a line that outlives its multiplexer.
type cutLine struct{ net.Conn }

// TestRestartByNewPeer has the initiator vanish in the middle of a frame and begin
// anew on the same line.
func TestRestartByNewPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		la, lb := net.Pipe()
		defer la.Close()
		a, b := New(cutLine{la}, Config{}), New(lb, Config{Role: Responder})
		defer b.Close()
		if err := a.Start(testContext(t)); err != nil {
			t.Fatal(err)
		}
		_, old := openDLC(t, a, b, 2)
		la.SetDeadline(time.Now()) // as if it were killed
		await(t, "the end of the multiplexer", a.Done())
		if a.Err() == nil {
			t.Error("no error")
		}
		la.SetDeadline(time.Time{})
		if _, err := la.Write([]byte{flagBasic, 0x0b, 0xef, 0x61}); err != nil {
			t.Fatal(err)
		}
		a = New(la, Config{N2: 6})
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
	})
}
