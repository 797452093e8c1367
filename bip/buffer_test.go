package bip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"bipd/cat"
	"bipd/trace"
)

// put fills the buffer as the reader does and returns how many octets it took and whether there was an edge.
func put(b *rxBuffer, p []byte) (n int, edge bool) {
	n = copy(b.space(), p)
	if n > 0 {
		edge = b.filled(n, func() {})
	}
	return n, edge
}

// TestRxRing holds the ring against a plain slice, through every way of wrapping round.
func TestRxRing(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7, 64} {
		r := rand.New(rand.NewPCG(1, uint64(size)))
		b := newRxBuffer(size, false)
		var model []byte
		next := byte(0)
		for range 20000 {
			if r.IntN(2) == 0 {
				p := make([]byte, r.IntN(size+2))
				for i := range p {
					p[i] = next + byte(i)
				}
				n, edge := put(b, p)
				if edge != (len(model) == 0 && n > 0) {
					t.Fatalf("size %d: edge %v with %d in and %d added", size, edge, len(model), n)
				}
				if n == 0 && len(p) > 0 && len(model) < size {
					t.Fatalf("size %d: no room with %d in", size, len(model))
				}
				model, next = append(model, p[:n]...), next+byte(n)
				continue
			}
			p := make([]byte, r.IntN(size+2))
			n, left := b.read(p)
			want := min(len(p), len(model))
			if n != want || left != len(model)-want || !bytes.Equal(p[:n], model[:n]) {
				t.Fatalf("size %d: read %X with %d left, want %X", size, p[:n], left, model[:want])
			}
			model = model[n:]
			if m, _ := b.pending(); m != len(model) || m > size {
				t.Fatalf("size %d: %d pending, want %d", size, m, len(model))
			}
		}
	}
}

func TestRxDatagrams(t *testing.T) {
	b := newRxBuffer(10, true)
	if n, edge := put(b, make([]byte, 3000)); n != 3000 || !edge {
		t.Fatalf("%d octets, edge %v", n, edge)
	}
	if len(b.space()) != 0 {
		t.Error("a second datagram would join the first")
	}
	if n, left := b.read(make([]byte, 2999)); n != 2999 || left != 1 || len(b.space()) != 0 {
		t.Errorf("read %d, %d left, room %d", n, left, len(b.space()))
	}
	select {
	case <-b.room:
	default:
		t.Error("the reader is not told of room")
	}
	b.read(make([]byte, 1))
	if len(b.space()) != maxDatagram {
		t.Errorf("room for %d octets after all was read", len(b.space()))
	}
}

func TestRxTelling(t *testing.T) {
	b := newRxBuffer(10, false)
	check := func(what string, wantN int, wantDue bool) {
		t.Helper()
		if n, due := b.pending(); n != wantN || due != wantDue {
			t.Errorf("%s: %d pending, due %v", what, n, due)
		}
	}
	check("empty", 0, false)
	put(b, []byte("abc"))
	check("filled", 3, true)
	b.tell(false)
	put(b, []byte("de"))
	check("told, and more came", 5, false)
	b.tell(true)
	check("to be told again", 5, true)
	b.read(make([]byte, 5))
	check("read before it was told", 0, false)
	put(b, []byte("f"))
	check("filled again", 1, true)
	b.end(io.ErrUnexpectedEOF)
	if ended, drained, err := b.finished(); !ended || drained || err != io.ErrUnexpectedEOF {
		t.Errorf("ended %v, drained %v, %v", ended, drained, err)
	}
	b.abandon()
	if _, drained, _ := b.finished(); !drained {
		t.Error("abandoned, but not empty")
	}
	if n, edge := put(b, []byte("gh")); n != 2 || edge {
		t.Errorf("after abandon: took %d, edge %v", n, edge)
	}
	check("abandoned", 0, false)
}

func TestTxBuffer(t *testing.T) {
	tx := newTxBuffer(10)
	if tx.busy() || tx.free() != 10 {
		t.Fatalf("new: busy %v, free %d", tx.busy(), tx.free())
	}
	tx.store([]byte("abc"))
	tx.store([]byte("defg"))
	if tx.free() != 3 {
		t.Errorf("free %d, want 3", tx.free())
	}
	first := tx.take()
	if string(first.data) != "abcdefg" || tx.free() != 10 || !tx.busy() {
		t.Errorf("took %q, free %d, busy %v", first.data, tx.free(), tx.busy())
	}
	tx.store([]byte("hij")) // while the writer still has the first
	if string(first.data) != "abcdefg" {
		t.Errorf("the writer's data changed to %q", first.data)
	}
	close(first.written)
	second := tx.take()
	tx.store([]byte("0123456789"))
	if string(second.data) != "hij" || tx.free() != 0 {
		t.Errorf("took %q, free %d", second.data, tx.free())
	}
	close(second.written)
	if third := tx.take(); string(third.data) != "0123456789" {
		t.Errorf("took %q", third.data)
	}
}

func TestWaitFor(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if err := waitFor(t.Context(), done); err != nil {
		t.Error(err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := waitFor(ctx, make(chan struct{})); err != why {
		t.Errorf("%v", err)
	}
}

func TestCauseOf(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	for _, tc := range []struct {
		err    error
		want   Cause
		answer []byte
	}{
		{dial(syscall.ECONNREFUSED), CauseRefused, []byte{0x3A, 0x00}},
		{dial(syscall.ENETUNREACH), CauseUnreachable, []byte{0x3A, 0x00}},
		{dial(syscall.EHOSTUNREACH), CauseUnreachable, []byte{0x3A, 0x00}},
		{dial(syscall.EHOSTDOWN), CauseUnreachable, []byte{0x3A, 0x00}},
		{dial(syscall.ETIMEDOUT), CauseTimeout, []byte{0x3A, 0x00}},
		{context.DeadlineExceeded, CauseTimeout, []byte{0x3A, 0x00}},
		{os.ErrDeadlineExceeded, CauseTimeout, []byte{0x3A, 0x00}},
		{dial(syscall.ENETDOWN), CauseNoNetwork, []byte{0x21, 0x00}},
		{dial(syscall.ENODEV), CauseNoNetwork, []byte{0x21, 0x00}},
		{dial(syscall.EADDRINUSE), CausePortInUse, []byte{0x3A, 0x10}},
		{fmt.Errorf("around: %w", &Error{Cause: CauseDenied, Err: syscall.ECONNREFUSED}), CauseDenied, []byte{0x3A, 0x05}},
		{&Error{Cause: CauseTransport}, CauseTransport, []byte{0x3A, 0x06}},
		{&Error{Cause: CauseBearer}, CauseBearer, []byte{0x30}},
		{&Error{Cause: CauseName}, CauseName, []byte{0x3A, 0x00}},
		{context.Canceled, CauseUnknown, []byte{0x3A, 0x00}},
		{nil, CauseUnknown, []byte{0x3A, 0x00}},
	} {
		c := CauseOf(tc.err)
		if c != tc.want {
			t.Errorf("%v: %v, want %v", tc.err, c, tc.want)
		}
		r := c.result()
		if got := append([]byte{byte(r.General)}, r.Info...); !bytes.Equal(got, tc.answer) {
			t.Errorf("%v: answered % X, want % X", c, got, tc.answer)
		}
		if r.General.NeedsInfo() && len(r.Info) == 0 {
			t.Errorf("%v: result without additional information", c)
		}
	}
	seen := map[string]Cause{}
	for c := CauseUnknown; c <= CauseBearer; c++ {
		if before, twice := seen[c.String()]; twice {
			t.Errorf("causes %d and %d are both %q", before, c, c)
		}
		seen[c.String()] = c
	}
	if err := (&Error{Cause: CauseRefused, Err: io.EOF}); !errors.Is(err, io.EOF) || err.Error() != "bip: connection refused: EOF" {
		t.Errorf("%v", err)
	}
}

// named bearers for the route table.
type method1Bearer struct{ KernelBearer }
type method2Bearer struct{ KernelBearer }

func (*method2Bearer) Method() trace.Method { return trace.Method2 }

func TestRouteTable(t *testing.T) {
	one, two := &method1Bearer{}, &method2Bearer{}
	dst := netip.MustParseAddrPort("192.0.2.7:443")
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.7]:443")
	rules := []Rule{
		{AccessNames: []string{"OTA.example"}, Networks: []string{"udp"}, Method: trace.Method2},
		{Bearers: []cat.BearerType{cat.BearerWLAN}, Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Method: trace.Method1},
		{Bearers: []cat.BearerType{cat.BearerPacket, cat.BearerNGRAN}, AccessNames: []string{"a", "b"}, Method: trace.Method2},
	}
	for _, tc := range []struct {
		name  string
		rules []Rule
		ap    bool
		req   Request
		want  Bearer
		cause Cause
	}{
		{"packet", nil, true, bearerRequest(cat.BearerPacket), one, 0},
		{"cdma2000", nil, true, bearerRequest(cat.BearerCDMA), one, 0},
		{"UTRAN", nil, true, bearerRequest(cat.BearerUTRAN), one, 0},
		{"E-UTRAN", nil, true, bearerRequest(cat.BearerEUTRAN), one, 0},
		{"NG-RAN", nil, true, bearerRequest(cat.BearerNGRAN), one, 0},
		{"WLAN", nil, true, bearerRequest(cat.BearerWLAN), two, 0},
		{"default, AP", nil, true, bearerRequest(cat.BearerDefault), two, 0},
		{"default, no AP", nil, false, bearerRequest(cat.BearerDefault), one, 0},
		{"WLAN, no AP", nil, false, bearerRequest(cat.BearerWLAN), nil, CauseNoNetwork},
		{"CSD", nil, true, bearerRequest(cat.BearerCSD), nil, CauseBearer},
		{"none", nil, true, Request{}, nil, CauseBearer},
		{"rule by name and network", rules, true, Request{Bearer: bearerOf(cat.BearerPacket), NetworkAccessName: "ota.EXAMPLE", Network: "udp"}, two, 0},
		{"name, other network", rules, true, Request{Bearer: bearerOf(cat.BearerPacket), NetworkAccessName: "ota.example", Network: "tcp"}, one, 0},
		{"rule by destination", rules, true, Request{Bearer: bearerOf(cat.BearerWLAN), Remote: dst}, one, 0},
		{"mapped destination", rules, true, Request{Bearer: bearerOf(cat.BearerWLAN), Remote: mapped}, one, 0},
		{"DNS request has no destination", rules, true, bearerRequest(cat.BearerWLAN), two, 0},
		{"rule by list", rules, true, Request{Bearer: bearerOf(cat.BearerNGRAN), NetworkAccessName: "B"}, two, 0},
		{"rule to an AP that is none", rules, false, Request{Bearer: bearerOf(cat.BearerPacket), NetworkAccessName: "a"}, nil, CauseNoNetwork},
		{"first match wins", append([]Rule{{Method: trace.Method1}}, rules...), true, bearerRequest(cat.BearerWLAN), one, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := &Table{Rules: tc.rules, Method1: one}
			if tc.ap {
				table.Method2 = two
			}
			b, err := table.Route(tc.req)
			if b != tc.want || (err != nil) != (tc.want == nil) || err != nil && CauseOf(err) != tc.cause {
				t.Errorf("%T, %v", b, err)
			}
		})
	}
}

func bearerOf(b cat.BearerType) cat.BearerDescription { return cat.BearerDescription{Type: b} }

func bearerRequest(b cat.BearerType) Request { return Request{Bearer: bearerOf(b)} }
