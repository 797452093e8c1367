package cp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
	"bipd/softuicc"
)

// lineRate is the speed of a paced line in bit/s.
const lineRate = 115200

// pace makes writes take as long as a serial port's.
type pace struct {
	mu   sync.Mutex
	sent time.Time // when the last octet will have left
}

// wait returns when 20 ms are left to send, as the write to a serial port does.
func (p *pace) wait(octets int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.sent.Before(now) {
		p.sent = now
	}
	p.sent = p.sent.Add(time.Duration(octets) * 10 * time.Second / lineRate)
	time.Sleep(time.Until(p.sent) - 20*time.Millisecond)
}

// pacedPTY and pacedTTY are the two ends of a pty that look like a serial port and are as slow.
type pacedPTY struct {
	*ptylink.PTY
	pace pace
}

func (p *pacedPTY) Speed() int { return lineRate }

func (p *pacedPTY) Write(b []byte) (int, error) {
	n, err := p.PTY.Write(b)
	p.pace.wait(n)
	return n, err
}

type pacedTTY struct {
	*ptylink.TTY
	pace pace
}

func (p *pacedTTY) Speed() int { return lineRate }

func (p *pacedTTY) Write(b []byte) (int, error) {
	n, err := p.TTY.Write(b)
	p.pace.wait(n)
	return n, err
}

// pacedEnds is a serial-like line on a pty.
func pacedEnds(t testing.TB) lineEnds {
	link := filepath.Join(t.TempDir(), "line")
	return lineEnds{
		cp: func(context.Context) (io.ReadWriteCloser, error) {
			p, err := ptylink.OpenPTY(ptylink.PTYConfig{Link: link})
			if err != nil {
				return nil, err
			}
			return &pacedPTY{PTY: p}, nil
		},
		ap: func(context.Context) (io.ReadWriteCloser, error) {
			tty, err := ptylink.OpenTTY(link, ptylink.TTYConfig{})
			if err != nil {
				return nil, err
			}
			return &pacedTTY{TTY: tty.(*ptylink.TTY)}, nil
		},
	}
}

// ending is what a server got from one client, and how that ended.
type ending struct {
	octets int
	err    error // nil after FIN
}

// sink counts what its clients send and tells how each has ended. first runs on a new connection.
func sink(t testing.TB, first func(*net.TCPConn)) (addr netip.AddrPort, ended chan ending) {
	ended = make(chan ending, 1000)
	return tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		first(c)
		n, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
		ended <- ending{int(n), err}
	}), ended
}

func (b *bed) ending(from chan ending) ending {
	b.t.Helper()
	select {
	case e := <-from:
		return e
	case <-time.After(appletTime):
		b.t.Fatal("the server sees no end")
		panic("unreachable")
	}
}

// TestCloseOnABusyLine sends 1000 octets right before CLOSE CHANNEL on a line of 115200 bit/s with N1 512, while other channels
// upload: AT%WEBCLCH overtakes data there. All of it arrives, then FIN.
func TestCloseOnABusyLine(t *testing.T) {
	for _, others := range []int{2, 3, 6} {
		t.Run(fmt.Sprint(others, " others"), func(t *testing.T) {
			busyServer, _ := sink(t, func(*net.TCPConn) {})
			server, ended := sink(t, func(*net.TCPConn) {})
			var uploading atomic.Int32
			busy, done := make(chan struct{}), make(chan struct{})
			var list []softuicc.Applet
			for range others {
				list = append(list, applet(func(a *app) {
					c := a.dial(params(wlanBearer, cat.OpenImmediate, busyServer))
					for sent := 0; ; sent++ {
						_, err := c.Write(make([]byte, 1200))
						a.must(err)
						if sent == 3 && int(uploading.Add(1)) == others {
							close(busy)
						}
						select {
						case <-done:
							a.must(c.Close())
							return
						default:
						}
					}
				}))
			}
			const rounds = 3
			list = append(list, applet(func(a *app) {
				defer close(done)
				for range rounds {
					c := a.dial(params(wlanBearer, cat.OpenImmediate, server))
					a.await("busy channels", busy)
					_, err := c.Write(make([]byte, 1000))
					a.must(err)
					a.must(c.Close())
				}
			}))
			line := pacedEnds(t)
			b := start(t, options{quiet: true, line: &line, applets: list})
			for range rounds {
				if e := b.ending(ended); e.octets != 1000 || e.err != nil {
					t.Errorf("the server got %d octets of 1000, then %v", e.octets, e.err)
				}
			}
			b.wait()
		})
	}
}

// TestServerEndsItsDirectionNightly: a server ends its own direction and reads on, with all processors busy. What the card was
// told is sent arrives, then FIN.
func TestServerEndsItsDirectionNightly(t *testing.T) {
	spin, stop := context.WithCancel(context.Background())
	defer stop()
	for range runtime.NumCPU() {
		go func() {
			for spin.Err() == nil {
			}
		}()
	}
	runs := 1
	if testkit.Nightly() {
		runs = 60
	}
	for range runs { // each within the time that an applet has
		t.Run("", serverEndsItsDirection)
	}
}

func serverEndsItsDirection(t *testing.T) {
	const rounds = 5
	server, ended := sink(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 200))
		c.CloseWrite()
	})
	var mu sync.Mutex
	sent := map[int]int{} // sessions by octets
	var list []softuicc.Applet
	for range 3 {
		list = append(list, applet(func(a *app) {
			for range rounds {
				c := a.dial(params(wlanBearer, cat.OpenImmediate, server))
				octets := 0
				for {
					if _, err := a.tk.SendData(a.ctx, c.Channel(), make([]byte, 200), true); err != nil {
						a.isResult(err, 0x3A, cat.BIPChannelClosed)
						break
					}
					octets += 200
				}
				mu.Lock()
				sent[octets-200]++
				mu.Unlock()
				c.Close() // answered 3A 02
			}
		}))
	}
	b := start(t, options{quiet: true, applets: list})
	var got []ending
	for range len(list) * rounds {
		got = append(got, b.ending(ended))
	}
	b.wait()
	for _, e := range got {
		if e.err != nil || sent[e.octets] == 0 {
			t.Errorf("the server got %d octets, then %v; the card sent %v", e.octets, e.err, sent)
		}
		sent[e.octets]--
	}
}

// TestSlowServerAfterClose: a server that takes nothing for longer than two seconds after CLOSE CHANNEL, or a pulled card, gets
// all that the card was told is sent, then FIN.
func TestSlowServerAfterClose(t *testing.T) {
	for _, pulled := range []bool{false, true} {
		t.Run(fmt.Sprintf("pulled %t", pulled), func(t *testing.T) {
			release := make(chan struct{})
			server, ended := sink(t, func(*net.TCPConn) { <-release })
			sent, closed := 0, make(chan struct{})
			b := start(t, options{quiet: true, cp: func(c *cp.Config) { c.SendTimeout = 300 * time.Millisecond }, applets: applets(func(a *app) {
				c := a.dial(params(wlanBearer, cat.OpenImmediate, server))
				for { // until all buffers are full
					_, err := a.tk.SendData(a.ctx, c.Channel(), make([]byte, softuicc.MaxSend), true)
					if err != nil {
						a.isResult(err, 0x3A, cat.BIPBufferUnavailable)
						break
					}
					sent += softuicc.MaxSend
				}
				_, err := a.tk.GetChannelStatus(a.ctx) // the terminal knows by it that the card took the last answer
				a.must(err)
				if !pulled {
					a.must(c.Close())
				}
				close(closed)
				if pulled {
					<-a.ctx.Done()
				}
			})})
			b.reached("all is sent", closed)
			if pulled {
				b.reader.Remove()
			}
			time.Sleep(2500 * time.Millisecond)
			close(release)
			if e := b.ending(ended); e.octets != sent || e.err != nil {
				t.Errorf("the server got %d octets of %d, then %v", e.octets, sent, e.err)
			}
		})
	}
}

// TestAPRestartMended: an AP that is restarted in order, while a card loads and sends. The server sees a reset, and automatic
// reconnection mends the channel as it does after a crash.
func TestAPRestartMended(t *testing.T) {
	for name, how := range map[string]struct{ die, revive func(*bed) }{
		"in order": {func(b *bed) { b.stopAP() }, (*bed).startAP},
		"crash":    {(*bed).crashAP, (*bed).reviveAP},
	} {
		t.Run(name, func(t *testing.T) {
			server, ended := sink(t, func(*net.TCPConn) {})
			running, back := make(chan struct{}), make(chan struct{})
			b := start(t, options{quiet: true, tolerate: bearerRefused, applets: applets(func(a *app) {
				c := a.dial(params(wlanBearer, background|cat.OpenAutoReconnect, server))
				_, err := c.Write(make([]byte, 5000))
				a.must(err)
				close(running)
				a.await("the AP", back)
				for {
					list, err := a.tk.GetChannelStatus(a.ctx)
					a.must(err)
					if len(list) == 1 && list[0].Link == cat.LinkEstablished {
						break
					}
					if a.ctx.Err() != nil {
						a.fail("the channel does not come back: %v", list)
					}
				}
				_, err = a.tk.SendData(a.ctx, c.Channel(), make([]byte, 100), true)
				a.must(err)
				a.must(a.tk.CloseChannel(a.ctx, c.Channel(), 0))
			})})
			b.reached("the channel is open", running)
			how.die(b)
			if e := b.ending(ended); !errors.Is(e.err, syscall.ECONNRESET) {
				t.Errorf("the server got %d octets, then %v, want a reset", e.octets, e.err)
			}
			b.awaitLine(false)
			how.revive(b)
			b.awaitLine(true)
			close(back)
			if e := b.ending(ended); e.octets != 100 || e.err != nil {
				t.Errorf("the server got %d octets of 100 on the mended channel, then %v", e.octets, e.err)
			}
			b.wait()
		})
	}
}

// TestStoredIsNotSent: a card that is pulled while octets are stored, and not sent, leaves a stream that is not complete: the
// server gets what was sent, then a reset.
func TestStoredIsNotSent(t *testing.T) {
	for name, bearer := range map[string]cat.BearerDescription{"method 1": packetBearer, "method 2": wlanBearer} {
		t.Run(name, func(t *testing.T) {
			server, ended := sink(t, func(*net.TCPConn) {})
			stored := make(chan struct{})
			b := start(t, options{quiet: true, applets: applets(func(a *app) {
				c := a.dial(params(bearer, cat.OpenImmediate, server))
				_, err := a.tk.SendData(a.ctx, c.Channel(), make([]byte, 200), true)
				a.must(err)
				_, err = a.tk.SendData(a.ctx, c.Channel(), make([]byte, 50), false)
				a.must(err)
				_, err = a.tk.GetChannelStatus(a.ctx) // the terminal knows by it that the card took the last answer
				a.must(err)
				close(stored)
				<-a.ctx.Done()
			})})
			b.reached("octets are stored", stored)
			b.reader.Remove()
			if e := b.ending(ended); e.octets > 200 || !errors.Is(e.err, syscall.ECONNRESET) {
				t.Errorf("the server got %d octets, then %v, want 200 at most and a reset", e.octets, e.err)
			}
		})
	}
}

// TestCloseWaitsForData: an AP of another make may close the connection at AT%WEBCLCH, which overtakes data on the line. It
// comes only when the AP has all of it.
func TestCloseWaitsForData(t *testing.T) {
	const octets = 6000
	got := make(chan int, 1)
	foreign := func(ctx context.Context, line ptylink.PeerConfig) error {
		p := ptylink.NewPeer(line)
		var dlc *mux.DLC
		p.Handle("%WEBOPCH", func(ctx context.Context, c at.Command) ([]string, error) {
			w, err := ptylink.ParseWebOpen(c)
			if err != nil {
				return nil, err
			}
			if dlc, err = p.Channel(ctx, w.Channel); err != nil {
				return nil, err
			}
			return ptylink.WebOpenedLines(w.Channel, netip.MustParseAddrPort("192.0.2.7:7"))
		})
		p.Handle("%WEBCLCH", func(context.Context, at.Command) ([]string, error) {
			// What is there by now, at once: the rest would be lost.
			n, _ := dlc.Read(make([]byte, octets))
			got <- n
			return nil, nil
		})
		return p.Run(ctx)
	}
	line := pacedEnds(t)
	b := start(t, options{quiet: true, apd: foreign, line: &line, applets: applets(func(a *app) {
		c := a.dial(params(wlanBearer, cat.OpenImmediate, netip.MustParseAddrPort("192.0.2.80:80")))
		_, err := c.Write(make([]byte, octets))
		a.must(err)
		a.must(c.Close())
	})})
	select {
	case n := <-got:
		if n != octets {
			t.Errorf("the AP has %d octets of %d when it is told to close", n, octets)
		}
	case <-time.After(appletTime):
		t.Fatal("no AT%WEBCLCH")
	}
	b.wait()
}
