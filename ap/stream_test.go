package ap

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/trace"
)

// random gives n octets that no frame or line structure resembles.
func random(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

// 1 MiB each way at once, then AT%WEBCLCH: both ends have what the other sent, and the steps come in their order.
func TestBothWays(t *testing.T) {
	a := newAP(t, nil)
	up, down := random(1<<20), random(1<<20+1)
	got := make(chan [32]byte, 1)
	addr := listen(t, func(c *net.TCPConn) {
		var sending sync.WaitGroup
		sending.Go(func() { c.Write(down) })
		h := sha256.New()
		io.Copy(h, c)
		got <- [32]byte(h.Sum(nil))
		sending.Wait()
	})
	c := serve(t, a.AP, "line1")
	conn := c.open(3, addr)
	var sending sync.WaitGroup
	sending.Go(func() { conn.Write(up) })
	buf := make([]byte, len(down))
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(conn, buf); err != nil || sha256.Sum256(buf) != sha256.Sum256(down) {
		t.Fatalf("data from the server is wrong: %v", err)
	}
	awaitAll(t, &sending, "the end of sending")
	c.closeChannel(3, conn)
	if receive(t, got, "data at the server") != sha256.Sum256(up) {
		t.Error("data at the server is wrong")
	}
	events := a.steps(t, 3, "S718")
	octets := map[string]int{}
	for _, e := range events {
		octets[e.Step] += e.Bytes
		if e.Card != "line1" || e.Source != "apd" || e.Err != "" {
			t.Errorf("event %+v", e)
		}
		if from := map[string]trace.Party{"S704": trace.Server, "S710": trace.Server}[e.Step]; from != "" && e.From != from {
			t.Errorf("event %s from %s", e.Step, e.From)
		}
	}
	if octets["S709"] != len(up) || octets["S710"] != len(down) {
		t.Errorf("events tell of %d octets up and %d down", octets["S709"], octets["S710"])
	}
	names := stepNames(events)
	if names[0] != "S703" || names[1] != "S704" || slices.Contains(names[:len(names)-1], "S718") {
		t.Errorf("steps %v", names)
	}
	if !eventually(func() bool { return strings.Contains(a.log.String(), "octets_up=1048576 octets_down=1048577") }) {
		t.Errorf("log has no octets")
	}
}

// AT%WEBCLCH overtakes the data on its way: the server gets all of it nevertheless, then FIN.
func TestCloseAfterData(t *testing.T) {
	a := newAP(t, nil)
	data := random(100 << 10)
	got := make(chan []byte, 1)
	addr := listen(t, func(c *net.TCPConn) {
		p, _ := io.ReadAll(c)
		got <- p
	})
	c := serve(t, a.AP, "line1")
	for range 3 { // the channel is free again at once
		conn := c.open(1, addr)
		if _, err := conn.Write(data); err != nil {
			t.Fatal(err)
		}
		c.closeChannel(1, conn)
		if !bytes.Equal(receive(t, got, "data at the server"), data) {
			t.Error("data at the server is wrong")
		}
		_, err := c.do("%WEBCLCH=1")
		wantCME(t, err, at.ErrNoChannel)
	}
}

// The server's FIN: all it sent arrives, then the DLC's end.
func TestServerCloses(t *testing.T) {
	a := newAP(t, nil)
	data := random(300 << 10)
	addr := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 4))
		c.Write(data)
	})
	c := serve(t, a.AP, "line1")
	conn := c.open(1, addr)
	io.WriteString(conn, "GET ")
	conn.SetReadDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d octets of %d, %v", len(got), len(data), err)
	}
	if names := stepNames(a.steps(t, 1, "S718")); !slices.Equal(names, []string{"S703", "S704", "S709", "S710", "S718"}) {
		t.Errorf("steps %v", names)
	}
	if len(c.codes) != 0 {
		t.Errorf("unsolicited %s for an orderly end", <-c.codes)
	}
}

// The CP's DISC becomes FIN; the server's answer to it is not waited for longer than FinishTime.
func TestCPCloses(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 200 * time.Millisecond })
	got := make(chan string, 1)
	release := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		p, err := io.ReadAll(c)
		if err != nil {
			p = append(p, err.Error()...)
		}
		got <- string(p)
		<-release // its FIN does not come
	})
	defer close(release)
	c := serve(t, a.AP, "line1")
	conn := c.open(1, addr)
	io.WriteString(conn, "last words")
	conn.Close()
	if s := receive(t, got, "FIN at the server"); s != "last words" {
		t.Errorf("server got %q", s)
	}
	if !eventually(func() bool { return strings.Contains(a.log.String(), `cause="closed by the CP"`) }) {
		t.Error("connection is not closed")
	}
}

// A RST of the server is told by %WEBSTAT, then the DLC ends; what the server sent before arrives.
func TestReset(t *testing.T) {
	a := newAP(t, nil)
	reset := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		io.WriteString(c, "hello")
		<-reset
		c.SetLinger(0)
	})
	c := serve(t, a.AP, "line1")
	conn := c.open(2, addr)
	wantRead(t, conn, "hello")
	close(reset)
	if code := receive(t, c.codes, "%WEBSTAT"); code != "%WEBSTAT: 2,0,601" {
		t.Errorf("unsolicited %s", code)
	}
	wantEOF(t, conn)
	c.open(2, listen(t, echo))
}

// The same when it is a write to the server that meets the RST.
func TestResetAtWrite(t *testing.T) {
	a := newAP(t, nil)
	addr := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.SetLinger(0)
	})
	c := serve(t, a.AP, "line1")
	conn := c.open(2, addr)
	conn.SetDeadline(time.Now().Add(patience))
	for {
		if _, err := conn.Write(make([]byte, 1000)); err != nil {
			break
		}
	}
	if code := receive(t, c.codes, "%WEBSTAT"); code != "%WEBSTAT: 2,0,601" {
		t.Errorf("unsolicited %s", code)
	}
	wantEOF(t, conn)
}

// heap is the memory in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// standstill waits until the counter does not move any more.
func standstill(t *testing.T, n *atomic.Int64) {
	t.Helper()
	last, since := n.Load(), time.Now()
	for deadline := time.Now().Add(patience); time.Since(since) < 300*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("still moving at %d octets", last)
		}
	}
}

// A server that does not read stops the CP on that channel, without memory growing and without touching others. What the
// CP has sent waits, also after it closed the DLC, until it says by AT%WEBCLCH that the connection is to end.
func TestServerStalls(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 50 * time.Millisecond })
	release := make(chan struct{})
	stalled := listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		<-release
	})
	defer close(release)
	c := serve(t, a.AP, "line1")
	conn, other := c.open(1, stalled), c.open(2, listen(t, echo))
	before := heap()
	var sent atomic.Int64
	var sending sync.WaitGroup
	sending.Go(func() {
		for p := make([]byte, 4<<10); ; {
			n, err := conn.Write(p)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	standstill(t, &sent)
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("memory has grown by %d octets", grown)
	}
	roundTrip(t, other, "others go on")
	conn.Close()
	awaitAll(t, &sending, "the end of sending")
	roundTrip(t, other, "still")
	if _, err := c.do("%WEBCLCH=1"); err != nil {
		t.Error(err)
	}
	c.open(1, listen(t, echo))
}

// AT%WEBCLCH of such a channel is answered.
func TestCloseWhileServerStalls(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 200 * time.Millisecond })
	release := make(chan struct{})
	addr := listen(t, func(*net.TCPConn) { <-release })
	defer close(release)
	c := serve(t, a.AP, "line1")
	conn := c.open(1, addr)
	var sent atomic.Int64
	var sending sync.WaitGroup
	sending.Go(func() {
		for {
			n, err := conn.Write(make([]byte, 64<<10))
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	standstill(t, &sent)
	if _, err := c.do("%WEBCLCH=1"); err != nil {
		t.Error(err)
	}
	conn.Close()
	awaitAll(t, &sending, "the end of sending")
	roundTrip(t, c.open(1, listen(t, echo)), "free again")
}

// A server that floods a CP which does not read is stopped by TCP: memory stays, other channels go on, and nothing of
// what was sent is lost.
func TestServerFloods(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 300 * time.Millisecond })
	var sent atomic.Int64
	done := make(chan struct{})
	flood := listen(t, func(c *net.TCPConn) {
		defer close(done)
		c.SetWriteBuffer(64 << 10)
		for p := make([]byte, 32<<10); ; {
			n, err := c.Write(p)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	c := serve(t, a.AP, "line1")
	before := heap()
	conn, other := c.open(1, flood), c.open(2, listen(t, echo))
	standstill(t, &sent)
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("memory has grown by %d octets", grown)
	}
	roundTrip(t, other, "others go on")
	conn.SetReadDeadline(time.Now().Add(patience))
	want := sent.Load() + 1<<20 // what lay in between comes out, and more follows
	if _, err := io.CopyN(io.Discard, conn, want); err != nil {
		t.Error(err)
	}
	c.closeChannel(1, conn)
	receive(t, done, "end of the flood")
	roundTrip(t, other, "still")
}

// When the line goes down all its connections are reset; it comes back and serves again.
func TestLineRestart(t *testing.T) {
	a := newAP(t, nil)
	ended := make(chan error, 2)
	addr := listen(t, func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		ended <- err
	})
	c := serve(t, a.AP, "line1")
	other := serve(t, a.AP, "line2")
	one, two, kept := c.open(1, addr), c.open(7, addr), other.open(1, listen(t, echo))
	roundTrip(t, one, "before")
	roundTrip(t, two, "before")
	c.wire.cut()
	c.await(false)
	for range 2 {
		if err := receive(t, ended, "end of a connection"); err == nil {
			t.Error("a connection ended by FIN, as if its data was complete")
		}
	}
	c.await(true)
	roundTrip(t, c.open(1, addr), "after")
	roundTrip(t, kept, "the other line")
}

// The CP closes the DLC and opens it anew at once: what it sent before is with the first server nevertheless.
func TestChannelOpenedAnew(t *testing.T) {
	a := newAP(t, nil)
	data := random(60 << 10)
	got := make(chan []byte, 1)
	release, end := make(chan struct{}), make(chan struct{})
	first := listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		select {
		case <-release:
		case <-end:
		}
		p, _ := io.ReadAll(c)
		got <- p
	})
	t.Cleanup(func() { close(end) })
	second := listen(t, echo)
	c := serve(t, a.AP, "line1")
	for range 2 {
		conn := c.open(1, first)
		if _, err := conn.Write(data); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		conn = c.open(1, second)
		select {
		case release <- struct{}{}:
		case <-time.After(patience):
			t.Fatal("the first server does not read")
		}
		if p := receive(t, got, "data at the first server"); !bytes.Equal(p, data) {
			t.Errorf("first server got %d octets of %d", len(p), len(data))
		}
		roundTrip(t, conn, "data")
		conn.Close()
	}
}

// Several lines have channels of their own.
func TestLines(t *testing.T) {
	a := newAP(t, nil)
	addr := listen(t, echo)
	var lines []*cp
	for _, name := range []string{"a", "b", "c"} {
		lines = append(lines, serve(t, a.AP, name))
	}
	var conns []net.Conn
	for _, c := range lines {
		for n := 1; n <= ptylink.MaxChannel; n++ {
			conns = append(conns, c.open(n, addr))
		}
	}
	for _, c := range conns {
		roundTrip(t, c, "all at once")
	}
}

// endingConn is a DLC of which only the end counts.
type endingConn struct {
	net.Conn
	done chan struct{}
}

func (c *endingConn) Done() <-chan struct{} { return c.done }
func (c *endingConn) Err() error            { return io.EOF }

// AT%WEBOPCH may be handled before the DLC that the CP opened for it, in the place of one that it closed, is in its slot.
func TestTakeWaitsForReopenedDLC(t *testing.T) {
	l := newLine(newAP(t, nil).AP, "line1", newLineLimits(Limits{}))
	old, anew := &endingConn{done: make(chan struct{})}, &endingConn{done: make(chan struct{})}
	l.slots[1].conn = &conn{line: l, channel: 1, dlc: old}
	c := &conn{line: l, channel: 1}
	if err := l.take(t.Context(), c); err != at.ErrChannelBusy {
		t.Fatalf("channel in use: %v", err)
	}
	close(old.done)
	time.AfterFunc(20*time.Millisecond, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slots[1] = slot{dlc: anew}
		l.wake()
	})
	if err := l.take(t.Context(), c); err != nil || c.dlc != anew {
		t.Fatalf("channel opened anew: %v", err)
	}
}
