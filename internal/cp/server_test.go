package cp_test

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

// fileServer serves one file by HTTP.
func fileServer(t testing.TB, file []byte) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(file) }))
	t.Cleanup(func() {
		srv.CloseClientConnections() // Close waits for them
		srv.Close()
	})
	return srv
}

// tcpServer serves each connection by serve, which owns it until its deadline. The test's end waits for all of them: what serve
// waits for besides the connection is to end with the test's context.
func tcpServer(t testing.TB, address string, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("cannot listen on %s: %v", address, err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(appletTime))
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		ended := make(chan struct{})
		go func() {
			running.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(testTime):
			t.Errorf("connections of the server at %v do not end:\n%s", l.Addr(), stacks())
		}
	})
	return addrPort(l.Addr())
}

// echo sends back what it gets, without splice(2), for which package net keeps pipes.
func echo(c *net.TCPConn) { io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

func echoServer(t testing.TB) netip.AddrPort { return tcpServer(t, "127.0.0.1:0", echo) }

// blockServer answers each datagram, the offset of a block, with the offset and the block of the file.
func blockServer(t testing.TB, file []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if at := binary.BigEndian.Uint64(append(buf[:n:n], make([]byte, 8)...)); n == 8 && at < uint64(len(file)) {
				c.WriteToUDPAddrPort(append(buf[:8:8], file[at:min(at+datagramSize, uint64(len(file)))]...), from)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return addrPort(c.LocalAddr())
}
