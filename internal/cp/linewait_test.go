package cp_test

import (
	"net/netip"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/cp"
)

// TestLineWait: a card that is in before the AP is there has its network nevertheless.
func TestLineWait(t *testing.T) {
	good := echoServer(t)
	b := start(t, options{noAP: true, cp: func(c *cp.Config) { c.LineWait = 2 * testTime }, applets: applets(func(a *app) {
		c := a.dial(params(wlanBearer, cat.OpenImmediate, good))
		a.echo(c)
		a.must(c.Close())
	})})
	b.awaitState("waiting")
	b.reader.Remove()
	b.awaitState("absent")
	b.insert()
	b.awaitState("waiting")
	b.startAP()
	b.wait()
}

// TestLineWaitEnds: without an AP the card is served all the same, later.
func TestLineWaitEnds(t *testing.T) {
	b := start(t, options{noAP: true, early: true, cp: func(c *cp.Config) { c.LineWait = time.Second }, applets: applets(func(a *app) {
		a.refused(params(wlanBearer, cat.OpenImmediate, netip.MustParseAddrPort("127.0.0.1:80")), 0x21, 0x00)
	})})
	b.wait()
	b.log.Wants(t, "starts without the line to the AP")
	b.awaitState("serving")
	b.reader.Remove()
	b.awaitState("absent")
	b.insert() // and does not wait again
	b.awaitState("serving")
	if n := len(b.log.Lines("starts without the line to the AP")); n != 1 {
		t.Errorf("the card has waited %d times", n)
	}
}
