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
	"bipd/ptylink/mux"
)

// The whole on each kind of line: bring-up, typed commands, unsolicited codes, seven channels both ways, an orderly end.
func TestLine(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open})
		if _, err := c.Do(within(t, time.Second), at.Command{}); err != nil && !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		await(t, "line up", c.up)
		if !c.Up() || !c.Multiplexed() {
			t.Fatal("line is not up")
		}
		checkCommands(t, c)
		a.Notify(WebStat{Channel: 3, State: WebClosed, Cause: at.ErrUnreachable}.Line())
		got, err := ParseUnsolicited(await(t, "unsolicited", c.unsolicited))
		if want := (WebStat{3, WebClosed, at.ErrUnreachable}); err != nil || got != want {
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
	go func() {
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
	}()
	go func() {
		for _, size := range sizes {
			if _, err := n.Write(bytes.Repeat([]byte{byte(size)}, size)); err != nil {
				t.Error(err)
			}
		}
	}()
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
		go func() {
			for {
				l, err := e.ap.Open(ctx)
				if err == nil {
					line <- l
					served <- at.NewServer(at.ServerConfig{Echo: true}).Serve(ctx, l)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}()
		c := startCP(t, LinkConfig{Open: e.cp.Open})
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
		(<-line).Close()
		<-served
	})
}

// Without an AP the Link neither comes up nor hangs.
func TestAbsentAP(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		c := startCP(t, LinkConfig{Open: e.cp.Open})
		if _, err := c.GetNet(t.Context(), 1, 3, ""); !errors.Is(err, ErrDown) {
			t.Error(err)
		}
		select {
		case <-c.up:
			t.Error("up without an AP")
		case <-time.After(700 * time.Millisecond):
		}
		c.stop()
		if len(c.down) != 0 {
			t.Error("down without having been up")
		}
	})
}

// A far end that answers garbage keeps the line down; once an AP is there it comes up.
func TestGarbage(t *testing.T) {
	checkGoroutines(t)
	e := pipeEnds(t)
	c := startCP(t, LinkConfig{Open: e.cp.Open})
	l, err := e.ap.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(io.Discard, l) }()
	r := rand.NewChaCha8([32]byte{1})
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
		b := make([]byte, 64)
		_, _ = r.Read(b)
		if _, err := l.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if c.Up() {
		t.Error("up on garbage")
	}
	l.Close()
	<-read
	a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
	await(t, "line up", c.up)
	checkChannels(t, c, a, 1)
}

// The AP dies in the middle of transfers and comes again: everything on the CP ends with an error, then all works anew.
func TestAPDies(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open})
		await(t, "line up", c.up)
		near, err := c.OpenChannel(within(t, testTime), 4)
		if err != nil {
			t.Fatal(err)
		}
		defer near.Close()
		far, err := a.Channel(within(t, testTime), 4)
		if err != nil {
			t.Fatal(err)
		}
		pending := make(chan error, 3)
		go func() {
			_, err := c.WebOpenChannel(within(t, testTime), WebOpen{Channel: 4, Network: "udp", Remote: netip.MustParseAddrPort("192.0.2.1:2"), Buffer: 1})
			pending <- err
		}()
		go func() {
			_, err := io.Copy(io.Discard, near)
			if err == nil {
				err = errors.New("orderly end")
			}
			pending <- err
		}()
		go func() {
			for {
				if _, err := near.Write(make([]byte, 1000)); err != nil {
					pending <- err
					return
				}
			}
		}()
		if _, err := io.ReadFull(far, make([]byte, 50_000)); err != nil {
			t.Fatal(err)
		}
		e.ap.crash()
		a.stop()
		if err := await(t, "line down", c.down); err == nil {
			t.Error("no reason")
		}
		for range 3 {
			err := await(t, "an end of what was under way", pending)
			if err.Error() == "orderly end" {
				t.Error("a torn channel looks like an ended one")
			}
			t.Log(err)
		}
		a = startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		await(t, "line up again", c.up)
		checkCommands(t, c)
		checkChannels(t, c, a, 1, 4)
	})
}

// The CP dies and comes again: the AP drops its channels and serves the next CP. On the UART the AP is still in
// multiplexer mode then.
func TestCPDies(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		slow := fast
		slow.KeepAlive = -1 // so that it is the new CP that ends the multiplexer
		a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: slow}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: slow})
		await(t, "line up", c.up)
		if _, err := c.OpenChannel(within(t, testTime), 6); err != nil {
			t.Fatal(err)
		}
		far, err := a.Channel(within(t, testTime), 6)
		if err != nil {
			t.Fatal(err)
		}
		e.cp.crash()
		c.stop()
		c = startCP(t, LinkConfig{Open: e.cp.Open, Mux: slow})
		await(t, "line down at the AP", a.down)
		if _, err := far.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("a torn channel looks like an ended one: %v", err)
		}
		await(t, "line up", c.up)
		checkCommands(t, c)
		checkChannels(t, c, a, 6, 7)
	})
}

// The AP dies while the CP is in multiplexer mode on a UART, without any keep-alive: what the next AP sends ends it.
func TestAPDiesWithoutKeepAlive(t *testing.T) {
	checkGoroutines(t)
	e := uartEnds(t)
	slow := fast
	slow.KeepAlive = -1
	a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: slow}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: slow})
	await(t, "line up", c.up)
	e.ap.crash()
	a.stop()
	if !c.Up() {
		t.Fatal("the CP saw the end of the AP: this is no UART")
	}
	a = startAP(t, PeerConfig{Open: e.ap.Open, Mux: slow}, testHandlers())
	await(t, "line down", c.down)
	await(t, "line up again", c.up)
	checkChannels(t, c, a, 1)
}

// Both ends are started and killed over and over; in the end the line works.
func TestRestarts(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
		c := startCP(t, LinkConfig{Open: e.cp.Open})
		for i := range 4 {
			await(t, "line up", c.up)
			switch i {
			case 0:
				a.stop() // in order
				a = startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
			case 1:
				c.stop()
				c = startCP(t, LinkConfig{Open: e.cp.Open})
			case 2:
				e.cp.crash() // the Link opens the line again by itself
			}
		}
		checkChannels(t, c, a, 1, 7)
	})
}

// Whatever an earlier CP left on the line and in the AP, the next one comes up.
func TestLineWithLeftovers(t *testing.T) {
	for name, junk := range map[string]string{
		"half a command":                 "AT%WEBOPCH=1,\"TCP\",\"192.0.2.1\",1",
		"multiplexer without its frames": "AT+CMUX=0\r",
		"advanced, cut in a frame":       "AT+CMUX=1\r\x7e\x03\x3f",
		"open multiplexer, half a frame": "AT+CMUX=0\r\xf9\x03\x3f\x01\x1c\xf9\xf9\x07\x3f\x01\xde\xf9\xf9\x07\xef\xc8\x01",
		"one octet":                      "A",
		"much noise":                     strings.Repeat("\xf9\xff\x00AT\x7e", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			checkGoroutines(t)
			e := uartEnds(t)
			a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
			l, err := e.cp.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ready := make([]byte, 1) // the AP's first octets: it listens
			if _, err := io.ReadFull(l, ready); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(l, junk); err != nil {
				t.Fatal(err)
			}
			l.Close()
			c := startCP(t, LinkConfig{Open: e.cp.Open})
			await(t, "line up", c.up)
			checkCommands(t, c)
			checkChannels(t, c, a, 1)
		})
	}
}

// A line in the advanced option, as the CP asks for it.
func TestAdvancedOption(t *testing.T) {
	checkGoroutines(t)
	e := uartEnds(t)
	cfg := fast
	cfg.Advanced, cfg.KeepAlive = true, -1
	a := startAP(t, PeerConfig{Open: e.ap.Open}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: cfg})
	await(t, "line up", c.up)
	checkChannels(t, c, a, 3)
	e.cp.crash()
	c.stop()
	c = startCP(t, LinkConfig{Open: e.cp.Open, Mux: cfg})
	await(t, "line up again", c.up)
	checkChannels(t, c, a, 3)
}

// Passwords show in no tap and no log.
func TestTapMasksPasswords(t *testing.T) {
	checkGoroutines(t)
	e := pipeEnds(t)
	var mu sync.Mutex
	var seen []string
	tap := func(d Direction, line string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, d.String()+" "+line)
	}
	startAP(t, PeerConfig{Open: e.ap.Open, Tap: tap}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open, Tap: tap, NoMux: true})
	await(t, "line up", c.up)
	checkCommands(t, c)
	w := WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:443"), Buffer: 9, User: "joe", Password: "pa\\ss;\"word"}
	if _, err := c.WebOpenChannel(within(t, testTime), w); err != nil {
		t.Error(err)
	}
	c.stop()
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(seen, "\n")
	for _, want := range []string{
		`sent AT%GETNET=5,3,"x\22y"`, `received %NETPAR: 5,"IPV4V6","inter.net","us\22er","***","wlan0","192.0.2.53","2001:db8::53",1400`,
		`sent AT%WEBOPCH=1,"TCP","192.0.2.1",443,9,"","joe","***"`, `received AT%WEBOPCH=1,"TCP","192.0.2.1",443,9,"","joe","***"`,
		"received +CME ERROR: 601", "sent OK",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(all, "pa") && strings.Contains(all, "word") {
		t.Error(all)
	}
}

func TestMaskLine(t *testing.T) {
	const pw = "hunter2"
	for in, want := range map[string]string{
		"OK": "OK", "AT": "AT", "ATE0": "ATE0", "AT+CMUX=0,0,,512": "AT+CMUX=0,0,,512", "+CME ERROR: 4": "+CME ERROR: 4",
		`%NETPAR: 1,"IP","a","u","hunter2"`:                     `%NETPAR: 1,"IP","a","u","***"`,
		`%NETPAS: 1,"IP","a","u","hunter2"`:                     `%NETPAS: 1,"***","***","***","***"`,
		`%NETPAR: 1,"IP","a","u","hunter2`:                      "(32 octets)",
		`ter2","wlan0","192.0.2.1"`:                             "(25 octets)",
		`+CME ERROR: "hunter2"`:                                 "(21 octets)",
		`at%webopch=1,"TCP","::1",1,2,"n","u","hunter2"`:        `AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","***"`,
		`AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","x","","hunter2"`: `AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","***","","***"`,
		`AT%WEBXPCH="hunter2"`:                                  `AT%WEBXPCH="***"`,
	} {
		if got := maskLine(in); got != want || strings.Contains(got, pw) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// What closes a multiplexer does so in both roles and options, and is no line to an AT server or client.
func TestCloseDown(t *testing.T) {
	checkGoroutines(t)
	for _, role := range []mux.Role{mux.Initiator, mux.Responder} {
		for _, advanced := range []bool{false, true} {
			// The two ends, indexed by role, with a man between who speaks in the name of role.
			var end, between [2]net.Conn
			var ms [2]*mux.Mux
			for r := range end {
				end[r], between[r] = net.Pipe()
				ms[r] = mux.New(end[r], mux.Config{Role: mux.Role(r), Advanced: advanced})
			}
			for r := range between {
				go func() { _, _ = io.Copy(between[1-r], between[r]) }()
			}
			started := make(chan error, 2)
			for _, m := range ms {
				go func() { started <- m.Start(within(t, testTime)) }()
			}
			if err := errors.Join(<-started, <-started); err != nil {
				t.Fatal(err)
			}
			target := ms[1-role]
			go func() { _, _ = io.WriteString(between[1-role], closeDown(role)) }()
			await(t, "end of the multiplexer", target.Done())
			if err := target.Err(); err != nil {
				t.Errorf("%v, advanced %v: %v", role, advanced, err)
			}
			for r := range ms {
				between[r].Close()
				ms[r].Close()
			}
		}
		var out strings.Builder
		err := at.NewServer(at.ServerConfig{}).Serve(t.Context(), struct {
			io.Reader
			io.Writer
		}{strings.NewReader(closeDown(role) + "AT\r"), &out})
		if err != io.EOF || out.String() != "\r\nOK\r\n" {
			t.Errorf("AT server: %q %v", out.String(), err)
		}
	}
}
