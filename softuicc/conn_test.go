package softuicc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/testkit"
)

var (
	loopback = netip.MustParseAddr("127.0.0.1")
	discard  = netip.MustParseAddrPort("127.0.0.1:9")
)

// runBIP runs applets against the correct terminal until they have ended; the judge must find nothing.
func runBIP(t *testing.T, dial network, applets ...Applet) *bipTerminal {
	t.Helper()
	c := newCard(t, Config{Applets: applets, ThinkTime: DefaultThinkTime}) // applets may wait outside of the toolkit
	b := newBIPTerminal(newTerminal(t, c), dial)
	done := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		result <- c.Wait(ctx)
		close(done)
	}()
	b.serve(done)
	if err := <-result; err != nil {
		t.Error(err)
	}
	clean(t, c)
	return b
}

// serving is a network on loopback where every dial reaches a server of its own, whatever the address; serve runs in a
// goroutine that ends with the connection.
func serving(serve func(net.Conn)) network {
	return func(_, _ string) (net.Conn, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		near, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		far, err := l.Accept()
		if err != nil {
			near.Close()
			return nil, err
		}
		go func() {
			defer far.Close()
			serve(far)
		}()
		return near, nil
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func tcp(q byte) DialParams {
	return DialParams{Transport: cat.TCPClientRemote, Remote: discard, Qualifier: q}
}

func TestHTTP(t *testing.T) {
	testkit.NoLeaks(t)
	file := random(200_000)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Body-Length", fmt.Sprint(len(body)))
		w.Write(file)
	})
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(handler)
			if secure {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			b := runBIP(t, net.Dial, func(ctx context.Context, tk *Toolkit) error {
				tr := srv.Client().Transport.(*http.Transport).Clone()
				tr.DialContext = tk.Dialer(DialParams{Qualifier: cat.OpenImmediate})
				defer tr.CloseIdleConnections()
				client := &http.Client{Transport: tr}
				for range 2 { // the second over the same channel
					resp, err := client.Post(srv.URL, "text/plain", bytes.NewReader(make([]byte, 3000)))
					if err != nil {
						return err
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || !bytes.Equal(got, file) || resp.Header.Get("Body-Length") != "3000" {
						return fmt.Errorf("%d bytes, %v, header %v", len(got), err, resp.Header)
					}
				}
				return nil
			})
			if b.fetches[typeOpen] != 1 || b.fetches[typeReceive] == 0 {
				t.Errorf("commands %v", b.fetches)
			}
		})
	}
}

// TestTLSConn drives crypto/tls itself over a channel, and ends with the server's close.
func TestTLSConn(t *testing.T) {
	testkit.NoLeaks(t)
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	config := srv.TLS.Clone()
	pool := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	srv.Close()
	runBIP(t, serving(func(far net.Conn) {
		s := tls.Server(far, config)
		io.CopyN(s, s, 5000)
		s.Close()
	}), func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate))
		if err != nil {
			return err
		}
		defer conn.Close()
		c := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "example.com"})
		data := random(5000)
		if _, err := c.Write(data); err != nil {
			return err
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, data) {
			return fmt.Errorf("%d of %d bytes back: %v", len(got), len(data), err)
		}
		return nil
	})
}

// TestOneCommandPerBlock holds the toolkit to one RECEIVE DATA for each 237 octets, for what is there as real cards do, and
// to EOF after the last octet.
func TestOneCommandPerBlock(t *testing.T) {
	testkit.NoLeaks(t)
	file := random(10*maxReceive + 5)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		conn, err := tk.Dial(ctx, tcp(cat.OpenImmediate))
		if err != nil {
			return err
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, file) {
			return fmt.Errorf("%d of %d bytes: %v", len(got), len(file), err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			return fmt.Errorf("after the end: %v", err)
		}
		return conn.Close()
	}}})
	e := newTerminal(t, c)
	e.profile()
	m := e.fetch()
	want(t, "event list", toHex(m[len(m)-4:]), "9902090A")
	e.respond(m, "830100")
	m = e.fetch()
	want(t, "OPEN CHANNEL", toHex(m[7:]), "82028182"+"350103"+"39020578"+"3C03020009"+"3E05217F000001")
	e.respond(m, "830100 38028100 350103 39020578")
	e.envelope("D60E 990109 82028281 B8028100 B701FF")
	for rest, blocks := file, 0; len(rest) > 0; blocks++ {
		if e.sw>>8 != 0x91 {
			t.Fatalf("after %d blocks: %04X, the toolkit does not go on by itself", blocks, e.sw)
		}
		m := e.fetch()
		n := min(maxReceive, len(rest))
		want(t, "RECEIVE DATA", toHex(m[7:]), fmt.Sprintf("82028121B701%02X", n))
		r := []byte{0x83, 1, 0}
		r = appendTLV(r, 0x80|tagData, rest[:n])
		rest = rest[n:]
		r = append(r, 0xB7, 1, byte(min(255, len(rest))))
		e.command(0x14, append(frame(m), r...))
	}
	e.envelope("D60B 99010A 82028281 B8020105")
	e.respond(e.fetch(), "830100")
	ended(t, c)
	clean(t, c)
}

func TestUDP(t *testing.T) {
	testkit.NoLeaks(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		p := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(p)
			if err != nil {
				return
			}
			pc.WriteTo(p[:n], from)
		}
	}()
	defer func() { pc.Close(); <-echoed }()
	for _, q := range []byte{cat.OpenImmediate, 0} {
		runBIP(t, net.Dial, func(ctx context.Context, tk *Toolkit) error {
			conn, err := tk.Dialer(DialParams{Qualifier: q})(ctx, "udp", pc.LocalAddr().String())
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, n := range []int{1, 229, 230, 512, 1400} {
				out, in := random(n), make([]byte, 2000)
				if _, err := conn.Write(out); err != nil {
					return err
				}
				conn.SetReadDeadline(time.Now().Add(wait))
				got, err := conn.Read(in)
				if err != nil || !bytes.Equal(in[:got], out) {
					return fmt.Errorf("datagram of %d: %d back, %v", n, got, err)
				}
			}
			if _, err := conn.Write(make([]byte, 1401)); err == nil {
				return errors.New("a datagram larger than the buffer was accepted")
			}
			pc := conn.(net.PacketConn)
			if _, err := pc.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(discard)); err == nil {
				return errors.New("a datagram to somebody else was accepted")
			}
			if _, err := pc.WriteTo([]byte("x"), conn.RemoteAddr()); err != nil {
				return err
			}
			if n, from, err := pc.ReadFrom(make([]byte, 9)); n != 1 || from.String() != conn.RemoteAddr().String() || err != nil {
				return fmt.Errorf("ReadFrom: %d %v %v", n, from, err)
			}
			return nil
		})
	}
}

// TestModes opens in each mode and echoes over seven channels at once; the eighth is refused.
func TestModes(t *testing.T) {
	testkit.NoLeaks(t)
	for name, q := range map[string]byte{"immediate": 1, "background": 5, "on demand": 0} {
		t.Run(name, func(t *testing.T) {
			runBIP(t, serving(func(c net.Conn) { io.Copy(c, c) }), func(ctx context.Context, tk *Toolkit) error {
				var conns [7]*Conn
				for i := range conns {
					var err error
					if conns[i], err = tk.Dial(ctx, tcp(q)); err != nil {
						return err
					}
				}
				var refused *ResultError
				if _, err := tk.Dial(ctx, tcp(q)); !errors.As(err, &refused) || refused.Result.Info[0] != cat.BIPNoChannel {
					return fmt.Errorf("eighth channel: %v", err)
				}
				for i, c := range conns {
					if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, 3000)); err != nil {
						return err
					}
				}
				for i, c := range conns {
					got := make([]byte, 3000)
					if _, err := io.ReadFull(c, got); err != nil || bytes.Count(got, []byte{byte(i)}) != 3000 {
						return fmt.Errorf("channel %d: %v", c.Channel(), err)
					}
					if err := c.Close(); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

func TestDialRefused(t *testing.T) {
	testkit.NoLeaks(t)
	refuse := func(_, _ string) (net.Conn, error) { return nil, errors.New("refused") }
	for name, q := range map[string]byte{"immediate": 1, "background": 5} {
		t.Run(name, func(t *testing.T) {
			runBIP(t, refuse, func(ctx context.Context, tk *Toolkit) error {
				if conn, err := tk.Dial(ctx, tcp(q)); err == nil || conn != nil {
					return fmt.Errorf("dial: %v %v", conn, err)
				}
				if conn, err := tk.Dialer(tcp(q))(ctx, "tcp", "127.0.0.1:9"); err == nil || conn != nil {
					return fmt.Errorf("dialer: %v %v", conn, err)
				}
				for _, bad := range [][2]string{{"tcp", "localhost:80"}, {"unix", "127.0.0.1:1"}} {
					if _, err := tk.Dialer(tcp(q))(ctx, bad[0], bad[1]); err == nil {
						return fmt.Errorf("%v accepted", bad)
					}
				}
				return nil
			})
		})
	}
}
