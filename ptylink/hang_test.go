package ptylink

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"bipd/ptylink/at"
)

// TestATHangs: an AP that never answers a command, while its multiplexer lives, is a line lost, and one brought up anew.
func TestATHangs(t *testing.T) {
	eachLine(t, func(t *testing.T, e *ends) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		h := testHandlers()
		open := h["%WEBOPCH"]
		h["%WEBOPCH"] = func(ap context.Context, c at.Command) ([]string, error) {
			cancel(context.DeadlineExceeded) // now that the command is outstanding, its time is over
			return open(ap, c)
		}
		startAP(t, PeerConfig{Open: e.ap.Open}, h)
		c := startCP(t, LinkConfig{Open: e.cp.Open, Retry: time.Millisecond})
		await(t, "line up", c.up)
		_, err := c.WebOpenChannel(ctx, WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:2"), Buffer: 1})
		if !errors.Is(err, at.ErrTimeout) {
			t.Fatalf("the command that hangs: %v", err)
		}
		if err := await(t, "line down", c.down); !errors.Is(err, at.ErrTimeout) {
			t.Errorf("the line went down for: %v", err)
		}
		await(t, "line up again", c.up)
		if _, err := c.GetNet(within(t, testTime), 1, 3, ""); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}
