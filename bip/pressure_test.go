package bip_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
)

// narrow connects through the kernel with socket buffers that hold little.
func narrow() *bearer {
	return &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) { // the window is told as the connection is made
			ctlErr := c.Control(func(fd uintptr) {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096),
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096))
			})
			return errors.Join(err, ctlErr)
		}}
		return d.DialContext(ctx, r.Network, r.Remote.String())
	}}
}

// TestReceivePressure has a far end that sends without end be held up by a card that does not read: the gateway keeps no
// more than it granted. Afterwards all of it arrives.
func TestReceivePressure(t *testing.T) {
	for _, grant := range []uint16{15, 1400, 16384} {
		t.Run(fmt.Sprint(grant), func(t *testing.T) {
			full, blocked, goOn := make(chan struct{}), make(chan int, 1), make(chan struct{})
			srv := tcpServer(t, func(c *net.TCPConn) {
				c.SetWriteBuffer(4096)
				sent := 0
				for stuck := false; !stuck; {
					c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
					n, err := c.Write(ramp(sent, 1000))
					sent += n
					if errors.Is(err, os.ErrDeadlineExceeded) { // where the gateway's buffer is not full, it is only slow
						select {
						case <-full:
							stuck = sent > int(grant)
						case <-t.Context().Done():
							return
						default:
						}
					} else if err != nil {
						t.Errorf("server: %v", err)
						return
					}
				}
				blocked <- sent
				select {
				case <-goOn:
				case <-t.Context().Done():
				}
			})
			stream, arrived := newArrivals()
			run(t, options{router: narrow(), config: bip.Config{Trace: stream}, think: testTime, applets: applets(func(a *app) {
				a.both()
				o := openBody("tcp", srv)
				o.BufferSize = grant
				id, _ := a.open(o, cat.OpenImmediate)
				sent := 0
				a.aside(func() {
					arrived.await(a, int(grant))
					close(full)
					sent = receive(a, "what the far end could send", blocked)
				})
				for len(arrived.sub.C) > 0 {
					if e := <-arrived.sub.C; e.Step == "S409" {
						arrived.n += e.Bytes
					}
				}
				t.Logf("the far end could send %d octets; the gateway holds %d of the %d granted", sent, arrived.n, grant)
				if arrived.n != int(grant) || sent > int(grant)+256<<10 {
					a.fail("the far end could send %d octets; the gateway holds %d of the %d granted", sent, arrived.n, grant)
				}
				close(goOn)
				if got := a.read(id, sent); !bytes.Equal(got, ramp(0, sent)) {
					a.fail("octets differ")
				}
				a.dropped(id)
				a.close(id, 0x3A, 0x02)
			})})
		})
	}
}

// TestSendPressure has SEND DATA be refused once the far end takes no more, and go on when it does; what was answered 00
// arrives, what was refused does not.
func TestSendPressure(t *testing.T) {
	read, got := make(chan struct{}), make(chan []byte, 1)
	srv := tcpServer(t, func(c *net.TCPConn) {
		c.SetReadBuffer(4096)
		select {
		case <-read:
		case <-t.Context().Done():
		}
		b, _ := io.ReadAll(c)
		got <- b
	})
	cfg := bip.Config{SendTimeout: 200 * time.Millisecond}
	polls := newStatusTap()
	run(t, options{router: narrow(), config: cfg, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		id := a.tcp(srv)
		sent := 0
		send := func(qualifier byte) bool {
			r, err := a.tk.Do(a.ctx, &cat.SendData{Data: ramp(sent, 229)}, qualifier, cat.DeviceChannel(id))
			a.must(err)
			if r.Result.General == cat.ResultOK {
				sent += 229
				return true
			}
			if r.Result.General != cat.ResultBIPError || r.Result.Info[0] != cat.BIPBufferUnavailable {
				a.fail("SEND DATA answered %v", r.Result)
			}
			return false
		}
		// One refusal may be due to a slow machine; the far end takes no more where several follow each other.
		for refused, polled := 0, false; refused < 5 || !polled; {
			for len(polls) > 0 {
				<-polls
			}
			switch {
			case !send(cat.SendImmediately):
				refused++
				polled = polled || len(polls) > 0
			case sent > 1<<22:
				a.fail("4 MiB were taken, though the far end reads nothing")
			default:
				refused = 0
			}
			if refused > 50 {
				a.fail("no STATUS while SEND DATA was outstanding")
			}
		}
		for range 6 { // 1374 of 1400
			if !send(0) {
				a.fail("there was room to store")
			}
		}
		if send(0) {
			a.fail("there was no room to store")
		}
		close(read)
		tries := 0
		for more := 100; more > 0; tries++ {
			if tries > 1000 {
				a.fail("SEND DATA does not go on")
			}
			// The Tx buffer is full: only an empty SEND DATA fits, and sends what is stored.
			r, err := a.tk.Do(a.ctx, &cat.SendData{Data: []byte{}}, cat.SendImmediately, cat.DeviceChannel(id))
			a.must(err)
			if r.Result.General == cat.ResultOK && send(cat.SendImmediately) {
				more--
			}
		}
		t.Logf("%d tries for 100 times SEND DATA", tries)
		a.close(id)
		select {
		case b := <-got:
			if !bytes.Equal(b, ramp(0, sent)) {
				a.fail("the far end got %d octets, or wrong ones; %d were sent", len(b), sent)
			}
		case <-a.ctx.Done():
			a.fail("the far end got nothing")
		}
	})})
}

// TestSevenChannels moves 1 MiB over each of seven channels at once, four of TCP and three of UDP.
func TestSevenChannels(t *testing.T) {
	const size, block = 1 << 20, 1300
	file := ramp(0, size)
	want := sha256.Sum256(file)
	stream := tcpServer(t, func(c *net.TCPConn) { // sends the file, wants it back
		var ask [4]byte
		if _, err := io.ReadFull(c, ask[:]); err != nil {
			return
		}
		c.Write(file)
		io.Copy(io.Discard, c)
	})
	datagrams := udpServer(t, func(d []byte) [][]byte { // a block of the file for each number
		if len(d) != 4 {
			return nil
		}
		at := int(binary.BigEndian.Uint32(d))
		return [][]byte{append(d, file[min(at, size):min(at+block, size)]...)}
	})
	var open sync.WaitGroup // all seven, before the first octet
	open.Add(cat.MaxChannels)
	gather := func() {
		open.Done()
		open.Wait()
	}
	overTCP := func(ctx context.Context, tk *softuicc.Toolkit) error {
		conn, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.TCPClientRemote, Remote: stream, Qualifier: cat.OpenImmediate})
		if err != nil {
			return err
		}
		defer conn.Close()
		gather()
		if _, err := conn.Write([]byte("file")); err != nil {
			return err
		}
		h := sha256.New()
		if n, err := io.CopyN(h, conn, size); err != nil {
			return fmt.Errorf("channel %d, after %d octets: %w", conn.Channel(), n, err)
		}
		if [32]byte(h.Sum(nil)) != want {
			return fmt.Errorf("channel %d: octets differ", conn.Channel())
		}
		return nil
	}
	overUDP := func(ctx context.Context, tk *softuicc.Toolkit) error {
		p := softuicc.DialParams{Transport: cat.UDPClientRemote, Remote: datagrams, Qualifier: cat.OpenImmediate}
		conn, err := tk.Dial(ctx, p)
		if err != nil {
			return err
		}
		defer conn.Close()
		gather()
		return fetchBlocks(conn, size, want)
	}
	list := []softuicc.Applet{overTCP, overUDP, overTCP, overUDP, overTCP, overUDP, overTCP}
	run(t, options{router: kernel(nil), applets: list})
}

// fetchBlocks asks for one block after the other and again for one that does not come.
func fetchBlocks(conn net.Conn, size int, want [32]byte) error {
	h := sha256.New()
	buf := make([]byte, 2000)
	for at, tries := 0, 0; at < size; {
		if tries++; tries > 10 {
			return fmt.Errorf("no answer for the block at %d", at)
		}
		ask := binary.BigEndian.AppendUint32(nil, uint32(at))
		if _, err := conn.Write(ask); err != nil {
			return err
		}
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		for {
			n, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return err
			}
			if n > 4 && bytes.Equal(buf[:4], ask) { // else the answer to one asked for twice
				h.Write(buf[4:n])
				at += n - 4
				tries = 0
				break
			}
		}
	}
	if [32]byte(h.Sum(nil)) != want {
		return errors.New("octets differ")
	}
	return nil
}

// TestHangingConnect has a connection that does not come about hold up neither STATUS nor timers nor other channels.
func TestHangingConnect(t *testing.T) {
	srv := tcpServer(t, echo)
	hole := testkit.BlackHole(t)
	polls := newStatusTap()
	run(t, options{router: kernel(nil), taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		hung, _ := a.open(openBody("tcp", hole), cat.OpenImmediate|cat.OpenBackground)
		second := cat.TimerValue(time.Second)
		a.do(&cat.TimerManagement{Timer: 3, Value: &second}, cat.TimerStart, cat.DeviceTerminal)
		polls.settled(a)
		id := a.tcp(srv)
		for n := range 20 {
			a.send(id, ramp(n, 200))
			if !bytes.Equal(a.read(id, 200), ramp(n, 200)) {
				a.fail("octets differ")
			}
		}
		e, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Tag == 0xD7 })
		a.must(err)
		if e.Timer != 3 {
			a.fail("event %v", e)
		}
		a.close(id)
		list := a.statuses()
		if len(list) != 1 || list[0] != (cat.ChannelStatus{Channel: hung}) {
			a.fail("channel statuses %v: the connection does not hang any more", list)
		}
		a.close(hung)
		polls.settled(a)
		a.noEvent()
	})})
}

// TestHangingOpen has an OPEN CHANNEL whose answer has to wait hold up neither STATUS nor what other channels receive nor
// the clock of timers.
func TestHangingOpen(t *testing.T) {
	push := make(chan struct{})
	srv := tcpServer(t, func(c *net.TCPConn) {
		select {
		case <-push:
		case <-t.Context().Done():
		}
		c.Write([]byte("meanwhile"))
		io.Copy(io.Discard, c)
	})
	hole := testkit.BlackHole(t)
	polls, dialled, held := newStatusTap(), make(chan struct{}), make(chan struct{})
	router := &bearer{dial: func(ctx context.Context, r bip.Request) (net.Conn, error) {
		if r.Remote == hole {
			for len(polls) > 0 {
				<-polls
			}
			close(dialled)
			select { // what is to happen meanwhile, may take its time
			case <-held:
			case <-ctx.Done():
			}
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
			defer cancel()
		}
		return new(net.Dialer).DialContext(ctx, r.Network, r.Remote.String())
	}}
	stream, arrived := newArrivals()
	cfg := bip.Config{ConnectTimeout: testTime, Trace: stream}
	run(t, options{router: router, config: cfg, taps: tapsOf(polls.tap), applets: applets(func(a *app) {
		a.both()
		id := a.tcp(srv)
		second := cat.TimerValue(time.Second)
		a.do(&cat.TimerManagement{Timer: 8, Value: &second}, cat.TimerStart, cat.DeviceTerminal)
		started := time.Now()
		meanwhile := make(chan error, 1)
		go func() { // while OPEN CHANNEL is outstanding
			meanwhile <- applet(func(a *app) {
				receive(a, "the connection", dialled)
				close(push)
				arrived.await(a, len("meanwhile"))
				for range 3 {
					receive(a, "STATUS", polls)
				}
				time.Sleep(time.Until(started.Add(1100 * time.Millisecond)))
				close(held)
			})(a.ctx, a.tk)
		}()
		a.refusedOpen(openBody("tcp", hole), cat.OpenImmediate, 0x3A, 0x00)
		a.must(<-meanwhile)
		// The timer ran out, and the data are there: both events come now.
		seen := map[byte]bool{}
		for len(seen) < 2 {
			seen[a.next().Tag] = true
		}
		if got := a.drain(id, 237); string(got) != "meanwhile" {
			a.fail("got %q", got)
		}
		a.close(id)
	})})
}
