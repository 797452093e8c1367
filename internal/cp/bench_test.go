package cp_test

import (
	"io"
	"net"
	"testing"
	"time"

	"bipd/cat"
)

// BenchmarkMethod1 downloads 1 MiB by TCP over one channel whose connection the CP makes.
func BenchmarkMethod1(b *testing.B) { benchmark(b, packetBearer) }

// BenchmarkMethod2 downloads 1 MiB by TCP over one channel whose connection the AP makes, through multiplexer and pty.
func BenchmarkMethod2(b *testing.B) { benchmark(b, wlanBearer) }

func benchmark(b *testing.B, bearer cat.BearerDescription) {
	file := randomFile(1 << 20)
	remote := tcpServer(b, "127.0.0.1:0", func(c *net.TCPConn) {
		for one := make([]byte, 1); ; {
			if _, err := c.Read(one); err != nil {
				return
			}
			if _, err := c.Write(file); err != nil {
				return
			}
		}
	})
	run(b, options{quiet: true, applets: applets(func(a *app) {
		c := a.dial(params(bearer, cat.OpenImmediate, remote))
		a.must(c.SetDeadline(time.Now().Add(appletTime)))
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			_, err := c.Write([]byte{1})
			a.must(err)
			_, err = io.CopyN(io.Discard, c, int64(len(file)))
			a.must(err)
		}
		a.must(c.Close())
	})})
}
