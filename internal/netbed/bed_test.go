package netbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	err := Reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // each test then says it again, and skips or fails
	}
	if mode := os.Getenv(helperEnv); mode != "" {
		os.Exit(helper(mode, err))
	}
	os.Exit(m.Run())
}

func mustHost(t *testing.T, b *Bed, name string) *Host {
	t.Helper()
	h, err := b.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustLink(t *testing.T, b *Bed, x, y *Host, xAddress, yAddress string, opts ...LinkOption) {
	t.Helper()
	if err := b.Link(x, y, xAddress, yAddress, opts...); err != nil {
		t.Fatal(err)
	}
}

func interfaces(t *testing.T, h *Host) []string {
	t.Helper()
	names, err := h.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// patience bounds what a broken bed could make wait for ever; it passes in full only where a test fails.
const patience = 60 * time.Second

// within is patience as a context.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// echo serves one connection on the listener and gives back what comes.
func echo(t *testing.T, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return // closed by the cleanup
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = io.Copy(c, c)
	}()
	t.Cleanup(func() {
		l.Close()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the echo server does not end")
		}
	})
}

// talk sends a line from the host to the address and expects it back.
func talk(t *testing.T, h *Host, address string) error {
	t.Helper()
	c, err := h.Dial(within(t), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	answer := make([]byte, 5)
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if string(answer) != "hello" {
		return fmt.Errorf("answer %q", answer)
	}
	return nil
}

// The topology of method 2: the CP has no way to the server, the AP has.
//
//	cp 10.1.0.1 --- 10.1.0.2 ap 10.2.0.1 --- 10.2.0.2 server      alone
func TestHostsTalk(t *testing.T) {
	b := ForTest(t)
	cp, ap, server, alone := mustHost(t, b, "cp"), mustHost(t, b, "ap"), mustHost(t, b, "server"), mustHost(t, b, "alone")
	mustLink(t, b, cp, ap, "10.1.0.1/24", "10.1.0.2/24")
	mustLink(t, b, ap, server, "10.2.0.1/24", "10.2.0.2/24")

	l, err := server.Listen(within(t), "tcp", "10.2.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if err := talk(t, ap, "10.2.0.2:8080"); err != nil {
		t.Errorf("ap to server: %v", err)
	}
	for _, h := range []*Host{cp, alone} {
		if err := talk(t, h, "10.2.0.2:8080"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("%s to server: %v, want network unreachable", h, err)
		}
	}
	if got := interfaces(t, alone); !slices.Equal(got, []string{"lo"}) {
		t.Errorf("alone has interfaces %v, want only lo", got)
	}
	got := interfaces(t, ap)
	slices.Sort(got)
	if want := []string{"lo", "to-cp", "to-server"}; !slices.Equal(got, want) {
		t.Errorf("ap has interfaces %v, want %v", got, want)
	}
}

// The topology of method 1: the CP's packets are routed by a gateway.
func TestDefaultRouteAndForwarding(t *testing.T) {
	b := ForTest(t)
	cp, gw, server := mustHost(t, b, "cp"), mustHost(t, b, "gw"), mustHost(t, b, "server")
	mustLink(t, b, cp, gw, "10.1.0.1/24", "10.1.0.2/24", DefaultRoute(cp))
	mustLink(t, b, gw, server, "10.2.0.1/24", "10.2.0.2/24", DefaultRoute(server))
	if err := gw.Sysctl("net.ipv4.ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(within(t), "tcp", "10.2.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	if err := talk(t, cp, "10.2.0.2:8080"); err != nil {
		t.Errorf("cp to server through gw: %v", err)
	}
}

func TestLoopbackIsUpAndSeparate(t *testing.T) {
	b := ForTest(t)
	x, y := mustHost(t, b, "x"), mustHost(t, b, "y")
	for _, address := range []string{"127.0.0.1:9000", "[::1]:9000"} {
		l, err := x.Listen(within(t), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		echo(t, l)
		if err := talk(t, x, address); err != nil {
			t.Errorf("%s on its own host: %v", address, err)
		}
		if err := talk(t, y, address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s from another host: %v, want connection refused", address, err)
		}
	}
}

func TestIPv6AndUDP(t *testing.T) {
	b := ForTest(t)
	x, y := mustHost(t, b, "x"), mustHost(t, b, "y")
	mustLink(t, b, x, y, "fd00::1/64", "fd00::2/64")
	pc, err := y.ListenPacket(within(t), "udp", "[fd00::2]:9000") // at once: no duplicate address detection
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	c, err := x.Dial(within(t), "udp", "[fd00::2]:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "datagram"); err != nil {
		t.Fatal(err)
	}
	if err := pc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, _, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "datagram" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
}

func TestDo(t *testing.T) {
	b := ForTest(t)
	x, y := mustHost(t, b, "x"), mustHost(t, b, "y")
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	namespace := func(h *Host) (link string) {
		t.Helper()
		if err := h.Do(func() (err error) { link, err = os.Readlink("/proc/thread-self/ns/net"); return err }); err != nil {
			t.Fatal(err)
		}
		return link
	}
	if nx, ny := namespace(x), namespace(y); nx == ny || nx == own || ny == own || nx != namespace(x) {
		t.Errorf("namespaces own %s, x %s, y %s", own, nx, ny)
	}
	failure := errors.New("failure")
	if err := x.Do(func() error { return failure }); err != failure {
		t.Errorf("Do gave %v", err)
	}
	if err := x.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error from a function that ended its goroutine")
	}
	var inner string
	if err := x.Do(func() error { inner = namespace(y); return nil }); err != nil || inner != namespace(y) {
		t.Errorf("Do within Do: %s, %v", inner, err)
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != own {
		t.Errorf("the process moved from %s to %s", own, now)
	}
}

func TestBadInput(t *testing.T) {
	b, other := ForTest(t), ForTest(t)
	x, y, foreign := mustHost(t, b, "x"), mustHost(t, b, "y"), mustHost(t, other, "x")
	mustLink(t, b, x, y, "10.1.0.1/24", "10.1.0.2/24")
	ctx := within(t)
	_, dupErr := b.Host("x")
	_, longErr := b.Host("eleven-char")
	_, charErr := b.Host("a/b")
	_, nameErr := x.Dial(ctx, "tcp", "localhost:80")
	_, listenErr := x.Listen(ctx, "tcp", ":80")
	_, packetErr := x.ListenPacket(ctx, "udp", "nonsense")
	for _, tc := range []struct {
		what, want string
		err        error
	}{
		{"second host of a name", "exists already", dupErr},
		{"long name", "bad host name", longErr},
		{"slash in name", "bad host name", charErr},
		{"dial a name", "dial from x", nameErr},
		{"listen without address", "listen on x", listenErr},
		{"listen on nonsense", "listen on x", packetErr},
		{"link to itself", "want two hosts", b.Link(x, x, "10.3.0.1/24", "10.3.0.2/24")},
		{"link to another bed", "want two hosts", b.Link(x, foreign, "10.3.0.1/24", "10.3.0.2/24")},
		{"no prefix length", "no '/'", b.Link(x, y, "10.3.0.1", "10.3.0.2/24")},
		{"bad address", "ParseAddr", b.Link(x, y, "10.3.0.1/24", "10.3.0.256/24")},
		{"address in use", "file exists", b.Link(x, y, "10.3.0.1/24", "10.3.0.2/24", DefaultRoute(x), DefaultRoute(x))},
		{"gateway off the link", "default route through 10.4.0.2", b.Link(x, y, "10.3.0.1/24", "10.4.0.2/24", DefaultRoute(x))},
		{"sysctl of the machine", "not a parameter", x.Sysctl("kernel.hostname", "x")},
		{"sysctl upwards", "not a parameter", x.Sysctl("net.//.kernel.hostname", "x")},
		{"unknown sysctl", "no such file", x.Sysctl("net.ipv4.no_such_thing", "1")},
		{"bad value", "invalid argument", x.Sysctl("net.ipv4.ip_forward", "many")},
	} {
		if tc.err == nil || !strings.Contains(tc.err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.what, tc.err, tc.want)
		}
	}
	if got := interfaces(t, x); len(got) != 2 {
		t.Errorf("failed links left interfaces: %v", got)
	}
	mustLink(t, b, x, y, "10.3.0.1/24", "10.3.0.2/24")
	if got := interfaces(t, x); !slices.Contains(got, "to-y-2") {
		t.Errorf("no second link in %v", got)
	}
}

// counts are the open descriptors and the threads of the process, and its goroutines.
func counts(t *testing.T) (n [3]int) {
	t.Helper()
	for i, dir := range []string{"/proc/self/fd", "/proc/self/task"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		n[i] = len(entries)
	}
	n[2] = runtime.NumGoroutine()
	return n
}

func TestCloseLeavesNothing(t *testing.T) {
	use := func() {
		b := ForTest(t)
		x, y := mustHost(t, b, "x"), mustHost(t, b, "y")
		mustLink(t, b, x, y, "10.1.0.1/24", "10.1.0.2/24")
		for range 20 {
			interfaces(t, x)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		if err := x.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
		if _, err := b.Host("z"); !errors.Is(err, ErrClosed) {
			t.Errorf("Host after Close: %v", err)
		}
	}
	use() // the runtime's own threads and the poller exist from here on
	before := counts(t)
	for range 5 {
		use()
	}
	// The runtime keeps idle threads, the more the longer system calls took; a leak would be one thread for each of 100 calls.
	allowed := [3]int{before[0], before[1] + 30, before[2]}
	var after [3]int
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		after = counts(t)
		if after[0] <= allowed[0] && after[1] <= allowed[1] && after[2] <= allowed[2] {
			return
		}
	}
	t.Errorf("descriptors, threads, goroutines: before %v, after %v", before, after)
}
