package ptylink

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"bipd/internal/testkit"
	"bipd/ptylink/mux"
)

// countingLine counts the octets written.
type countingLine struct {
	net.Conn
	octets atomic.Int64
}

func (l *countingLine) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	l.octets.Add(int64(n))
	return n, err
}

// At 115200 bit/s at least 97 % of the octets on the line are payload, with the payload check too.
func TestPayloadShare(t *testing.T) {
	const size = 1 << 20
	for _, check := range []bool{false, true} {
		testkit.NoLeaks(t)
		a, b := net.Pipe()
		line := &countingLine{Conn: a}
		cfg := paced(mux.Config{Check: check}, 115200)
		far := cfg
		far.Role = mux.Responder
		if cfg.N1 != 512 {
			t.Fatalf("N1 %d", cfg.N1)
		}
		cfg.T1, far.T1 = testTime, testTime // for nothing is sent twice, however slow the machine
		cfg.T2, far.T2 = testTime, testTime
		from, to := mux.New(line, cfg), mux.New(b, far)
		_ = a.SetDeadline(time.Now().Add(testTime))
		ctx := within(t, testTime)
		started := make(chan error, 1)
		go func() { started <- to.Start(ctx) }()
		if err := from.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		near, err := from.Open(ctx, 2)
		if err != nil {
			t.Fatal(err)
		}
		end, err := to.Accept(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := line.octets.Load()
		go func() {
			buf := make([]byte, 1500)
			for left := size; left > 0; left -= len(buf) {
				buf = buf[:min(left, len(buf))]
				if _, err := near.Write(buf); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		if _, err := io.ReadFull(end, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		share := 100 * float64(size) / float64(line.octets.Load()-before)
		t.Logf("payload check %t: %.2f %% of the line is payload", check, share)
		if share < 97 {
			t.Errorf("payload check %t: %.2f %% is too little", check, share)
		}
		from.Close()
		to.Close()
	}
}
