package cp_test

import (
	"testing"

	"bipd/cat"
	"bipd/trace"
)

// TestDownload has an applet download 1 MiB with Go's own HTTP client, by both methods and on each kind of line.
func TestDownload(t *testing.T) {
	file := randomFile(1 << 20)
	for _, tc := range []struct {
		name        string
		bearer      cat.BearerDescription
		qualifier   byte
		method      trace.Method
		noMux, pipe bool
	}{
		{"method 1", packetBearer, background, trace.Method1, false, false},
		{"method 1, no multiplexer", packetBearer, background, trace.Method1, true, false},
		{"method 1, immediate", packetBearer, cat.OpenImmediate, trace.Method1, true, true},
		{"method 2, default bearer", defaultBearer, background, trace.Method2, false, false},
		{"method 2, WLAN", wlanBearer, background, trace.Method2, false, false},
		{"method 2, immediate", wlanBearer, cat.OpenImmediate, trace.Method2, false, true},
		{"method 2, on demand", wlanBearer, 0, trace.Method2, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := fileServer(t, file)
			b := run(t, options{noMux: tc.noMux, pipe: tc.pipe, applets: applets(func(a *app) {
				a.get(params(tc.bearer, tc.qualifier, addrPort(srv.Listener.Addr())), srv.URL, file)
			})})
			if tc.qualifier == background {
				b.events.await(t, func(e []trace.Event) error { return trace.CheckOrder(e, tc.method, 1) })
			}
			b.events.caughtUp(t)
			if got := b.cp.Status().Line; got != map[bool]string{true: "AT", false: "multiplexed"}[tc.noMux] {
				t.Errorf("line is %s", got)
			}
			if by1, by2 := b.events.has("S404", "connect"), b.events.has("S703", "connect"); by1 != (tc.method == 1) || by2 != (tc.method == 2) {
				t.Errorf("connected by the CP %v, by the AP %v", by1, by2)
			}
			if asked := b.events.has("S402", "AT%GETNET"); asked != (tc.method == 1) {
				t.Errorf("AT%%GETNET asked: %v", asked)
			}
			if n := b.events.exchanges(); n < 1000 {
				t.Errorf("the trace has %d APDUs", n)
			}
		})
	}
}
