package ap

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"

	"bipd/egress"
	"bipd/ptylink"
)

// benchLine is a line over pipes with a loopback server behind it.
func benchLine(b *testing.B, handle func(net.Conn)) *cpLine {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	policy, err := egress.New(egress.Config{Rules: []egress.Rule{{Action: "allow", Prefix: []string{"127.0.0.0/8"}}}})
	if err != nil {
		b.Fatal(err)
	}
	profiles, err := NewProfiles([]Profile{{Name: "bench", Default: true}})
	if err != nil {
		b.Fatal(err)
	}
	a := New(Config{Policy: policy, Profiles: profiles, Network: up{}})
	w := &wire{ends: make(chan net.Conn)}
	raised := make(chan bool, 2)
	link := ptylink.NewLink(ptylink.LinkConfig{Name: "bench", Open: w.openCP, State: func(up bool, _ error) { raised <- up }})
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	go link.Run(ctx)
	go a.ServeLine(ctx, ptylink.PeerConfig{Name: "bench", Open: w.openAP})
	<-raised
	return &cpLine{b, link, netip.MustParseAddrPort(l.Addr().String())}
}

type cpLine struct {
	b    *testing.B
	link *ptylink.Link
	addr netip.AddrPort
}

func (l *cpLine) open(n int) net.Conn {
	l.b.Helper()
	conn, err := l.link.OpenChannel(context.Background(), n)
	if err != nil {
		l.b.Fatal(err)
	}
	w := ptylink.WebOpen{Channel: n, Network: "tcp", Remote: l.addr, Buffer: 1500}
	if _, err := l.link.WebOpenChannel(context.Background(), w); err != nil {
		l.b.Fatal(err)
	}
	return conn
}

// BenchmarkDown is a download through proxy and line, BenchmarkUp an upload, octets a second.
func BenchmarkDown(b *testing.B) {
	l := benchLine(b, func(c net.Conn) {
		for p := make([]byte, 64<<10); ; {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	})
	conn := l.open(1)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUp(b *testing.B) {
	l := benchLine(b, func(c net.Conn) { io.Copy(io.Discard, c) })
	conn := l.open(1)
	buf := make([]byte, 64<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEcho is one octet there and back.
func BenchmarkEcho(b *testing.B) {
	l := benchLine(b, func(c net.Conn) { io.Copy(c, c) })
	conn := l.open(1)
	buf := make([]byte, 1)
	for b.Loop() {
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenClose is DLC, AT%WEBOPCH with policy and connect, and AT%WEBCLCH with the DLC closed behind it.
func BenchmarkOpenClose(b *testing.B) {
	l := benchLine(b, func(c net.Conn) { io.Copy(c, c) })
	for b.Loop() {
		conn := l.open(1)
		closed := make(chan error, 1)
		go func() { closed <- l.link.WebCloseChannel(context.Background(), 1) }()
		if err := <-closed; err != nil {
			b.Fatal(err)
		}
		conn.Close()
	}
}
