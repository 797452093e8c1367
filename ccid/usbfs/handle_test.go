package usbfs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"bipd/internal/testkit"
)

// newHandle gives a handle to QEMU's reader over a fake kernel. Its node is a pipe, which knows no ioctl.
func newHandle(t *testing.T) (*Handle, *fakeKernel) {
	t.Helper()
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	k := newFake(t)
	in := wantQEMU()
	h := &Handle{
		node:      pipeNode(t),
		in:        in.endpoint(attributeBulk, directionIn),
		out:       in.endpoint(attributeBulk, 0),
		notify:    in.endpoint(attributeInterrupt, directionIn),
		transfers: newTransfers(k),
	}
	t.Cleanup(func() { h.transfers.close(func() error { return nil }) })
	return h, k
}

func pipeNode(t *testing.T) *node {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return &node{w, raw}
}

// result is what a transfer returned.
type result struct {
	n   int
	err error
}

// background runs a transfer beside the test.
func background(f func() (int, error)) <-chan result {
	ch := make(chan result, 1)
	go func() {
		n, err := f()
		ch <- result{n, err}
	}()
	return ch
}

func TestSend(t *testing.T) {
	h, k := newHandle(t)
	for _, msg := range []string{"a message", ""} {
		done := background(func() (int, error) { return 0, h.Send(testContext(t), []byte(msg)) })
		u := k.next()
		if u.kind != kindBulk || u.endpoint != 0x03 || string(data(u)) != msg {
			t.Errorf("%+v %q", u, data(u))
		}
		k.finish(u, 0, u.length, "")
		if r := await(t, "end of the transfer", done); r.err != nil {
			t.Error(r.err)
		}
	}
}

// Reads ask for whole packets, however long the caller's buffer is.
func TestReceiveAndNotify(t *testing.T) {
	h, k := newHandle(t)
	for _, tc := range []struct {
		room, asked int
		sent        string
		want        error
	}{
		{271, 320, "an answer", nil},
		{64, 64, "", nil},
		{64, 64, string(make([]byte, 64)), nil},
		{2, 64, "12", nil},
		{2, 64, "123", ErrOverflow},
		{0, 64, "", nil},
	} {
		buf := make([]byte, tc.room)
		for kind, read := range map[uint8]func(context.Context, []byte) (int, error){kindBulk: h.Receive, kindInterrupt: h.Notify} {
			done := background(func() (int, error) { return read(testContext(t), buf) })
			u := k.next()
			if wantEndpoint := map[uint8]uint8{kindBulk: 0x82, kindInterrupt: 0x81}[kind]; u.kind != kind || u.endpoint != wantEndpoint ||
				int(u.length) != tc.asked {
				t.Errorf("%+v, want kind %d, %d octets", u, kind, tc.asked)
			}
			k.finish(u, 0, 0, tc.sent)
			r := await(t, "end of the transfer", done)
			if !errors.Is(r.err, tc.want) || string(buf[:r.n]) != tc.sent[:min(len(tc.sent), tc.room)] {
				t.Errorf("room for %d: %q, %v", tc.room, buf[:r.n], r.err)
			}
		}
	}
}

func TestControl(t *testing.T) {
	h, k := newHandle(t)
	h.iface = 2
	buf := []byte("????")
	done := background(func() (int, error) { return h.Control(testContext(t), 0xA1, 0x02, 0x0304, buf) })
	u := k.next()
	if want := hx("a1 02 0403 0200 0400"); u.kind != kindControl || u.endpoint != 0x80 || !bytes.HasPrefix(data(u), want) ||
		u.length != 12 {
		t.Errorf("%+v %x, want %x and 4 octets", u, data(u), want)
	}
	copy(data(u)[8:], "in")
	k.finish(u, 0, 2, "")
	if r := await(t, "end of the transfer", done); r.n != 2 || r.err != nil || string(buf) != "in??" {
		t.Errorf("%+v %q", r, buf)
	}

	done = background(func() (int, error) { return h.Control(testContext(t), 0x21, 0x01, 0, []byte("out")) })
	u = k.next()
	if want := append(hx("21 01 0000 0200 0300"), "out"...); u.endpoint != 0 || !bytes.Equal(data(u), want) {
		t.Errorf("%+v %x, want %x", u, data(u), want)
	}
	k.finish(u, syscall.EPIPE, 0, "")
	if r := await(t, "end of the transfer", done); !errors.Is(r.err, ErrStall) {
		t.Errorf("%+v", r)
	}
	if _, err := h.Control(testContext(t), 0x21, 0, 0, make([]byte, 1<<16)); err == nil {
		t.Error("65536 octets of data were accepted")
	}
}

func TestNoEndpoints(t *testing.T) {
	h, _ := newHandle(t)
	h.in, h.out, h.notify = nil, nil, nil
	for name, r := range map[string]<-chan result{
		"Send":    background(func() (int, error) { return 0, h.Send(testContext(t), nil) }),
		"Receive": background(func() (int, error) { return h.Receive(testContext(t), make([]byte, 64)) }),
		"Notify":  background(func() (int, error) { return h.Notify(testContext(t), make([]byte, 64)) }),
	} {
		if r := await(t, name, r); !errors.Is(r.err, ErrNoEndpoint) {
			t.Errorf("%s: %v", name, r.err)
		}
	}
}

// What the kernel's error numbers mean, while the device is there and when it is gone.
func TestOutcomes(t *testing.T) {
	for _, tc := range []struct {
		status             syscall.Errno
		plugged, unplugged error
	}{
		{syscall.EPIPE, ErrStall, ErrStall},
		{syscall.EOVERFLOW, ErrOverflow, ErrOverflow},
		{syscall.EPROTO, ErrProtocol, ErrGone},
		{syscall.EILSEQ, ErrProtocol, ErrGone},
		{syscall.ETIME, ErrProtocol, ErrGone},
		{syscall.ENOENT, ErrAborted, ErrGone},
		{syscall.ECONNRESET, ErrAborted, ErrGone},
		{syscall.ESHUTDOWN, ErrAborted, ErrGone},
		{syscall.ENODEV, ErrGone, ErrGone},
		{syscall.EREMOTEIO, syscall.EREMOTEIO, syscall.EREMOTEIO},
	} {
		for gone, want := range map[bool]error{false: tc.plugged, true: tc.unplugged} {
			h, k := newHandle(t)
			buf := make([]byte, 64)
			done := background(func() (int, error) { return h.Receive(testContext(t), buf) })
			u := k.next()
			k.mu.Lock()
			k.unplugged = gone
			k.mu.Unlock()
			k.finish(u, tc.status, 0, "part")
			if r := await(t, "end of the transfer", done); !errors.Is(r.err, want) || !errors.Is(r.err, tc.status) || string(buf[:r.n]) != "part" {
				t.Errorf("%v, gone %t: %+v, want %v and what had come", tc.status, gone, r, want)
			}
		}
	}
}

func TestSubmitRefused(t *testing.T) {
	h, k := newHandle(t)
	for errno, want := range map[syscall.Errno]error{
		syscall.ENODEV: ErrGone, syscall.ESHUTDOWN: ErrAborted, syscall.EBUSY: syscall.EBUSY, syscall.ENOMEM: syscall.ENOMEM,
	} {
		k.mu.Lock()
		k.refuse = errno
		k.mu.Unlock()
		if err := h.Send(testContext(t), nil); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
	if len(h.transfers.pending) != 0 {
		t.Errorf("%d transfers still wait", len(h.transfers.pending))
	}
}

func TestCancel(t *testing.T) {
	for _, tc := range []struct {
		name   string
		partly int32
		send   bool
		before bool // the transfer ends by itself before it can be discarded
		wantN  int
		want   error
	}{
		{"nothing has come", 0, false, false, 0, context.Canceled},
		{"part has come", 5, false, false, 5, nil},
		{"all has come", 0, false, true, 4, nil},
		{"part has gone out", 5, true, false, 0, context.Canceled},
		{"all has gone out", 0, true, true, 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, k := newHandle(t)
			k.partly = tc.partly
			ctx, cancel := context.WithCancel(testContext(t))
			done := background(func() (int, error) {
				if tc.send {
					return 0, h.Send(ctx, []byte("message"))
				}
				return h.Receive(ctx, make([]byte, 64))
			})
			u := k.next()
			if tc.before {
				cancel()
				k.finish(u, 0, 4, "") // the two race: both orders are right
				if r := await(t, "end of the transfer", done); r.err == nil && r.n != tc.wantN || r.err != nil && r.err != context.Canceled {
					t.Errorf("%+v", r)
				}
				return
			}
			cancel()
			if r := await(t, "end of the transfer", done); r.n != tc.wantN || r.err != tc.want {
				t.Errorf("%+v, want %d, %v", r, tc.wantN, tc.want)
			}
		})
	}
	h, _ := newHandle(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Send(ctx, nil); err != context.Canceled {
		t.Errorf("a context that has ended: %v", err)
	}
}

// A transfer that is complete when its context ends is a success, though nobody was told yet.
func TestCompleteAtCancel(t *testing.T) {
	h, k := newHandle(t)
	ctx, cancel := context.WithCancel(testContext(t))
	buf := make([]byte, 64)
	hold := make(chan struct{})
	h.transfers.kernel = &slowDiscard{k, hold, t.Context().Done()}
	done := background(func() (int, error) { return h.Receive(ctx, buf) })
	u := k.next()
	cancel()
	await(t, "the discard", hold) // it is about to discard
	k.finish(u, 0, 0, "data")
	close(hold)
	if r := await(t, "end of the transfer", done); r.err != nil || string(buf[:r.n]) != "data" {
		t.Errorf("%+v %q", r, buf[:r.n])
	}
	h.transfers.kernel = k
}

// slowDiscard says when it is called and waits.
type slowDiscard struct {
	*fakeKernel
	hold chan struct{}
	end  <-chan struct{} // of the test
}

func (s *slowDiscard) discard(u *urb) error {
	select {
	case s.hold <- struct{}{}:
		<-s.hold
	case <-s.end:
	}
	return s.fakeKernel.discard(u)
}

func TestUnplugWhilePending(t *testing.T) {
	h, k := newHandle(t)
	var waiting []<-chan result
	for range 3 {
		waiting = append(waiting, background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 64)) }),
			background(func() (int, error) { return h.Notify(context.Background(), make([]byte, 8)) }),
			background(func() (int, error) { return h.Control(context.Background(), 0xA1, 1, 0, nil) }))
	}
	for range waiting {
		k.next()
	}
	k.unplug()
	for _, ch := range waiting {
		if r := await(t, "end of a transfer", ch); !errors.Is(r.err, ErrGone) {
			t.Errorf("%+v", r)
		}
	}
	if err := h.Send(context.Background(), nil); !errors.Is(err, ErrGone) {
		t.Errorf("a later call: %v", err)
	}
}

func TestCloseWhilePending(t *testing.T) {
	h, k := newHandle(t)
	var waiting []<-chan result
	for range 5 {
		waiting = append(waiting, background(func() (int, error) { return h.Receive(context.Background(), make([]byte, 64)) }))
		k.next()
	}
	given := 0
	end := func() error { given++; return nil }
	var closers sync.WaitGroup
	for range 2 {
		closers.Go(func() {
			if err := h.transfers.close(end); err != nil {
				t.Error(err)
			}
		})
	}
	for _, ch := range waiting {
		if r := await(t, "end of a transfer", ch); !errors.Is(r.err, ErrClosed) || !errors.Is(r.err, fs.ErrClosed) {
			t.Errorf("%+v", r)
		}
	}
	closers.Wait()
	if given != 1 || k.reaped != 5 {
		t.Errorf("given back %d times, %d URBs reaped", given, k.reaped)
	}
	if err := h.Send(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a later call: %v", err)
	}
	if err := h.Reset(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("a later reset: %v", err)
	}
}

// Transfers from many sides that end by themselves, are cancelled, or both: each returns its own data, and none is left.
func TestStorm(t *testing.T) {
	h, k := newHandle(t)
	device := make(chan struct{})
	go func() { // answers most of the URBs; the others wait for their cancellation
		defer close(device)
		for {
			select {
			case u := <-k.submitted:
				if rand.IntN(3) > 0 {
					k.finish(u, 0, 0, "data")
				}
			case <-k.stop:
				return
			}
		}
	}()
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for range 300 {
				ctx, cancel := context.WithCancel(context.Background())
				if rand.IntN(2) > 0 {
					cancel()
				}
				buf := make([]byte, 1+rand.IntN(200))
				done := background(func() (int, error) { return h.Receive(ctx, buf) })
				if rand.IntN(2) > 0 {
					cancel()
				}
				select {
				case r := <-done:
					check(t, r, buf)
				default:
					cancel()
					check(t, <-done, buf)
				}
				cancel()
			}
		})
	}
	users.Wait()
	if err := h.transfers.close(func() error { return nil }); err != nil {
		t.Error(err)
	}
	<-device
	if len(h.transfers.pending) != 0 {
		t.Errorf("%d transfers still wait", len(h.transfers.pending))
	}
}

// check holds the result of a transfer of the storm against what it can be.
func check(t *testing.T, r result, buf []byte) {
	want := "data"[:min(4, len(buf))]
	switch {
	case r.err == context.Canceled && r.n == 0:
	case len(buf) < 4 && errors.Is(r.err, ErrOverflow) && string(buf[:r.n]) == want:
	case r.err == nil && string(buf[:r.n]) == want:
	default:
		t.Errorf("%+v %q", r, buf[:r.n])
	}
}

// A node's reaper ends when the node is closed, and not before.
func TestNodeClose(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	n := pipeNode(t)
	h := &Handle{node: n, transfers: newTransfers(n)}
	if n.gone(0) {
		t.Error("a pipe that is read from is gone")
	}
	if err := h.Send(context.Background(), nil); !errors.Is(err, ErrNoEndpoint) {
		t.Error(err)
	}
	if err := h.Close(); !errors.Is(err, syscall.ENOTTY) { // a pipe has no interface to be given back
		t.Errorf("%v", err)
	}
	if _, err := n.capabilities(); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

// What hangs up is gone.
func TestNodeGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{w, raw}
	gone := make(chan bool, 1)
	go func() { gone <- n.gone(patience) }()
	r.Close()
	if !await(t, "the end of the pipe", gone) || !n.gone(0) {
		t.Error("not gone")
	}
}
