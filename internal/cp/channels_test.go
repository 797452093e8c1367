package cp_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"bipd/cat"
	"bipd/softuicc"
)

// TestSevenChannels downloads 1 MiB on each of seven channels at once, TCP and UDP mixed, by each method and by both in
// one card.
func TestSevenChannels(t *testing.T) {
	file := randomFile(1 << 20)
	for _, tc := range []struct {
		name    string
		bearers []cat.BearerDescription // in turn
	}{
		{"method 1", []cat.BearerDescription{packetBearer}},
		{"method 2", []cat.BearerDescription{wlanBearer}},
		{"both methods", []cat.BearerDescription{wlanBearer, packetBearer, packetBearer, wlanBearer}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := fileServer(t, file)
			blocks := blockServer(t, file)
			var list []softuicc.Applet
			var opened atomic.Int32
			all := make(chan struct{}) // are open
			for i := range cat.MaxChannels {
				bearer := tc.bearers[i%len(tc.bearers)]
				list = append(list, applet(func(a *app) {
					a.meet = sync.OnceFunc(func() {
						if opened.Add(1) == cat.MaxChannels {
							close(all)
						}
						a.await("seven open channels", all)
					})
					if i%2 == 0 {
						a.get(params(bearer, background, addrPort(srv.Listener.Addr())), srv.URL, file)
						return
					}
					p := params(bearer, cat.OpenImmediate, blocks)
					p.Transport = cat.UDPClientRemote
					c := a.dial(p)
					a.meet()
					a.getBlocks(c, file)
					a.must(c.Close())
				}))
			}
			b := run(t, options{quiet: true, applets: list})
			for id := 1; id <= cat.MaxChannels; id++ {
				b.log.Await(t, "daemon=bipd", "channel closed", fmt.Sprintf("channel=%d ", id))
			}
		})
	}
}

// TestReopen opens and closes one channel again and again, each time to another server: what is left of the channel
// before must not touch the next one.
func TestReopen(t *testing.T) {
	servers := []softuicc.DialParams{params(wlanBearer, cat.OpenImmediate, echoServer(t)), params(wlanBearer, background, echoServer(t))}
	run(t, options{applets: applets(func(a *app) {
		for i := range 20 {
			c := a.dial(servers[i%2])
			if c.Channel() != 1 {
				a.fail("channel %d was opened", c.Channel())
			}
			a.echo(c)
			a.must(c.Close())
		}
	})})
}
