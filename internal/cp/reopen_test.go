package cp_test

import (
	"net/netip"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/cp"
)

// TestReopenBehindSlowServer has a card fill the way to servers that take nothing, close each channel and open one anew, which has
// the same number: it need not wait for the server of the one before. That gets everything in the end.
func TestReopenBehindSlowServer(t *testing.T) {
	const slow = 3
	goOn := make(chan struct{})
	var servers []netip.AddrPort
	var got []<-chan upload
	for range slow {
		srv, u := pausedServer(t, 16<<10, goOn)
		servers, got = append(servers, srv), append(got, u)
	}
	good := echoServer(t)
	var sent []int
	// Nothing here is to go on by a time that has passed.
	never := func(c *cp.Config) {
		c.ConnectTimeout, c.FinishTime, c.SendTimeout = time.Hour, time.Hour, 200*time.Millisecond
	}
	b := start(t, options{quiet: true, cp: never, applets: applets(func(a *app) {
		for _, srv := range servers {
			c := a.dial(params(wlanBearer, cat.OpenImmediate, srv))
			sent = append(sent, a.fill(c))
			a.must(c.Close())
			for range 2 {
				c = a.dial(params(wlanBearer, cat.OpenImmediate, good))
				if c.Channel() != 1 {
					a.fail("channel %d was opened", c.Channel())
				}
				a.echo(c)
				a.must(c.Close())
			}
		}
	})})
	b.wait()
	close(goOn)
	if t.Failed() {
		return
	}
	for i, u := range got {
		select {
		case u := <-u:
			u.whole(t, sent[i])
		case <-time.After(testTime):
			t.Fatal("the server sees no end")
		}
	}
	if n := len(b.log.Lines("daemon=apd", "channel closed", `cause="closed by the CP"`)); n < 2*slow {
		t.Errorf("the AP has ended %d connections in order", n)
	}
}
