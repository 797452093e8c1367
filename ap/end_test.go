package ap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/tcpend"
)

// stream is what a server got, and how it ended.
type stream struct {
	data []byte
	err  error // nil after FIN
}

// recorder is a server that reads to the end, once release is closed, and tells what it got.
func recorder(t *testing.T, release <-chan struct{}) (addr net.Addr, got chan stream) {
	got = make(chan stream, 100)
	return listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		<-release
		data, err := io.ReadAll(c)
		got <- stream{data, err}
	}), got
}

// now is a release that is there already.
func now() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// wantWhole wants all that was sent, then FIN.
func wantWhole(t *testing.T, got chan stream, sent []byte) {
	t.Helper()
	if s := receive(t, got, "end of the stream"); s.err != nil || !bytes.Equal(s.data, sent) {
		t.Errorf("server got %d octets of %d, then %v", len(s.data), len(sent), s.err)
	}
}

// wantReset wants a reset, whatever arrived before.
func wantReset(t *testing.T, got chan stream) {
	t.Helper()
	if s := receive(t, got, "end of the stream"); !errors.Is(s.err, unix.ECONNRESET) {
		t.Errorf("server got %d octets, then %v, want a reset", len(s.data), s.err)
	}
}

// connect opens channel n as bipd does, with %WEBSTAT asked for.
func (c *cp) connect(n int, addr net.Addr) (*ptylink.Channel, error) {
	conn, err := c.link.OpenChannel(c.ctx(), n)
	if err != nil {
		return nil, err
	}
	c.t.Cleanup(func() { conn.Close() })
	_, err = c.link.WebOpenChannel(c.ctx(), ptylink.WebOpen{Channel: n, Network: "tcp",
		Remote: netip.MustParseAddrPort(addr.String()), Buffer: 1500})
	return conn, err
}

func (c *cp) mustConnect(n int, addr net.Addr) *ptylink.Channel {
	c.t.Helper()
	conn, err := c.connect(n, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// A server that takes nothing for longer than 2 s after the end, and then reads on, gets everything, then FIN, also where
// it sends all the while and the line goes down meanwhile.
func TestSlowServerGetsAll(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 0 }) // as configured by default
	release := make(chan struct{})
	quiet, got := recorder(t, release)
	sent := random(60 << 10)
	chatty := listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for c.SetWriteDeadline(time.Now().Add(patience)); ; {
				select {
				case <-release:
					return
				default:
				}
				if _, err := c.Write(make([]byte, 64<<10)); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		<-release
		data, err := io.ReadAll(c)
		got <- stream{data, err}
		<-ended
	})
	c := serve(t, a.AP, "line1")
	for n, addr := range []net.Addr{quiet, chatty} {
		conn := c.mustConnect(1+n, addr)
		go io.Copy(io.Discard, conn)
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		c.closeChannel(1+n, conn)
		receive(t, conn.Done(), "end of the DLC")
	}
	c.wire.cut()
	time.Sleep(2500 * time.Millisecond)
	close(release)
	wantWhole(t, got, sent)
	wantWhole(t, got, sent)
}

// The end of the daemon waits for servers to take what cards have sent, not for those that have all of it to close, too.
func TestWaitLeavesIdleServers(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 10 * patience })
	idle, got := make(chan struct{}), make(chan stream, 1)
	addr := listen(t, func(c *net.TCPConn) {
		data, err := io.ReadAll(c)
		got <- stream{data, err}
		<-idle
	})
	t.Cleanup(func() { close(idle) })
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	sent := random(3000)
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	c.closeChannel(1, conn)
	receive(t, conn.Done(), "end of the DLC")
	wantWhole(t, got, sent)
	c.end()
	a.wait(t)
}

// A server that has ended its direction, and takes the last octets while the daemon ends, holds it up no longer than that.
func TestWaitForLastOctets(t *testing.T) {
	a := newAP(t, nil)
	release, got := make(chan struct{}), make(chan stream, 1)
	addr := listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		c.CloseWrite()
		<-release
		data, err := io.ReadAll(c)
		got <- stream{data, err}
	})
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	sent := random(60 << 10)
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	c.closeChannel(1, conn)
	receive(t, conn.Done(), "end of the DLC")
	c.end()
	go func() {
		if !eventually(a.waiting.Load) {
			t.Error("Wait does not begin")
		}
		close(release)
	}()
	a.wait(t)
	wantWhole(t, got, sent)
}

// A server that sends for ever, and reads only when it can send no more, has everything and FIN. It is not waited for once it
// has sent more than is worth its cost.
func TestServerSendsOn(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 10 * patience })
	got := make(chan stream, 1)
	addr := listen(t, func(c *net.TCPConn) {
		c.SetWriteDeadline(time.Now().Add(patience))
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		data, err := io.ReadAll(c)
		got <- stream{data, err}
	})
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	sent := random(3000)
	if _, err := conn.Write(sent); err != nil {
		t.Fatal(err)
	}
	c.closeChannel(1, conn)
	wantWhole(t, got, sent)
	a.log.Await(t, "level=INFO", "channel closed", `cause="closed by the CP"`, "octets_up=3000")
	var discarded int
	_, text, _ := strings.Cut(a.log.String(), "discarded=")
	if fmt.Sscan(text, &discarded); discarded <= tcpend.MaxSurplus || discarded > tcpend.MaxSurplus+streamChunk {
		t.Errorf("%d octets were discarded, want one read more than %d at most", discarded, tcpend.MaxSurplus)
	}
	if strings.Contains(a.log.String(), "level=WARN") {
		t.Error("a warning, though nothing is lost")
	}
}

// Where it takes nothing for FinishTime it is reset, and the log says so.
func TestStalledServerIsReset(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 100 * time.Millisecond })
	release := make(chan struct{})
	addr, got := recorder(t, release)
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	var sending sync.WaitGroup
	sending.Go(func() { conn.Write(random(64 << 10)) })
	sending.Wait()
	c.closeChannel(1, conn)
	if !eventually(func() bool { return strings.Contains(a.log.String(), "not everything could be sent in time") }) {
		t.Error("no warning")
	}
	close(release)
	wantReset(t, got)
}

// Where it resets the connection before it has taken everything, nobody waits for it any more, and the log says what it
// does not have.
func TestServerResetsLate(t *testing.T) {
	a := newAP(t, nil)
	release := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4 << 10)
		<-release
		c.SetLinger(0)
	})
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	if _, err := conn.Write(random(60 << 10)); err != nil {
		t.Fatal(err)
	}
	c.closeChannel(1, conn)
	receive(t, conn.Done(), "end of the DLC")
	close(release)
	start := time.Now()
	if !eventually(func() bool { return strings.Contains(a.log.String(), "channel closed") }) || time.Since(start) > patience/2 {
		t.Errorf("the end took %v", time.Since(start))
	}
	a.log.Wants(t, "level=WARN", "not everything was delivered")
}

// late is a connection whose writes come back when after is closed, and that tells when its stream has ended.
type late struct {
	*net.TCPConn
	after <-chan struct{}
	ended chan struct{}
	once  sync.Once
}

func (c *late) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	<-c.after
	return n, err
}

func (c *late) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if err != nil {
		c.once.Do(func() { close(c.ended) })
	}
	return n, err
}

// The same where the server has acknowledged all that was written, but not all was written yet.
func TestServerResetsInBetween(t *testing.T) {
	after, ended := make(chan struct{}), make(chan struct{})
	a := newAP(t, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
			c, err := dialKernel(ctx, network, iface, local, dst)
			if err != nil {
				return nil, err
			}
			return &late{TCPConn: c.(*net.TCPConn), after: after, ended: ended}, nil
		}
	})
	release := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		<-release
		c.SetLinger(0)
	})
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	if _, err := conn.Write(random(60 << 10)); err != nil {
		t.Fatal(err)
	}
	c.closeChannel(1, conn)
	receive(t, conn.Done(), "end of the DLC")
	close(release)
	receive(t, ended, "reset")
	close(after)
	a.log.Await(t, "level=WARN", "not everything was delivered")
}

// A CP that says by AT%WEBCLCH that it closes the channel, and then does not end the DLC: what it sent may be incomplete.
func TestNoEndAfterWebClose(t *testing.T) {
	a := newAP(t, func(cfg *Config) { cfg.FinishTime = 100 * time.Millisecond })
	addr, got := recorder(t, now())
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, addr)
	io.WriteString(conn, "and then")
	if _, err := c.do("%WEBCLCH=1"); err != nil {
		t.Error(err)
	}
	wantReset(t, got)
}

// However a DLC ends without its user's Close, the server sees a reset, and nothing of it an orderly end.
func TestTornIsReset(t *testing.T) {
	for name, tear := range map[string]func(c *cp, conn *ptylink.Channel){
		"DM":                 func(_ *cp, conn *ptylink.Channel) { conn.Abort() },
		"line cut":           func(c *cp, _ *ptylink.Channel) { c.wire.cut() },
		"CP takes line down": func(c *cp, _ *ptylink.Channel) { c.stop() },
		"AP takes line down": func(c *cp, _ *ptylink.Channel) { c.stopAP() },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAP(t, nil)
			addr, got := recorder(t, now())
			c := serve(t, a.AP, "line1")
			conn := c.mustConnect(1, addr)
			if _, err := conn.Write(random(3000)); err != nil {
				t.Fatal(err)
			}
			if err := conn.Flush(c.ctx()); err != nil {
				t.Fatal(err)
			}
			tear(c, conn)
			wantReset(t, got)
		})
	}
}

// frame makes a frame of 27.010's basic option from the AP; its FCS covers the header (clause 5.2.1.6).
func frame(dlci, control byte, info string) []byte {
	header := []byte{dlci<<2 | 1, control, byte(len(info))<<1 | 1}
	if control != 0xEF { // a response of the responder; UIH as a command
		header[0] |= 2
	}
	sum := byte(0xFF)
	for _, o := range header {
		sum ^= o
		for range 8 {
			sum = sum>>1 ^ sum&1*0xE0
		}
	}
	p := append([]byte{0xF9}, header...)
	p = append(p, 0xFF-sum, 0xF9)
	return append(p[:4:4], append([]byte(info), p[4:]...)...)
}

// The CP takes the line down by itself, while it sends: the multiplexer ends in order, and the server sees a reset all the
// same.
func TestLineTakenDownIsReset(t *testing.T) {
	for name, way := range map[string]func(c *cp){
		"DM on DLC 1":             func(c *cp) { c.wire.toCP(frame(1, 0x1F, "")) },
		"DM on DLCI 0":            func(c *cp) { c.wire.toCP(frame(0, 0x1F, "")) },
		"payload check fails":     func(c *cp) { c.wire.toCP(frame(1, 0xEF, "\r\nRING\r\nabcd")) },
		"AT command not answered": func(c *cp) { c.giveUp(webOpch(2, tcp("192.0.2.1:80"))) },
		"end of the daemon":       func(c *cp) { c.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAP(t, func(cfg *Config) {
				cfg.Dial = func(ctx context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
					if dst.Port() == 80 {
						return hang(ctx, network, iface, local, dst)
					}
					return dialKernel(ctx, network, iface, local, dst)
				}
			})
			addr, got := recorder(t, now())
			c := serveWith(t, a.AP, "line1", func(cfg *ptylink.LinkConfig) {
				cfg.Check, cfg.Mux.KeepAlive = ptylink.CheckOn, 300*time.Millisecond
			})
			conn := c.mustConnect(1, addr)
			started := make(chan struct{})
			var sending sync.WaitGroup
			defer sending.Wait()
			sending.Go(func() {
				for first := true; ; first = false {
					if _, err := conn.Write(random(3000)); err != nil {
						return
					}
					if first {
						close(started)
					}
				}
			})
			receive(t, started, "data on its way")
			way(c)
			wantReset(t, got)
			c.await(false)
		})
	}
}

// giveUp sends a command for channel 2 and does not wait for its answer.
func (c *cp) giveUp(line string) {
	cmds, err := at.ParseLine("AT" + line)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.link.OpenChannel(c.ctx(), 2); err != nil {
		c.t.Error(err)
	}
	if _, err := c.link.Do(ctx, cmds[0]); err == nil {
		c.t.Error("the command is answered")
	}
}

// When the AP takes the line down the CP sees its channels lost, not ended by the server.
func TestChannelsLostWithTheAP(t *testing.T) {
	a := newAP(t, nil)
	c := serve(t, a.AP, "line1")
	conn := c.mustConnect(1, listen(t, echo))
	roundTrip(t, conn, "hello")
	c.stopAP()
	conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read gives %v", err)
	}
}

// A server that ends its direction and reads on, with both processors busy: the CP gets all that it sent and then its end,
// and what the CP wrote by then is with the server, then FIN.
func TestServerEndsItsDirectionNightly(t *testing.T) {
	a := newAP(t, nil)
	got := make(chan stream, 100)
	down := random(5000)
	addr := listen(t, func(c *net.TCPConn) {
		c.Write(down)
		c.CloseWrite()
		data, err := io.ReadAll(c)
		got <- stream{data, err}
	})
	c := serve(t, a.AP, "line1")
	busy, idle := context.WithCancel(context.Background())
	defer idle()
	for range 2 * runtime.NumCPU() {
		go func() {
			for busy.Err() == nil {
			}
		}()
	}
	rounds := 4
	if testkit.Nightly() {
		rounds = 200
	}
	for range rounds {
		var channels sync.WaitGroup
		var mu sync.Mutex
		sums := map[int]int{} // sessions by the octets written
		for n := 1; n <= ptylink.MaxChannel; n++ {
			channels.Go(func() {
				conn, err := c.connect(n, addr)
				if err != nil {
					t.Error(err)
					return
				}
				ended := make(chan error, 1)
				go func() {
					data, err := io.ReadAll(conn)
					if err == nil && !bytes.Equal(data, down) {
						err = errors.New("data from the server is wrong")
					}
					ended <- err
				}()
				written := 0
				for over := false; !over; {
					select {
					case err := <-ended:
						if err != nil {
							t.Error(err)
						}
						over = true
					default:
					}
					n, err := conn.Write(make([]byte, 1000))
					if err != nil {
						t.Error(err)
						break
					}
					written += n
				}
				mu.Lock()
				sums[written]++
				mu.Unlock()
				if _, err := c.do("%WEBCLCH=" + string(rune('0'+n))); err != nil {
					t.Error(err)
				}
				conn.Close()
			})
		}
		channels.Wait()
		for range ptylink.MaxChannel {
			s := receive(t, got, "end of a stream")
			if s.err != nil || sums[len(s.data)] == 0 {
				t.Errorf("server got %d octets, then %v; the CP wrote %v", len(s.data), s.err, sums)
			}
			sums[len(s.data)]--
		}
	}
}

// Whoever does not ask for %WEBSTAT gets the DLC's end as the server ends its direction. What it still sends is lost, and
// the server sees a reset.
func TestServerEndsWithoutReports(t *testing.T) {
	a := newAP(t, nil)
	got := make(chan stream, 1)
	addr := listen(t, func(c *net.TCPConn) {
		io.WriteString(c, "bye")
		c.CloseWrite()
		data, err := io.ReadAll(c)
		got <- stream{data, err}
	})
	c := serve(t, a.AP, "line1")
	conn := c.open(1, addr)
	wantRead(t, conn, "bye")
	wantEOF(t, conn)
	wantReset(t, got)
	c.open(1, listen(t, echo)) // it is free again
}

// A server's end that is told late is not taken for that of the channel's next connection.
func TestServerEndsLate(t *testing.T) {
	a := newAP(t, nil)
	end := make(chan struct{})
	addr := listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 1))
		c.CloseWrite()
		<-end
	})
	defer close(end)
	c := serve(t, a.AP, "line1")
	steady := listen(t, echo)
	for range 30 {
		conn := c.mustConnect(1, addr)
		io.WriteString(conn, "x")
		conn.Abort()
		conn = c.mustConnect(1, steady)
		roundTrip(t, conn, "hello")
		conn.Close()
	}
}

// A channel that the CP has closed is opened anew at once, though its server does not read. However that server ends, the CP
// hears nothing of it: it would take it for the end of the new connection.
func TestEndOfOneBefore(t *testing.T) {
	for name, end := range map[string]func(c *net.TCPConn){
		"reset":                  func(c *net.TCPConn) { c.SetLinger(0) },
		"ends its direction":     func(c *net.TCPConn) { c.CloseWrite(); io.Copy(io.Discard, c) },
		"sends and reads to end": func(c *net.TCPConn) { io.WriteString(c, "late"); io.Copy(io.Discard, c) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAP(t, func(cfg *Config) { cfg.FinishTime = 10 * patience }) // nothing here is to end by that
			release := make(chan struct{})
			first := listen(t, func(c *net.TCPConn) {
				c.SetReadBuffer(4 << 10)
				<-release
				end(c)
			})
			let := sync.OnceFunc(func() { close(release) })
			t.Cleanup(let)
			c := serve(t, a.AP, "line1")
			conn := c.mustConnect(1, first)
			if _, err := conn.Write(random(60 << 10)); err != nil {
				t.Fatal(err)
			}
			c.closeChannel(1, conn)
			receive(t, conn.Done(), "end of the DLC")
			anew := c.mustConnect(1, listen(t, echo))
			let()
			a.log.Await(t, "channel closed", "destination=\"tcp "+first.String())
			roundTrip(t, anew, "the new one goes on")
			if len(c.codes) > 0 {
				t.Errorf("the CP heard %s", <-c.codes)
			}
		})
	}
}

// A connection that is made though its line went down meanwhile is reset, and not kept.
func TestConnectedTooLate(t *testing.T) {
	addr, got := recorder(t, now())
	dialling, connect := make(chan struct{}), make(chan struct{})
	a := newAP(t, func(cfg *Config) {
		cfg.Dial = func(_ context.Context, network, iface string, local netip.Addr, dst netip.AddrPort) (net.Conn, error) {
			close(dialling)
			<-connect
			return dialKernel(context.Background(), network, iface, local, dst)
		}
	})
	c := serve(t, a.AP, "line1")
	c.dlc(1)
	answered := make(chan error, 1)
	go func() {
		_, err := c.do(webOpch(1, addr))
		answered <- err
	}()
	receive(t, dialling, "connect")
	c.wire.cut()
	if err := receive(t, answered, "answer"); err == nil {
		t.Error("connected on a line that is down")
	}
	c.await(false)
	close(connect)
	wantReset(t, got)
}
