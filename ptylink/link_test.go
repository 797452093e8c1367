package ptylink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/ptylink/at"
)

// The whole on each kind of line: bring-up, typed commands, unsolicited codes, seven channels both ways, an orderly end.
func TestLine(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: steady}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: steady})
		if _, err := c.Do(within(t, testTime), at.Command{}); err != nil && !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		await(t, "line up", c.up)
		if !c.Up() || !c.Multiplexed() {
			t.Fatal("line is not up")
		}
		checkCommands(t, c)
		a.Notify(WebStat{Channel: 3, State: WebClosed, Cause: at.ErrUnreachable}.Line())
		got, err := ParseUnsolicited(await(t, "unsolicited", c.unsolicited))
		if want := (WebStat{Channel: 3, State: WebClosed, Cause: at.ErrUnreachable}); err != nil || got != want {
			t.Errorf("%v %v", got, err)
		}
		checkChannels(t, c, a, 1, 2, 3, 4, 5, 6, 7)
		checkDatagrams(t, c, a)
		c.stop()
		if err := await(t, "line down at the CP", c.down); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := await(t, "line down at the AP", a.down); err == nil {
			t.Error("no reason")
		}
		if _, err := c.OpenChannel(t.Context(), 1); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
	})
}

// checkCommands runs every typed command.
func checkCommands(t *testing.T, c *cp) {
	t.Helper()
	ctx := within(t, testTime)
	want := testNet
	want.Channel = 5
	if n, err := c.GetNet(ctx, 5, 3, "x\"y"); err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("GetNet: %+v %v", n, err)
	}
	if _, err := c.GetNet(ctx, 1, 3, "none"); !errors.Is(err, at.ErrNoService) {
		t.Errorf("GetNet: %v", err)
	}
	if _, err := c.GetNet(ctx, 8, 3, ""); !errors.Is(err, at.ErrParameters) {
		t.Errorf("GetNet: %v", err)
	}
	w := WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("[2001:db8::1]:443"), Buffer: 1500}
	if local, err := c.WebOpenChannel(ctx, w); err != nil || local.String() != "192.0.2.7:40000" {
		t.Errorf("WebOpenChannel: %v %v", local, err)
	}
	w.Remote = netip.AddrPortFrom(w.Remote.Addr(), 1)
	if _, err := c.WebOpenChannel(ctx, w); !errors.Is(err, at.ErrRefused) {
		t.Errorf("WebOpenChannel: %v", err)
	}
	w.Network = "sctp"
	if _, err := c.WebOpenChannel(ctx, w); !errors.Is(err, at.ErrParameters) {
		t.Errorf("WebOpenChannel: %v", err)
	}
	if err := c.WebCloseChannel(ctx, 1); err != nil {
		t.Errorf("WebCloseChannel: %v", err)
	}
	if err := c.WebBackToListen(ctx, 7); !errors.Is(err, at.ErrNoChannel) {
		t.Errorf("WebBackToListen: %v", err)
	}
	if err := c.WebListen(ctx, WebListen{1, 8080, 1400}); err != nil {
		t.Errorf("WebListen: %v", err)
	}
	if n, err := c.NetStat(ctx); err != nil || n != (NetStat{AccessWLAN, true, "wlan0"}) {
		t.Errorf("NetStat: %v %v", n, err)
	}
	if lines, err := c.Do(ctx, at.Command{Name: "%WEBOPCH", Form: at.Test}); err != nil || len(lines) != 1 || !strings.Contains(lines[0], "<password>") {
		t.Errorf("test form: %q %v", lines, err)
	}
}

// checkChannels sends 100 KB each way on every channel at once and ends each by the CP's Close.
func checkChannels(t *testing.T, c *cp, a *ap, channels ...int) {
	t.Helper()
	var all sync.WaitGroup
	for _, n := range channels {
		all.Go(func() {
			if err := transfer(within(t, testTime), c, a, n); err != nil {
				t.Errorf("channel %d: %v", n, err)
			}
		})
	}
	all.Wait()
}

func transfer(ctx context.Context, c *cp, a *ap, n int) error {
	near, err := c.OpenChannel(ctx, n)
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := a.Channel(ctx, n)
	if err != nil {
		return err
	}
	defer far.Close()
	const size = 100_000
	near.SetDeadline(time.Now().Add(testTime))
	far.SetDeadline(time.Now().Add(testTime))
	errs := make(chan error, 4)
	for i, conns := range [][2]net.Conn{{near, far}, {far, near}} {
		data := make([]byte, size)
		r := rand.NewChaCha8([32]byte{byte(n), byte(i)})
		_, _ = r.Read(data)
		go func() { _, err := conns[0].Write(data); errs <- err }()
		go func() {
			got := make([]byte, size)
			_, err := io.ReadFull(conns[1], got)
			if err == nil && sha256.Sum256(got) != sha256.Sum256(data) {
				err = errors.New("data is not what was sent")
			}
			errs <- err
		}()
	}
	for range 4 {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	near.Close()
	if n, err := far.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("after the end: %d %v", n, err)
	}
	return nil
}

// checkDatagrams sends datagrams of many sizes both ways over one channel.
func checkDatagrams(t *testing.T, c *cp, a *ap) {
	t.Helper()
	ctx := within(t, testTime)
	near, err := c.OpenChannel(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := a.Channel(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	n, f := NewDatagramConn(near), NewDatagramConn(far)
	n.SetDeadline(time.Now().Add(testTime))
	f.SetDeadline(time.Now().Add(testTime))
	sizes := []int{0, 1, 255, 256, 0, 1500, 9000, 65535, 3}
	var both sync.WaitGroup
	defer both.Wait() // the deadlines bound it
	both.Go(func() {
		buf := make([]byte, MaxDatagram)
		for range sizes { // the AP sends each back
			k, err := f.Read(buf)
			if err == nil {
				_, err = f.Write(buf[:k])
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	both.Go(func() {
		for _, size := range sizes {
			if _, err := n.Write(bytes.Repeat([]byte{byte(size)}, size)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	buf := make([]byte, MaxDatagram)
	for _, size := range sizes {
		if k, err := n.Read(buf); err != nil || !bytes.Equal(buf[:k], bytes.Repeat([]byte{byte(size)}, size)) {
			t.Fatalf("datagram of %d: %d %v", size, k, err)
		}
	}
}

func TestLineWithoutMux(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open, NoMux: true})
		await(t, "line up", c.up)
		if c.Multiplexed() {
			t.Error("multiplexed")
		}
		checkCommands(t, c)
		if _, err := c.OpenChannel(t.Context(), 1); !errors.Is(err, ErrNoMux) {
			t.Error(err)
		}
		a.Notify("%NETSTAT: 100,0,\"wlan0\"")
		if got, err := ParseUnsolicited(await(t, "unsolicited", c.unsolicited)); err != nil || got != (NetStat{AccessWLAN, false, "wlan0"}) {
			t.Errorf("%v %v", got, err)
		}
		// The AP dies: noticed by the kernel on pipe and pty, by AT without an answer on the UART.
		a.stop()
		if err := await(t, "line down", c.down); err == nil {
			t.Error("no reason")
		}
		startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		await(t, "line up again", c.up)
		checkCommands(t, c)
	})
}

// An AP that knows no multiplexer: the line stays up in AT mode.
func TestMuxRefused(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		line := make(chan io.ReadWriteCloser, 1)
		served := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for ctx.Err() == nil {
				l, err := e.ap.Open(ctx)
				if err == nil {
					line <- l
					served <- at.NewServer(at.ServerConfig{Echo: true}).Serve(ctx, l)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: steady})
		await(t, "line up", c.up)
		if !c.Up() || c.Multiplexed() {
			t.Error("multiplexed")
		}
		if _, err := c.OpenChannel(t.Context(), 1); !errors.Is(err, ErrNoMux) {
			t.Error(err)
		}
		if _, err := c.NetStat(within(t, testTime)); !errors.Is(err, at.ErrFinal) {
			t.Error(err)
		}
		cancel()
		await(t, "the AP's line", line).Close()
		await(t, "the end of the AP", served)
	})
}
