package bip_test

import (
	"context"
	"net"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
)

// source is a server that sends without end.
func source(b *testing.B) *net.TCPAddr {
	block := ramp(0, 64<<10)
	at := tcpServer(b, func(c *net.TCPConn) {
		c.SetDeadline(time.Time{})
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	return net.TCPAddrFromAddrPort(at)
}

// cycles is a card in process that reads by RECEIVE DATA as many times as it is told.
type cycles struct {
	b        *testing.B
	ask      chan int
	finished chan struct{}
	ended    chan struct{} // the applet
	term     *terminal
}

func newCycles(b *testing.B) *cycles {
	c := &cycles{b: b, ask: make(chan int), finished: make(chan struct{}), ended: make(chan struct{})}
	at := addrPort(source(b))
	read := func(ctx context.Context, tk *softuicc.Toolkit) error {
		defer close(c.ended)
		o := openBody("tcp", at)
		o.BufferSize = 16384
		id, err := tk.OpenChannel(ctx, o, cat.OpenImmediate)
		if err != nil {
			return err
		}
		buf := make([]byte, cat.MaxReceive)
		for n := range c.ask {
			for got := 0; got < n*cat.MaxReceive; {
				k, _, err := tk.ReceiveData(ctx, id.Status.Channel, buf)
				if err != nil {
					return err
				}
				got += k
			}
			c.finished <- struct{}{}
		}
		return tk.CloseChannel(ctx, id.Status.Channel, 0)
	}
	c.term = start(b, options{router: kernel(nil), poll: time.Millisecond, config: bip.Config{}, applets: appletList(read)})
	return c
}

func (c *cycles) run(n int) {
	c.b.Helper()
	select {
	case c.ask <- n:
	case <-c.ended:
		c.b.Fatal("the applet has ended")
	}
	select {
	case <-c.finished:
	case <-c.ended:
		c.b.Fatal("the applet has ended")
	}
}

func (c *cycles) end() {
	close(c.ask)
	c.term.waitApplets()
	c.term.end(context.Canceled)
}

// BenchmarkReceiveData is the cost of one RECEIVE DATA of 237 octets, FETCH and TERMINAL RESPONSE, from a card in
// process to a TCP connection on loopback. The card's own work is in it.
func BenchmarkReceiveData(b *testing.B) {
	c := newCycles(b)
	defer c.end()
	c.run(1000)
	b.ReportAllocs()
	b.SetBytes(cat.MaxReceive)
	b.ResetTimer()
	c.run(b.N)
	b.StopTimer()
}

// bare reads such a connection in pieces of 237 octets.
type bare struct {
	conn net.Conn
	buf  [cat.MaxReceive]byte
}

func newBare(b *testing.B) *bare {
	conn, err := net.DialTCP("tcp", nil, source(b))
	if err != nil {
		b.Fatal(err)
	}
	return &bare{conn: conn}
}

func (r *bare) run(b *testing.B, n int) {
	for got := 0; got < n*len(r.buf); {
		k, err := r.conn.Read(r.buf[:])
		if err != nil {
			b.Fatal(err)
		}
		got += k
	}
}

// BenchmarkBareRead is what the same octets cost without card, session and gateway.
func BenchmarkBareRead(b *testing.B) {
	r := newBare(b)
	defer r.conn.Close()
	r.run(b, 1000)
	b.ReportAllocs()
	b.SetBytes(cat.MaxReceive)
	b.ResetTimer()
	r.run(b, b.N)
	b.StopTimer()
}

// BenchmarkCycleRatio runs both alternately, so that what else the machine does meets both, and reports the ratio of
// the sums.
func BenchmarkCycleRatio(b *testing.B) {
	c, r := newCycles(b), newBare(b)
	defer c.end()
	defer r.conn.Close()
	c.run(1000)
	r.run(b, 1000)
	const round = 1000
	var ours, theirs time.Duration
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(round, b.N-done)
		begin := time.Now()
		c.run(n)
		ours += time.Since(begin)
		begin = time.Now()
		r.run(b, n)
		theirs += time.Since(begin)
		done += n
	}
	b.StopTimer()
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ns/cycle")
	b.ReportMetric(float64(theirs.Nanoseconds())/float64(b.N), "ns/bare")
	b.ReportMetric(float64(ours)/float64(theirs), "x/bare")
}
