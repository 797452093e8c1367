package bip_test

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
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
)

// clientKind is what a client does after its request.
type clientKind int

const (
	waits      clientKind = iota // for the answer and its end
	halfCloses                   // ends its direction, as nc -N and HTTP/1.0 clients do, and waits
	closes                       // does not wait
	resets                       // does not wait either
	kinds
)

// request and answer are those of the client with this number.
const requestSize, answerSize = 8, 700

func requestOf(n int) []byte { return fmt.Appendf(nil, "%0*d", requestSize, n) }

func answerTo(request []byte) []byte {
	return bytes.Repeat(request, answerSize/requestSize+1)[:answerSize]
}

// client connects, asks and says what was wrong with the answer.
func client(port uint16, n int, kind clientKind) error {
	conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(loopback, port).String(), testTime)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * testTime))
	tcp := conn.(*net.TCPConn)
	if _, err := conn.Write(requestOf(n)); err != nil {
		return fmt.Errorf("client %d cannot ask: %w", n, err)
	}
	switch kind {
	case resets:
		tcp.SetLinger(0)
		return nil
	case closes:
		return nil
	case halfCloses:
		if err := tcp.CloseWrite(); err != nil {
			return err
		}
	}
	got, err := io.ReadAll(conn)
	if want := answerTo(requestOf(n)); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("client %d of kind %d got %d octets, %.24q...: %w", n, kind, len(got), got, err)
	}
	return nil
}

// serveClients serves so many clients: it answers what they ask and closes back to listen. It wants each event to fit what the card
// knows of the channel.
func (a *app) serveClients(id, clients int) {
	for n := 0; n < clients; n++ {
		a.established(id)
		var request []byte
		for len(request) < requestSize {
			e := a.of(id)
			switch {
			case e.Code == cat.EventDataAvailable:
				request = append(request, a.drain(id, cat.MaxReceive)...)
				continue
			case e.Code == cat.EventChannelStatus && e.Status.Link == cat.LinkListen:
			default:
				a.fail("event of channel %d with a client: %v, %v", id, e, e.Status)
			}
			break
		}
		if len(request) < requestSize {
			continue // it has gone
		}
		gone := false
		for part := range slices.Chunk(answerTo(request), 200) {
			r, err := a.tk.Do(a.ctx, &cat.SendData{Data: part}, cat.SendImmediately, cat.DeviceChannel(id))
			a.must(err)
			gone = gone || r.Result.General != cat.ResultOK
			if gone && (r.Result.General != cat.ResultBIPError || !bytes.Equal(r.Result.Info, []byte{cat.BIPChannelClosed})) {
				a.fail("SEND DATA to a client that has gone answered %v", r.Result)
			}
		}
		if gone {
			a.listens(id)
			continue
		}
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
	}
}

// TestServerQueueNightly has clients of all kinds come while others are served: each gets its own answer, whole, and the card never hears of a
// client without having heard of the end of the one before. The whole form has more of them.
func TestServerQueueNightly(t *testing.T) {
	rounds := 1
	if testkit.Nightly() {
		rounds = 50
	}
	for range rounds { // each within the time that a session has
		serveQueue(t)
	}
}

func serveQueue(t *testing.T) {
	const clients, atOnce = 60, 4
	port := freePort(t)
	o := serving()
	listening, errs := make(chan struct{}), make(chan error, clients)
	o.think, o.poll = testTime, testTime // the card acts on what it has heard, and hears of everything at once
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		close(listening)
		a.serveClients(id, clients)
		a.close(id)
	})
	var running sync.WaitGroup
	places := make(chan struct{}, atOnce)
	go func() {
		<-listening
		for n := range clients {
			places <- struct{}{}
			running.Go(func() {
				defer func() { <-places }()
				errs <- client(port, n, clientKind(n+rand.IntN(2))%kinds)
			})
		}
	}()
	term := start(t, o)
	for range clients {
		if err := next(t, "a client's end", errs); err != nil {
			t.Error(err)
		}
	}
	running.Wait()
	term.waitApplets()
	term.end(context.Canceled)
}

// TestServerNextClientWaits has a second client wait while the first is served and has gone: what the card sends before it has heard that
// the channel listens is refused, and before it has heard of the second client as well.
func TestServerNextClientWaits(t *testing.T) {
	port := freePort(t)
	o := serving()
	o.think = testTime
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		first, second := make(chan net.Conn, 1), make(chan net.Conn, 1)
		go func() {
			first <- dialPort(t, port)
			second <- dialPort(t, port) // it is in the system's queue
		}()
		a.established(id)
		c, waiting := receive(a, "the first client", first), receive(a, "the second client", second)
		defer waiting.Close()
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
		refused := func() bool {
			r, err := a.tk.Do(a.ctx, &cat.SendData{Data: []byte("for the first")}, cat.SendImmediately, cat.DeviceChannel(id))
			a.must(err)
			return r.Result.General != cat.ResultOK
		}
		listening := []cat.ChannelStatus{{Channel: id, Link: cat.LinkListen}}
		for !refused() || !slices.Equal(a.statuses(), listening) { // until the gateway knows; the card hears of nothing meanwhile
		}
		for range 50 {
			a.sendRefused(id, []byte("for the first"), cat.SendImmediately, 0x3A, 0x02)
			if got := a.statuses(); !slices.Equal(got, listening) {
				a.fail("before the event: %v", got)
			}
		}
		a.listens(id)
		a.established(id)
		a.send(id, []byte("for the second"))
		a.do(&cat.CloseChannel{}, cat.CloseUpkeep, cat.DeviceChannel(id))
		a.aside(func() {
			if got, err := io.ReadAll(waiting); err != nil || string(got) != "for the second" {
				a.fail("the second client got %q: %v", got, err)
			}
		})
		a.close(id)
	})
	run(t, o)
}

// TestServerClientGoneAtOnce has the card hear that it listens again as soon as its client has gone, whenever the next STATUS is due.
// One client alone may hide a lost event behind another wake-up of the session.
func TestServerClientGoneAtOnce(t *testing.T) {
	port := freePort(t)
	o := serving()
	o.poll, o.think = time.Hour, testTime
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		for range 50 {
			conn := dialPort(t, port)
			a.established(id)
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
			a.listens(id)
		}
		a.close(id)
	})
	run(t, o)
}

// TestServerHalfClose has a client end its direction after its request. It is served until it has gone altogether, of which the card
// hears once it has read everything.
func TestServerHalfClose(t *testing.T) {
	port := freePort(t)
	o := serving()
	polls := newStatusTap()
	o.think, o.taps = testTime, tapsOf(polls.tap)
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		conns := make(chan net.Conn, 1)
		go func() { conns <- dialPort(t, port) }()
		a.established(id)
		conn := receive(a, "the client", conns).(*net.TCPConn)
		conn.Write([]byte("request"))
		conn.CloseWrite()
		if got := a.read(id, 7); string(got) != "request" {
			a.fail("the card got %q", got)
		}
		a.aside(func() { polls.settled(a) })
		a.noEvent()
		if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{Channel: id, Link: cat.LinkEstablished}}) {
			a.fail("with a client that has said all: %v", got)
		}
		for part := range slices.Chunk(ramp(0, 1000), 200) {
			a.send(id, part)
		}
		a.aside(func() {
			got := make([]byte, 1000)
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, ramp(0, 1000)) {
				a.fail("the client got %d octets: %v", agree(got), err)
			}
			conn.SetLinger(0)
			conn.Close()
		})
		a.listens(id)
		a.close(id)
	})
	run(t, o)
}

// TestNightlyServerClientClosed has a client close altogether, without a word, and be forgotten by its system: keep-alive finds that out.
func TestNightlyServerClientClosed(t *testing.T) {
	if !testkit.Nightly() {
		t.Skip("takes as long as keep-alive")
	}
	port := freePort(t)
	o := serving()
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		conns := make(chan net.Conn, 1)
		go func() { conns <- dialPort(t, port) }()
		a.established(id)
		conn := receive(a, "the client", conns).(*net.TCPConn)
		raw, err := conn.SyscallConn()
		a.must(err)
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_LINGER2, 1) }) // its system forgets in 1 s
		a.must(err)
		conn.Close()
		a.listens(id)
		a.close(id)
	})
	run(t, o)
}

// TestServerEnds has the listening channel end in each way, with a client that is served and one that waits: the port is closed,
// and they see a reset or, once they have everything, FIN.
func TestServerEnds(t *testing.T) {
	for name, end := range map[string]func(a *app, id int){
		"closed":     func(a *app, id int) { a.close(id) },
		"card reset": func(a *app, _ int) { a.reset() },
		"left":       func(*app, int) {},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			o := serving()
			conns, begun := make(chan net.Conn, 2), false
			o.applets = applets(func(a *app) {
				if begun {
					a.open(serverBody(port), 0) // it is free
					return
				}
				begun = true
				a.both()
				id, _ := a.open(serverBody(port), 0)
				first := dialPort(t, port)
				a.established(id)
				conns <- first
				conns <- dialPort(t, port)
				a.send(id, ramp(0, 100))
				a.statuses() // the answer to SEND DATA is taken
				end(a, id)
			})
			run(t, o)
			served, waited := next(t, "the client", conns), next(t, "the client that waits", conns)
			defer served.Close()
			defer waited.Close()
			got, err := io.ReadAll(served)
			ending{got, err}.inOrder(t, 100)
			if got, err := io.ReadAll(waited); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client that was never served got %q, %v; want a reset", got, err)
			}
			if conn, err := net.Dial("tcp", served.RemoteAddr().String()); err == nil {
				conn.Close()
				t.Error("the port is open after the end")
			}
		})
	}
}

// faultyListener is a listening bearer some of whose accepts fail.
type faultyListener struct {
	bip.KernelBearer
	faults chan error
}

func (b *faultyListener) Listen(ctx context.Context, r bip.Request) (net.Listener, error) {
	l, err := b.KernelBearer.Listen(ctx, r)
	return &faultyAccept{l, b.faults}, err
}

type faultyAccept struct {
	net.Listener
	faults chan error
}

func (l *faultyAccept) Accept() (net.Conn, error) {
	select {
	case err := <-l.faults:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	default:
		return l.Listener.Accept()
	}
}

func faulty(errnos ...syscall.Errno) (options, *faultyListener) {
	b := &faultyListener{KernelBearer: bip.KernelBearer{ListenOn: loopback}, faults: make(chan error, len(errnos))}
	for _, e := range errnos {
		b.faults <- os.NewSyscallError("accept4", e)
	}
	o := serving()
	o.router = &bip.Table{Method1: b}
	return o, b
}

// TestAcceptFailsForNow has clients served in spite of the errors that pass.
func TestAcceptFailsForNow(t *testing.T) {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPERM, syscall.EPROTO, syscall.ENETDOWN} {
		t.Run(e.Error(), func(t *testing.T) {
			port := freePort(t)
			o, _ := faulty(e, e, e)
			errs := make(chan error, 1)
			o.applets = applets(func(a *app) {
				a.both()
				id, _ := a.open(serverBody(port), 0)
				go func() { errs <- client(port, 1, halfCloses) }()
				a.serveClients(id, 1)
				a.close(id)
			})
			term := run(t, o)
			if err := next(t, "the client's end", errs); err != nil {
				t.Error(err)
			}
			if n := len(term.log.Lines("client has to wait", e.Error())); n != 3 {
				t.Errorf("the log tells of %d errors of 3", n)
			}
		})
	}
}

// TestNoDescriptorLeft has the process be without file descriptors when a client comes. It is served once there are some.
func TestNoDescriptorLeft(t *testing.T) {
	port := freePort(t)
	o := serving()
	errs := make(chan error, 1)
	var term *terminal
	started := make(chan struct{})
	o.applets = applets(func(a *app) {
		a.both()
		<-started
		id, _ := a.open(serverBody(port), 0)
		free := takeDescriptors(t, 1) // the client's
		go func() { errs <- client(port, 1, halfCloses) }()
		a.aside(func() { term.log.Await(t, "client has to wait", "too many open files") })
		free()
		a.serveClients(id, 1)
		a.close(id)
	})
	term = start(t, o)
	close(started)
	term.waitApplets()
	term.end(context.Canceled)
	if err := next(t, "the client's end", errs); err != nil {
		t.Error(err)
	}
}

// takeDescriptors leaves the process so many file descriptors until free is called.
func takeDescriptors(t *testing.T, leave int) (free func()) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = min(was.Cur, 256)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		taken = append(taken, fd)
	}
	if len(taken) < leave {
		t.Errorf("%d file descriptors could be opened, want %d", len(taken), leave)
		leave = len(taken)
	}
	for _, fd := range taken[:leave] {
		unix.Close(fd)
	}
	return sync.OnceFunc(func() {
		for _, fd := range taken[leave:] {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
}

// TestAcceptFails has the card hear of an error that does not pass, and the channel be a closed one from then on.
func TestAcceptFails(t *testing.T) {
	port := freePort(t)
	o, _ := faulty(syscall.EINVAL)
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		a.dropped(id)
		if got := a.statuses(); !slices.Equal(got, []cat.ChannelStatus{{Channel: id, Info: cat.StatusDropped}}) {
			a.fail("statuses %v", got)
		}
		a.sendRefused(id, []byte{1}, cat.SendImmediately, 0x3A, 0x02)
		a.close(id, 0x3A, 0x02)
		id, _ = a.open(serverBody(port), 0) // the port is free
		a.close(id)
	})
	run(t, o).log.Wants(t, "level=ERROR", "channel listens no more", "invalid argument")
}

// TestServerPorts has cards refused the ports that are not theirs.
func TestServerPorts(t *testing.T) {
	free := freePort(t)
	for name, tc := range map[string]struct {
		ports []bip.PortRange
		port  uint16
		ok    bool
	}{
		"ssh": {nil, 22, false}, "https": {nil, 443, false}, "privileged": {nil, 1023, false}, "none": {nil, 0, false},
		"none, all allowed": {[]bip.PortRange{{First: 0, Last: 65535}}, 0, false},
		"ephemeral":         {nil, 40000, false},
		"default":           {nil, free, true},
		"below a range":     {[]bip.PortRange{{First: 2000, Last: 2001}, {First: 8000, Last: 8100}}, 7999, false},
		"above a range":     {[]bip.PortRange{{First: 2000, Last: 2001}, {First: 8000, Last: 8100}}, 8101, false},
		"end of a range":    {[]bip.PortRange{{First: 2000, Last: 2001}, {First: 1, Last: free}}, free, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := serving()
			o.router = &bip.Table{Method1: &bip.KernelBearer{ListenOn: loopback, ListenPorts: tc.ports}}
			o.applets = applets(func(a *app) {
				if tc.ok {
					id, _ := a.open(serverBody(tc.port), 0)
					a.close(id)
					return
				}
				a.refusedOpen(serverBody(tc.port), 0, 0x3A, 0x10)
			})
			term := run(t, o)
			if !tc.ok {
				term.log.Wants(t, "cannot listen", fmt.Sprintf("port=%d ", tc.port), "port not offered")
			}
		})
	}
}

// TestDefaultListenPorts leaves out what the system has for itself, by what it says itself.
func TestDefaultListenPorts(t *testing.T) {
	var first, last int
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip(err)
	}
	fmt.Sscan(string(text), &first, &last)
	ports := bip.DefaultListenPorts()
	for port := range 65536 {
		got := slices.ContainsFunc(ports, func(r bip.PortRange) bool { return r.Contains(uint16(port)) })
		if want := port >= 1024 && (port < first || port > last); got != want {
			t.Fatalf("port %d: %v, want %v; the system's are %d to %d", port, got, want, first, last)
		}
	}
}

// TestServerRefusesClients has clients that may not connect see a reset, and the others served.
func TestServerRefusesClients(t *testing.T) {
	other := netip.AddrFrom4([4]byte{127, 200, 1, 1})
	port := freePort(t)
	o := serving()
	o.router = &bip.Table{Method1: &bip.KernelBearer{ListenOn: loopback, ListenFrom: []netip.Prefix{netip.PrefixFrom(other, 24).Masked()}}}
	errs := make(chan error, 1)
	o.applets = applets(func(a *app) {
		a.both()
		id, _ := a.open(serverBody(port), 0)
		go func() {
			if err := client(port, 1, waits); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a client that may not connect: %v", err)
			}
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: other.AsSlice()}}
			conn, err := d.Dial("tcp", netip.AddrPortFrom(loopback, port).String())
			if err != nil {
				errs <- err
				return
			}
			defer conn.Close()
			conn.Write(requestOf(2))
			got, err := io.ReadAll(conn)
			if !bytes.Equal(got, answerTo(requestOf(2))) {
				err = fmt.Errorf("a client that may connect got %d octets: %w", len(got), err)
			}
			errs <- err
		}()
		a.serveClients(id, 1)
		a.close(id)
	})
	run(t, o).log.Wants(t, "client refused", "may not connect to cards")
	if err := next(t, "the clients' end", errs); err != nil {
		t.Error(err)
	}
}
