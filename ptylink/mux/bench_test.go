package mux

import (
	"io"
	"strconv"
	"testing"
)

var benchN1 = []int{31, 127, 512, 1499}

func itoa(n int) string { return strconv.Itoa(n) }

func BenchmarkMux(b *testing.B) {
	for _, l := range []struct {
		name string
		line line
	}{{"pipe", pipeLine}, {"pty", ptyLine}} {
		for _, n1 := range benchN1 {
			b.Run(l.name+"/"+itoa(n1), func(b *testing.B) { benchStream(b, l.line, n1) })
		}
	}
}

// BenchmarkATLatency is the round trip of a short line on DLC 1 while a data DLC
// sends both ways as fast as it can.
func BenchmarkATLatency(b *testing.B) {
	for _, n1 := range benchN1 {
		b.Run(itoa(n1), func(b *testing.B) {
			m, peer := startPair(b, ptyLine, Config{N1: n1})
			at, atPeer := openDLC(b, m, peer, 1)
			data, dataPeer := openDLC(b, m, peer, 2)
			go io.Copy(atPeer, atPeer)
			for _, d := range []*DLC{data, dataPeer} {
				go io.Copy(io.Discard, d)
				go func() {
					block := make([]byte, 4096)
					for {
						if _, err := d.Write(block); err != nil {
							return
						}
					}
				}()
			}
			ping := []byte("AT%NETSTAT?\r")
			for b.Loop() {
				if _, err := at.Write(ping); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(at, ping); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchStream sends one way on one DLC, 16 KiB a Write.
func benchStream(b *testing.B, l line, n1 int) {
	m, peer := startPair(b, l, Config{N1: n1})
	from, to := openDLC(b, m, peer, 2)
	const size = 16 << 10
	received := make(chan error, 1)
	go func() {
		buf := make([]byte, 32<<10)
		var err error
		for left := size * b.N; left > 0 && err == nil; {
			var n int
			n, err = to.Read(buf)
			left -= n
		}
		received <- err
	}()
	buf := make([]byte, size)
	b.SetBytes(size)
	b.ResetTimer()
	for range b.N {
		if _, err := from.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-received; err != nil {
		b.Fatal(err)
	}
}
