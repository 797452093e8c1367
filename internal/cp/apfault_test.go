package cp_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/internal/cp"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/softuicc"
)

// promptly is what an answer may take that waits for nobody: less than any bound on what it could wait for, much for a busy machine.
const promptly = testTime / 2

// within wants f done in the time.
func (a *app) within(d time.Duration, what string, f func()) {
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		a.fail("%s took %v", what, took)
	}
}

// noNetwork wants both methods to be told promptly that there is no network.
func (a *app) noNetwork(t *testing.T) {
	remote := testkit.ClosedPort(t)
	for _, bearer := range []cat.BearerDescription{wlanBearer, packetBearer} {
		a.within(promptly, "the refusal", func() { a.refused(params(bearer, cat.OpenImmediate, remote), 0x21, 0x00) })
	}
}

// served wants the terminal to do what has nothing to do with channels.
func (a *app) served() {
	second := cat.TimerValue(time.Second)
	r, err := a.tk.Do(a.ctx, &cat.TimerManagement{Timer: 1, Value: &second}, cat.TimerStart, cat.DeviceTerminal)
	a.must(err)
	if r.Result.General != cat.ResultOK {
		a.fail("TIMER MANAGEMENT answered %v", r.Result)
	}
	_, err = a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Timer == 1 })
	a.must(err)
}

// TestAbsentAP: nobody answers on the line. The card is told so at once, and served as far as it goes.
func TestAbsentAP(t *testing.T) {
	b := run(t, options{noAP: true, tolerate: bearerRefused, applets: applets(func(a *app) {
		a.noNetwork(t)
		a.served()
		a.noNetwork(t)
	})})
	if s := b.cp.Status(); s.Line != "down" || s.State != "serving" {
		t.Errorf("state %+v", s)
	}
	b.log.Wants(t, "connection failed", "no network", "line is down")
}

// babble is an AP that writes what babble gives to each read, and by itself now and then.
func babble(answer func(heard []byte) []byte) serveLine {
	return func(ctx context.Context, line ptylink.PeerConfig) error {
		for ctx.Err() == nil {
			l, err := line.Open(ctx)
			if err != nil { // the CP makes it anew
				time.Sleep(time.Millisecond)
				continue
			}
			stop := context.AfterFunc(ctx, func() { l.Close() })
			buf := make([]byte, 4096)
			for err == nil {
				var n int
				if n, err = l.Read(buf); err == nil {
					_, err = l.Write(answer(buf[:n]))
				}
			}
			stop()
			l.Close()
		}
		return nil
	}
}

// TestGarbage: an AP that never says what is due. The CP goes on trying, tells the card, and ends when it is told to.
func TestGarbage(t *testing.T) {
	say := func(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }
	noise := func(heard []byte) []byte {
		b := make([]byte, 100+len(heard))
		rand.Read(b)
		return b
	}
	for name, answer := range map[string]func([]byte) []byte{
		"noise": noise, "ERROR": say("\r\nERROR\r\n"), "OK": say("\r\nOK\r\n"),
		"password": say("\r\n%NETPAR: 1,\"IP\",\"a\",\"b\",\"" + profilePassword + "\",\"\",\"\",\"\",0\r\nERROR\r\n"),
		"echo":     func(heard []byte) []byte { return append([]byte(nil), heard...) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, options{apd: babble(answer), deaf: true, tolerate: bearerRefused, applets: applets(func(a *app) {
				for range 5 {
					a.noNetwork(t)
				}
				a.served()
			})})
		})
	}
	t.Run("OK to all without multiplexer", func(t *testing.T) {
		run(t, options{apd: babble(func(heard []byte) []byte {
			if string(heard[len(heard)-1:]) == "\r" {
				return []byte("\r\nOK\r\n")
			}
			return nil
		}), noMux: true, tolerate: bearerRefused, applets: applets(func(a *app) { a.noNetwork(t) })})
	})
}

// endless writes to the client until that is gone, and counts the clients that it still has.
func endless(t *testing.T) (remote func() softuicc.DialParams, clients *atomic.Int32) {
	clients = new(atomic.Int32)
	addr := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		clients.Add(1)
		defer clients.Add(-1)
		for block := make([]byte, 4096); ; {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	return func() softuicc.DialParams { return params(wlanBearer, background, addr) }, clients
}

// impatient is an AP that does not wait long for a server that never ends.
func impatient(c *ap.Config) { c.FinishTime = 300 * time.Millisecond }

// take reads n octets.
func (a *app) take(c *softuicc.Conn, n int64) {
	a.must(c.SetReadDeadline(time.Now().Add(testTime)))
	_, err := io.CopyN(io.Discard, c, n)
	a.must(err)
}

// TestAPDies: an AP goes in the middle of two transfers, in order or by a crash, and comes back.
func TestAPDies(t *testing.T) {
	for name, how := range map[string]struct{ die, revive func(*bed) }{
		"in order": {func(b *bed) { b.stopAP() }, (*bed).startAP},
		"crash":    {(*bed).crashAP, (*bed).reviveAP},
	} {
		t.Run(name, func(t *testing.T) {
			remote, clients := endless(t)
			good := echoServer(t)
			running, back := make(chan struct{}), make(chan struct{})
			b := start(t, options{tolerate: bearerRefused, applets: applets(func(a *app) {
				one, two := a.dial(remote()), a.dial(remote())
				a.take(one, 20000)
				a.take(two, 20000)
				close(running)
				a.ended(one)
				a.ended(two)
				a.noNetwork(t)
				a.must(one.Close())
				a.must(two.Close())
				a.served()
				a.await("the AP", back)
				c := a.dial(params(wlanBearer, cat.OpenImmediate, good))
				a.echo(c)
				a.must(c.Close())
			})})
			b.reached("both transfers run", running)
			how.die(b)
			b.awaitLine(false)
			b.log.Await(t, "link dropped", "channel=1 ")
			b.log.Await(t, "link dropped", "channel=2 ")
			eventually(t, "the server has no client", func() bool { return clients.Load() == 0 })
			b.log.Await(t, "connection failed", "no network")
			how.revive(b)
			b.awaitLine(true)
			close(back)
			b.wait()
		})
	}
}

// TestAPStopsReading: an AP that takes nothing from the line any more is given up, and the card told.
func TestAPStopsReading(t *testing.T) {
	sink := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { io.Copy(struct{ io.Writer }{io.Discard}, c) })
	running := make(chan struct{})
	b := start(t, options{mux: fast, tolerate: bearerRefused, applets: applets(func(a *app) {
		c := a.dial(params(wlanBearer, background, sink))
		_, err := c.Write(make([]byte, 5000))
		a.must(err)
		close(running)
		for err == nil { // until the terminal says that the channel is closed, or takes no more
			_, err = c.Write(make([]byte, 5000))
		}
		a.ended(c)
		a.must(c.Close())
		a.served()
	})})
	b.reached("the transfer runs", running)
	b.apEnd.stop()
	b.awaitLine(false)
	b.wait()
	b.apEnd.crash()
}

// asking tries until the AP was asked, which takes longer than the CP's short patience where the machine is busy. It wants the result of
// the try at which it was.
func (a *app) asking(asked *atomic.Int32, try func() error, want ...byte) {
	for before := asked.Load(); ; {
		err := try()
		if asked.Load() > before {
			a.isResult(err, want...)
			return
		}
		if err == nil || a.ctx.Err() != nil {
			a.fail("the AP was not asked: %v", err)
		}
	}
}

// TestSilentWebOpen: an AP that takes AT%WEBOPCH and does not answer, either until the CP gives up, or ever.
func TestSilentWebOpen(t *testing.T) {
	for name, until := range map[string]func(ctx context.Context, dlc net.Conn){
		"until the DLC is closed": func(_ context.Context, dlc net.Conn) { dlc.Read(make([]byte, 1)) },
		"ever":                    func(ctx context.Context, _ net.Conn) { <-ctx.Done() },
	} {
		t.Run(name, func(t *testing.T) {
			silent := testkit.ClosedPort(t)
			var asked atomic.Int32
			apd := func(ctx context.Context, line ptylink.PeerConfig) error {
				p := ptylink.NewPeer(line)
				p.Handle("%WEBOPCH", func(ctx context.Context, c at.Command) ([]string, error) {
					w, err := ptylink.ParseWebOpen(c)
					if err != nil {
						return nil, err
					}
					dlc, err := p.Channel(ctx, w.Channel)
					if err != nil {
						return nil, err
					}
					defer dlc.Close()
					if w.Remote == silent {
						asked.Add(1)
						until(ctx, dlc)
					}
					return nil, at.ErrPolicy
				})
				return p.Run(ctx)
			}
			soon := patient
			soon.KeepAlive = 500 * time.Millisecond // by which an AP is given up that never answers
			b := start(t, options{apd: apd, mux: soon, tolerate: bearerRefused,
				cp: func(c *cp.Config) { c.ConnectTimeout = time.Second }, applets: applets(func(a *app) {
					a.within(promptly, "the time out", func() {
						a.asking(&asked, func() error {
							_, err := a.tk.Dial(a.ctx, params(wlanBearer, cat.OpenImmediate, silent))
							return err
						}, 0x3A, 0x00)
					})
					for deadline := time.Now().Add(testTime); ; {
						_, err := a.tk.Dial(a.ctx, params(wlanBearer, cat.OpenImmediate, testkit.ClosedPort(t)))
						var r *softuicc.ResultError
						if asResult(err, &r) && slices.Equal(r.Result.Info, []byte{cat.BIPSecurityError}) {
							return // the AP's own answer
						}
						if time.Now().After(deadline) {
							a.fail("the line does not get usable again: %v", err)
						}
					}
				})})
			b.wait()
			b.log.Wants(t, "connection failed", "timed out")
		})
	}
}

// TestSlowServer: a server that takes no data stops only its own channel, also while the line is shared.
func TestSlowServer(t *testing.T) {
	release := make(chan struct{})
	slow := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) {
		c.SetReadBuffer(4096)
		select {
		case <-release:
		case <-t.Context().Done():
		}
		c.SetReadDeadline(time.Now().Add(2 * time.Second)) // the RST may be lost: it came out of the closed window
		io.Copy(io.Discard, struct{ io.Reader }{c})
	})
	good := echoServer(t)
	b := start(t, options{cp: func(c *cp.Config) { c.SendTimeout = 300 * time.Millisecond },
		ap: func(c *ap.Config) { c.FinishTime = 300 * time.Millisecond }, applets: applets(func(a *app) {
			c := a.dial(params(wlanBearer, cat.OpenImmediate, slow))
			for { // until the terminal says that its buffer is full
				_, err := a.tk.SendData(a.ctx, c.Channel(), make([]byte, softuicc.MaxSend), true)
				if err != nil {
					a.isResult(err, 0x3A, cat.BIPBufferUnavailable)
					break
				}
			}
			other := a.dial(params(wlanBearer, cat.OpenImmediate, good))
			a.within(promptly, "the echo", func() { a.echo(other) })
			a.must(other.Close())
			a.must(c.Close())
		})})
	b.wait()
	close(release)
}
