//go:build guest

package ngsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/internal/guest"
	"bipd/internal/testkit"
	"bipd/ptylink"
	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

const (
	patience = 2 * time.Minute
	n1       = 512
)

// serialPorts are the nodes of the two ports that the host has joined.
func serialPorts(t *testing.T) (near, far string) {
	t.Helper()
	found, _ := filepath.Glob("/sys/class/tty/ttyS*/device/vendor") // those on PCI have one
	if len(found) != 2 {
		t.Fatalf("%d serial ports on PCI: %v", len(found), found)
	}
	sort.Strings(found)
	node := func(s string) string { return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(s))) }
	return node(found[0]), node(found[1])
}

// deadlined is a line that can be torn.
type deadlined interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// lent is a line that outlives the multiplexer that has it.
type lent struct{ deadlined }

func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// TestInsideMux starts our multiplexer against the kernel's, moves bulk data both ways on seven DLCs, closes DLCs from both
// sides, tears our end and starts anew by SABM on DLCI 0 where it is the initiator, ends in order and begins again.
func TestInsideMux(t *testing.T) {
	args := guest.Args()
	if len(args) != 3 {
		t.Fatalf("arguments %q", args)
	}
	initiator, advanced := args[1] == "initiator", args[2] == "advanced"
	var line deadlined
	var theirs string
	load := traffic{rounds: 30, size: 600} // the kernel's multiplexer on a pty stops for good where the pty is full
	if args[0] == "pty" {
		p, err := ptylink.OpenPTY(ptylink.PTYConfig{})
		if err != nil {
			t.Fatal(err)
		}
		line, theirs = p, p.Slave()
	} else {
		load = traffic{rounds: 1, size: 5_000} // the emulator is left for each octet
		near, far := serialPorts(t)
		tty, err := ptylink.OpenTTY(near, ptylink.TTYConfig{Speed: 115200, RTSCTS: true})
		if err != nil {
			t.Fatal(err)
		}
		line, theirs = tty.(deadlined), far
	}
	defer line.Close()
	cfg := mux.Config{Advanced: advanced, N1: n1, T1: time.Second, T2: time.Second, N2: 5, KeepAlive: 5 * time.Second}
	if !initiator {
		cfg.Role = mux.Responder
	}
	begin := time.Now()
	for life := range 2 {
		k := attach(t, theirs, !initiator, advanced, n1)
		m := start(t, lent{line}, cfg)
		bulk(t, m, k, initiator, load)
		if initiator { // our end is torn and begins anew: the kernel's knows nothing of it
			line.SetDeadline(time.Unix(1, 0))
			await(t, "the end of the torn multiplexer", m.Done())
			if m.Err() == nil {
				t.Error("a torn line is an orderly end")
			}
			line.SetDeadline(time.Time{})
			m = start(t, lent{line}, cfg)
			bulk(t, m, k, initiator, traffic{1, 100})
		}
		if life == 0 {
			m.Close() // our end closes down
		} else {
			k.line.SetDeadline(time.Time{})
		}
		k.detach() // the kernel's does, or has nothing left to
		await(t, "the end of our multiplexer", closed(m))
		line.SetDeadline(time.Time{})
	}
	t.Logf("%d times %d octets each way on each of 7 DLCs, twice: %v", load.rounds, load.size, time.Since(begin).Round(time.Millisecond))
}

// closed closes a multiplexer that may have ended, and tells when it has.
func closed(m *mux.Mux) <-chan struct{} {
	go m.Close()
	return m.Done()
}

func start(t *testing.T, line io.ReadWriteCloser, cfg mux.Config) *mux.Mux {
	t.Helper()
	m := mux.New(line, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := m.Start(ctx)
	for errors.Is(err, mux.ErrTimeout) && ctx.Err() == nil {
		err = m.Start(ctx)
	}
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	return m
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
	}
}

// traffic is so many octets each way on all DLCs at once, so many times.
type traffic struct{ rounds, size int }

// bulk opens seven DLCs from the initiator's side, moves the traffic, and closes them: those with an odd number at our end,
// the others at the kernel's.
func bulk(t *testing.T, m *mux.Mux, k *kernelMux, initiator bool, load traffic) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var ours [9]*mux.DLC
	var theirs [9]*os.File
	var opening sync.WaitGroup
	errs := make([]error, 20)
	for n := 2; n <= 8; n++ {
		if initiator { // the kernel's end first: opened during our SABM it was seen to answer the first data with DM
			theirs[n], errs[n] = k.open(n)
		} else {
			opening.Go(func() { theirs[n], errs[n] = k.open(n) })
		}
	}
	for n := 2; n <= 8; n++ {
		opening.Go(func() {
			if initiator {
				ours[n], errs[10+n] = m.Open(ctx, n)
				return
			}
			var d *mux.DLC
			if d, errs[10+n] = m.Accept(ctx); d != nil {
				ours[d.DLCI()] = d
			}
		})
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("opening: %v", err)
	}
	for range load.rounds {
		move(t, ours[2:], theirs[2:], load.size)
		if t.Failed() {
			break
		}
	}
	if t.Failed() {
		for n := 2; n <= 8; n++ {
			discard(theirs[n]) // else their close waits half a minute each
		}
		t.FailNow()
	}
	for n := 2; n <= 8; n++ {
		d, f := ours[n], theirs[n]
		buf := make([]byte, 10)
		if n%2 == 1 {
			d.Close()
			if got, err := f.Read(buf); got != 0 || err == nil {
				t.Errorf("DLC %d: the kernel read %d octets and %v after our close", n, got, err)
			}
			f.Close()
			continue
		}
		f.Close()
		if got, err := d.Read(buf); got != 0 || err != io.EOF {
			t.Errorf("DLC %d: read %d octets and %v after the kernel's close", n, got, err)
		}
		d.Close()
	}
}

// move sends size octets each way on all DLCs at once, and waits for them.
func move(t *testing.T, ours []*mux.DLC, theirs []*os.File, size int) {
	t.Helper()
	var moving sync.WaitGroup
	for n, d := range ours {
		f, end := theirs[n], time.Now().Add(patience)
		d.SetDeadline(end)
		f.SetDeadline(end)
		for i, pair := range []struct {
			from io.Writer
			to   io.Reader
		}{{d, f}, {f, d}} {
			moving.Go(func() {
				if err := send(pair.from, size, n+i); err != nil {
					t.Errorf("DLC %d: write: %v", d.DLCI(), err)
				}
			})
			moving.Go(func() {
				if err := receive(pair.to, size, n+i); err != nil {
					t.Errorf("DLC %d, direction %d: %v", d.DLCI(), i, err)
				}
			})
		}
	}
	moving.Wait()
}

func octet(i, n int) byte { return byte(i ^ i>>8 ^ i>>16 ^ n*37) }

func send(w io.Writer, size, n int) error {
	block := make([]byte, 1500)
	for i := 0; i < size; i += len(block) {
		block = block[:min(len(block), size-i)]
		for j := range block {
			block[j] = octet(i+j, n)
		}
		if _, err := w.Write(block); err != nil {
			return fmt.Errorf("after %d octets: %w", i, err)
		}
	}
	return nil
}

func receive(r io.Reader, size, n int) error {
	buf := make([]byte, 4096)
	for i := 0; i < size; {
		got, err := r.Read(buf)
		for j, o := range buf[:got] {
			if o != octet(i+j, n) {
				return fmt.Errorf("octet %d is %02x, want %02x", i+j, o, octet(i+j, n))
			}
		}
		if i += got; err != nil && i < size {
			return fmt.Errorf("after %d octets: %w", i, err)
		}
	}
	return nil
}

// TestInsideLink has both ends of ours on serial ports with RTS and CTS: the line comes up with its payload check, carries
// channels, refuses a second user, and comes back after the AP's end was torn.
func TestInsideLink(t *testing.T) {
	var said testkit.Log
	log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
	defer func() {
		if t.Failed() {
			t.Logf("log:\n%s", &said)
			for _, name := range []string{"/proc/tty/driver/serial", "/proc/interrupts"} { // whether the ports still move octets
				text, _ := os.ReadFile(name)
				t.Logf("%s:\n%s", name, text)
			}
		}
	}()
	near, far := serialPorts(t)
	tty := ptylink.TTYConfig{Speed: 115200, RTSCTS: true}
	open := func(path string) func(context.Context) (io.ReadWriteCloser, error) {
		return func(context.Context) (io.ReadWriteCloser, error) { return ptylink.OpenTTY(path, tty) }
	}
	up := make(chan struct{}, 10)
	var mu sync.Mutex
	checked := false
	startAP := func() (*ptylink.Peer, func()) {
		peer := ptylink.NewPeer(ptylink.PeerConfig{Name: "ap", Log: log, Open: open(far), Tap: func(_ ptylink.Direction, line string) {
			mu.Lock()
			defer mu.Unlock()
			checked = checked || strings.HasPrefix(line, "AT%MUXCHK=1,")
		}})
		peer.Handle("%WEBOPCH", func(_ context.Context, c at.Command) ([]string, error) {
			w, err := ptylink.ParseWebOpen(c)
			if err != nil {
				return nil, err
			}
			return ptylink.WebOpenedLines(w.Channel, netip.MustParseAddrPort("192.0.2.1:1"))
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); peer.Run(ctx) }()
		return peer, sync.OnceFunc(func() { cancel(); await(t, "the end of the AP", done) })
	}
	// Frames are late where the host or the emulator is stopped: T1 and N2 leave them half a minute.
	slow := mux.Config{T1: 2500 * time.Millisecond, N2: 12}
	link := ptylink.NewLink(ptylink.LinkConfig{Name: "cp", Log: log, Mux: slow, Open: open(near), State: func(is bool, _ error) {
		if is {
			up <- struct{}{}
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); link.Run(ctx) }()
	defer func() { cancel(); await(t, "the end of the CP", done) }()
	for range 2 {
		peer, stop := startAP()
		defer stop() // also where the test fails: the kernel would wait half a minute for a port that still has something to send
		await(t, "the line", up)
		ctx, end := context.WithTimeout(ctx, patience)
		defer end()
		if _, err := ptylink.OpenTTY(near, tty); !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EWOULDBLOCK) {
			t.Errorf("a line in use opens: %v", err)
		}
		d, err := link.OpenChannel(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		e, err := peer.Channel(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		d.SetDeadline(time.Now().Add(patience))
		e.SetDeadline(time.Now().Add(patience))
		sent := make(chan error, 1)
		go func() { sent <- send(e, 30_000, 1) }()
		if err := errors.Join(receive(d, 30_000, 1), <-sent); err != nil {
			t.Fatal(err)
		}
		if _, err := link.WebOpenChannel(ctx, ptylink.WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:1"), Buffer: 1}); err != nil {
			t.Error(err)
		}
		d.Close()
		stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if !checked {
		t.Error("the line has no payload check")
	}
}
