package ptylink

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

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
	testkit.NoLeaks(t)
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
		slow := steady // without keep-alive, so that it is the new CP that ends the multiplexer
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
	testkit.NoLeaks(t)
	e := uartEnds(t)
	slow := steady
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
			testkit.NoLeaks(t)
			e := uartEnds(t)
			l, err := e.cp.Open(t.Context()) // before the AP has it, whose first octets would be lost
			if err != nil {
				t.Fatal(err)
			}
			a := startAP(t, PeerConfig{Open: e.ap.Open, Mux: steady}, testHandlers())
			ready := make([]byte, 1) // the AP's first octets: it listens
			if _, err := io.ReadFull(l, ready); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(l, junk); err != nil {
				t.Fatal(err)
			}
			l.Close()
			c := startCP(t, LinkConfig{Open: e.cp.Open, Mux: steady})
			await(t, "line up", c.up)
			checkCommands(t, c)
			checkChannels(t, c, a, 1)
		})
	}
}

// A line in the advanced option, as the CP asks for it.
func TestAdvancedOption(t *testing.T) {
	testkit.NoLeaks(t)
	e := uartEnds(t)
	cfg := steady
	cfg.Advanced = true
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

// What closes a multiplexer does so in both roles and options, and is no line to an AT server or client.
func TestCloseDown(t *testing.T) {
	testkit.NoLeaks(t)
	for _, role := range []mux.Role{mux.Initiator, mux.Responder} {
		for _, advanced := range []bool{false, true} {
			octets := closeDown(role)
			cld := octets[:9] // basic
			if advanced {
				cld = octets[15:23]
			}
			for _, octets := range []string{octets, cld} {
				closesDown(t, role, advanced, octets)
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

// closesDown has octets in the name of role end a multiplexer.
func closesDown(t *testing.T, role mux.Role, advanced bool, octets string) {
	t.Helper()
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
	if err := errors.Join(await(t, "a start", started), await(t, "the other start", started)); err != nil {
		t.Fatal(err)
	}
	target := ms[1-role]
	go func() { _, _ = io.WriteString(between[1-role], octets) }()
	await(t, "end of the multiplexer", target.Done())
	if err := target.Err(); err != nil {
		t.Errorf("%v, advanced %v: %v", role, advanced, err)
	}
	for r := range ms {
		between[r].Close()
		ms[r].Close()
	}
}
