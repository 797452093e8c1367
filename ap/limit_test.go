package ap

import (
	"errors"
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
	if got := a.Over("line2"); got != (Over{}) {
		t.Errorf("a line that is not there: %+v", got)
	}
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
