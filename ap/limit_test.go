package ap

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"bipd/ptylink/at"
)

// TestTooManyConnections refuses those beyond the limit, each with the same error, and says how many; another line has its own.
func TestTooManyConnections(t *testing.T) {
	a := newAP(t, func(c *Config) { c.Limits.Connections = 4 })
	a.openWait = time.Millisecond
	c := serve(t, a.AP, "line1")
	nobody := closedPort(t)
	began := time.Now()
	refused, failed := 0, 0
	for range 20 {
		_, err := c.do(webOpch(1, nobody))
		switch {
		case errors.Is(err, at.ErrTooMany):
			refused++
		case errors.Is(err, at.ErrNoChannel): // of those that it tried
			failed++
		default:
			t.Fatal(err)
		}
	}
	if most := 2 + 4*(int(time.Since(began).Minutes())+1); failed < 2 || failed > most {
		t.Errorf("%d were tried, want 2 to %d", failed, most)
	}
	if got := a.Over("line1"); got.Connections != int64(refused) {
		t.Errorf("%d are said to be over, %d were refused", got.Connections, refused)
	}
	c.end()
	c = serve(t, a.AP, "line1") // as the line of a directory does whose CP restarts
	_, err := c.do(webOpch(1, nobody))
	if now := time.Since(began); !errors.Is(err, at.ErrTooMany) && now < 10*time.Second { // 15 s are one connection more
		t.Errorf("a line that came back after %v: %v", now, err)
	}
	if got := a.Over("line1"); got.Connections < int64(refused) {
		t.Errorf("%d are said to be over after the line came back", got.Connections)
	}
	if got := a.Over("line2"); got != (Over{}) {
		t.Errorf("a line that is not there: %+v", got)
	}
}

// TestTooManyFinishing has a CP open channels to servers that do not close, and close them again, in order. The AP waits for a
// bounded number of servers, though the line goes down and comes back meanwhile, and refuses other connections of that line.
func TestTooManyFinishing(t *testing.T) {
	a := newAP(t, nil)
	stay := make(chan struct{})
	idle := listen(t, func(*net.TCPConn) { <-stay })
	free := sync.OnceFunc(func() { close(stay) })
	t.Cleanup(free)
	c := serve(t, a.AP, "line1")
	for range maxFinishing {
		conn := c.mustConnect(1, idle)
		c.closeChannel(1, conn)
		receive(t, conn.Done(), "end of the DLC")
	}
	if !eventually(func() bool { return a.finishingOf("line1") == maxFinishing }) {
		t.Fatalf("%d connections are ending", a.finishingOf("line1"))
	}
	for range 2 {
		_, err := c.connect(1, idle)
		wantCME(t, err, at.ErrTooMany)
		c.wire.cut()
		c.await(false)
		c.await(true)
	}
	a.log.Wants(t, "channel not opened", "are still waited for")
	other := serve(t, a.AP, "line2")
	roundTrip(t, other.mustConnect(1, listen(t, echo)), "another line")
	free()
	if !eventually(func() bool { return a.finishingOf("line1") == 0 }) {
		t.Fatalf("%d connections are ending", a.finishingOf("line1"))
	}
	roundTrip(t, c.mustConnect(1, listen(t, echo)), "it is not for ever")
}

// TestTooManyDLCs takes those beyond the limit later: the command for such a one finds none.
func TestTooManyDLCs(t *testing.T) {
	a := newAP(t, func(c *Config) { c.Limits.Connections = 1 })
	a.openWait = 100 * time.Millisecond
	c := serve(t, a.AP, "line1")
	c.dlc(1)
	c.dlc(2)
	c.dlc(3)
	if !eventually(func() bool { return a.Over("line1").DLCs == 2 }) {
		t.Errorf("over: %+v, want 2 DLCs", a.Over("line1"))
	}
}

// TestPacedCommands answers all commands of a CP that floods, and counts those that had to wait.
func TestPacedCommands(t *testing.T) {
	a := newAP(t, func(c *Config) { c.Limits.Commands = 600 }) // 300 at once, then one in 100 ms: slower than any machine
	c := serve(t, a.AP, "line1")
	sent := int64(0)
	for a.Over("line1").Commands < 3 {
		if _, err := c.do("%NETSTAT?"); err != nil {
			t.Fatal(err)
		}
		if sent++; sent > 200000 {
			t.Fatal("no command had to wait")
		}
	}
	if sent < 280 { // the line itself takes some
		t.Errorf("after %d commands one had to wait", sent)
	}
}
