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

// benchStream sends one way on one DLC, 16 KiB a Write.
func benchStream(b *testing.B, l line, n1 int) {
	m, peer := startPair(b, l, Config{N1: n1})
	from, to := openDLC(b, m, peer, 2)
	const size = 16 << 10
	received := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, struct{ io.Reader }{to}, int64(size)*int64(b.N))
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
