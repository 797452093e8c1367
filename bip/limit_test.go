package bip_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// TestTooManyFinishing has a card open channels to a server that does not close, and close them again. The gateway waits for a bounded
// number of far ends, and refuses other connections meanwhile.
func TestTooManyFinishing(t *testing.T) {
	const most = 64
	stay := make(chan struct{})
	free := sync.OnceFunc(func() { close(stay) })
	idle := tcpServer(t, func(*net.TCPConn) { <-stay })
	t.Cleanup(free)
	run(t, options{router: kernel(nil), config: bip.Config{FinishTime: time.Hour}, applets: applets(func(a *app) {
		for range most {
			a.close(a.tcp(idle))
		}
		a.refusedOpen(openBody("tcp", idle), cat.OpenImmediate, 0x20, 0x00)
		a.refusedOpen(openBody("tcp", idle), cat.OpenImmediate|cat.OpenBackground, 0x20, 0x00)
		free()
		for { // it is not for ever
			r, err := a.tk.Do(a.ctx, openBody("tcp", idle), cat.OpenImmediate, cat.DeviceTerminal)
			a.must(err)
			if r.Result.General == cat.ResultOK {
				return
			}
		}
	})})
}
