package bip_test

import (
	"sync/atomic"
	"testing"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
)

// TestTooManyConnections has a card that may have five connections made, by OPEN CHANNEL of each kind, and by SEND DATA on a channel
// whose on-demand link fails again and again.
func TestTooManyConnections(t *testing.T) {
	srv := tcpServer(t, echo)
	nobody := testkit.ClosedPort(t)
	var left atomic.Int32
	mayConnect := func() bool { return left.Add(-1) >= 0 }
	left.Store(5)
	run(t, options{router: kernel(nil), config: bip.Config{MayConnect: mayConnect}, applets: applets(func(a *app) {
		a.close(a.tcp(srv)) // 1
		a.refusedOpen(openBody("tcp", nobody), cat.OpenImmediate, 0x3A, 0x00)
		on, _ := a.open(openBody("tcp", nobody), 0) // 3
		a.sendRefused(on, []byte{1}, cat.SendImmediately, 0x3A, 0x00)
		a.sendRefused(on, []byte{1}, cat.SendImmediately, 0x3A, 0x00) // 4
		a.sendRefused(on, []byte{1}, cat.SendImmediately, 0x3A, 0x00) // 5
		for range 20 {
			a.sendRefused(on, []byte{1}, cat.SendImmediately, 0x20, 0x00)
			a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate, 0x20, 0x00)
			a.refusedOpen(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground, 0x20, 0x00)
			a.refusedOpen(openBody("udp", srv), 0, 0x20, 0x00)
		}
		left.Store(1)
		a.close(on)
		a.close(a.tcp(srv)) // it is not for ever
	})})
}
