package cp_test

import (
	"fmt"
	"strings"
	"testing"

	"bipd/cat"
	"bipd/trace"
)

// TestKeptAccess has the card keep its access over CLOSE CHANNEL: the AP is asked for the network once, and again later.
func TestKeptAccess(t *testing.T) {
	srv := echoServer(t)
	open := func() *cat.OpenChannel {
		addr := srv.Addr()
		return &cat.OpenChannel{
			Bearer: &packetBearer, BufferSize: 1400, Destination: &addr,
			Transport: &cat.TransportLevel{Protocol: cat.TCPClientRemote, Port: srv.Port()},
		}
	}
	b := run(t, options{applets: applets(func(a *app) {
		for _, qualifier := range []byte{cat.CloseUpkeep, 0, 0} {
			o, err := a.tk.OpenChannel(a.ctx, open(), cat.OpenImmediate)
			a.must(err)
			a.must(a.tk.CloseChannel(a.ctx, o.Status.Channel, qualifier))
		}
	})})
	asked := 0
	b.events.await(t, func(events []trace.Event) error {
		asked = 0
		for _, e := range events {
			if strings.HasPrefix(e.What, "AT%GETNET") {
				asked++
			}
		}
		if asked < 2 {
			return fmt.Errorf("the AP was asked %d times for three channels, want 2", asked)
		}
		return nil
	})
	if asked != 2 {
		t.Errorf("the AP was asked %d times for three channels, want 2", asked)
	}
}
