package bip_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/softuicc"
)

// script deals out the fuzzer's octets; after the last there are only zeros.
type script struct {
	mu sync.Mutex
	b  []byte
}

func (s *script) next() byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.b) == 0 {
		return 0
	}
	n := s.b[0]
	s.b = s.b[1:]
	return n
}

// scripted is a network that does what its script says. Each connection brings the ramp from its beginning.
type scripted struct{ *script }

func (n *scripted) Dial(ctx context.Context, r bip.Request) (net.Conn, error) {
	switch n.next() % 8 {
	case 0:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	case 1:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case 2:
		return nil, &bip.Error{Cause: bip.Cause(n.next() % 11)}
	}
	return &scriptedConn{net: n, udp: r.Network == "udp", closed: make(chan struct{})}, nil
}

type scriptedConn struct {
	net.Conn // nil: nothing else is called
	net      *scripted
	udp      bool
	at       int
	once     sync.Once
	closed   chan struct{}
}

func (c *scriptedConn) LocalAddr() net.Addr { return &net.TCPAddr{} }

func (c *scriptedConn) Read(p []byte) (int, error) {
	op := c.net.next()
	if c.at > 1<<14 {
		op = 0
	}
	switch op % 8 {
	case 0: // silence
		<-c.closed
		return 0, net.ErrClosed
	case 1:
		return 0, io.EOF
	case 2:
		return 0, os.NewSyscallError("read", syscall.ECONNRESET)
	case 3:
		if c.udp {
			return 0, os.NewSyscallError("read", syscall.ECONNREFUSED)
		}
	}
	n := copy(p, ramp(c.at, 1+int(op)*int(c.net.next()%8)))
	c.at += n
	return n, nil
}

func (c *scriptedConn) Write(p []byte) (int, error) {
	switch c.net.next() % 8 {
	case 0: // stalled
		<-c.closed
		return 0, net.ErrClosed
	case 1:
		return len(p) / 2, os.NewSyscallError("write", syscall.EPIPE)
	}
	return len(p), nil
}

func (c *scriptedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// model is what a card may expect of its channels.
type model struct {
	granted, stored [cat.MaxChannels + 1]int // granted 0: not open
	read            [cat.MaxChannels + 1]int
}

// check holds a response against the command and the model, and learns from it.
func (m *model) check(a *app, cmd cat.Command, raw []byte) {
	r, devices, err := cat.ParseResponse(raw)
	a.must(err)
	if r.Details != cmd.Details || devices != (cat.DeviceIdentities{Source: cat.DeviceTerminal, Destination: cat.DeviceUICC}) {
		a.fail("response %X to %+v", raw, cmd)
	}
	if len(raw) > 255 || r.Result.General.NeedsInfo() && len(r.Result.Info) != 1 {
		a.fail("response %X", raw)
	}
	id, named := cmd.Devices.Destination.Channel()
	open := named && m.granted[id] > 0
	done := r.Result.General < 0x10
	switch body := cmd.Body.(type) {
	case *cat.OpenChannel:
		if done {
			m.opened(a, r, body)
		}
		return
	case *cat.SendData:
		m.sent(a, r, id, open, cmd.Details.Qualifier&1 != 0, body.Data)
	case *cat.ReceiveData:
		m.received(a, r, id, open, int(body.Length))
	case *cat.CloseChannel:
		closed := done || len(r.Result.Info) == 1 && r.Result.Info[0] == cat.BIPChannelClosed
		if open != closed && (open || done) {
			a.fail("CLOSE CHANNEL of %d, open %v: %v", id, open, r.Result)
		}
		if named {
			m.granted[id], m.stored[id], m.read[id] = 0, 0, 0
		}
	}
	if !open && done && named {
		a.fail("%v performed on channel %d, which is not open", cmd.Details.Type, id)
	}
}

func (m *model) opened(a *app, r cat.Response, o *cat.OpenChannel) {
	s, v := a.status(r), a.value(r, cat.TagBufferSize)
	size := int(v[0])<<8 | int(v[1])
	switch {
	case s.Channel < 1 || s.Channel > cat.MaxChannels:
		a.fail("channel %d", s.Channel)
	case size < 1 || size > int(o.BufferSize) || (size < int(o.BufferSize)) != (r.Result.General == cat.ResultModified):
		a.fail("buffer %d of %d: %v", size, o.BufferSize, r.Result)
	}
	m.granted[s.Channel], m.stored[s.Channel], m.read[s.Channel] = size, 0, 0
}

func (m *model) sent(a *app, r cat.Response, id int, open, now bool, data []byte) {
	if r.Result.General != cat.ResultOK {
		return
	}
	if !open || m.stored[id]+len(data) > m.granted[id] {
		a.fail("SEND DATA of %d performed with %d of %d stored", len(data), m.stored[id], m.granted[id])
	}
	if m.stored[id] += len(data); now {
		m.stored[id] = 0
	}
	if free := int(a.value(r, cat.TagChannelDataLength)[0]); free != min(255, m.granted[id]-m.stored[id]) {
		a.fail("%d free with %d of %d stored", free, m.stored[id], m.granted[id])
	}
}

func (m *model) received(a *app, r cat.Response, id int, open bool, asked int) {
	if r.Result.General >= 0x10 {
		return
	}
	data, left := a.value(r, cat.TagChannelData), int(a.value(r, cat.TagChannelDataLength)[0])
	short := len(data) < asked && left == 0
	if !open || len(data) > min(asked, cat.MaxReceive) || short != (r.Result.General == cat.ResultMissingInformation) {
		a.fail("RECEIVE DATA of %d brought %d with %d left: %v", asked, len(data), left, r.Result)
	}
	if !bytes.Equal(data, ramp(m.read[id], len(data))) {
		a.fail("octets from %d on differ", m.read[id])
	}
	m.read[id] += len(data)
}

// command makes one of the channel commands of four octets.
func command(number byte, op [4]byte) cat.Command {
	channel := cat.DeviceChannel(int(op[1] % 9)) // 0 and 8 are none
	switch op[0] % 6 {
	case 0, 1:
		o := openBody([]string{"tcp", "udp"}[op[1]&1], netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(op[2])))
		o.BufferSize = uint16(op[2]) * uint16(op[3]>>4)
		o.Bearer.Type = []cat.BearerType{3, 2, 11, 9}[op[3]&3]
		return cat.NewCommand(number, []byte{0, 1, 5, 4, 1, 9, 5, 1}[op[1]>>1&7], o)
	case 2:
		cmd := cat.NewChannelCommand(number, op[2]&1, 0, &cat.SendData{Data: ramp(0, int(op[3])%230)})
		cmd.Devices.Destination = channel
		return cmd
	case 3:
		cmd := cat.NewChannelCommand(number, 0, 0, &cat.ReceiveData{Length: op[3]})
		cmd.Devices.Destination = channel
		return cmd
	case 4:
		cmd := cat.NewChannelCommand(number, op[2]&1, 0, &cat.CloseChannel{})
		cmd.Devices.Destination = channel
		return cmd
	}
	return cat.NewCommand(number, 0, &cat.GetChannelStatus{})
}

// FuzzGateway has a card send well-formed channel commands of all kinds while the network does what it likes: each command gets
// one response that keeps the rules, octets keep their order, nothing hangs and nothing is left over.
func FuzzGateway(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0, 2, 200, 0xF3, 3, 1, 0, 237, 2, 1, 1, 100, 4, 1, 0, 0}, []byte{7, 255, 7, 9, 9, 1})                 // open, receive, send, close
	f.Add([]byte{0, 2, 200, 0xF3, 2, 1, 1, 100, 2, 1, 1, 100, 2, 1, 0, 229, 4, 1, 0, 0}, []byte{7, 0, 0, 0})           // stalled
	f.Add([]byte{0, 4, 100, 0x13, 2, 1, 0, 99, 3, 1, 0, 10, 4, 1, 0, 0, 3, 1, 0, 10}, []byte{5, 2, 7, 7, 7, 7})        // background
	f.Add([]byte{0, 0, 15, 0x13, 2, 1, 1, 15, 2, 1, 1, 16, 3, 1, 0, 255}, []byte{0, 5, 15, 7, 3, 3, 3})                // on demand
	f.Add([]byte{1, 3, 100, 0x13, 2, 1, 1, 9, 3, 1, 0, 1, 3, 1, 0, 255}, []byte{5, 255, 7, 3, 3, 4, 4, 1})             // UDP
	f.Add(bytes.Repeat([]byte{0, 2, 9, 0x10, 5, 0, 0, 0}, 9), bytes.Repeat([]byte{5, 1}, 40))                          // eight channels, all dropped
	f.Add([]byte{0, 10, 9, 0x10, 3, 1, 0, 9, 2, 1, 1, 1, 4, 1, 1, 0}, []byte{2, 6})                                    // DNS request
	f.Add(bytes.Repeat([]byte{0, 4, 99, 0x13, 2, 1, 1, 9, 4, 1, 0, 0, 2, 2, 1, 9}, 4), []byte{1, 0, 2, 5, 1, 1, 1, 3}) // hanging
	f.Fuzz(func(t *testing.T, commands, network []byte) {
		if len(commands) > 256 || len(network) > 1024 {
			return
		}
		net := &scripted{&script{b: network}}
		router := &bearer{dial: net.Dial, dns: func(context.Context, bip.Request) ([]netip.Addr, error) {
			if net.next()%2 == 0 {
				return nil, errors.New("no server")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.53")}, nil
		}}
		before := runtime.NumGoroutine()
		cfg := bip.Config{BufferLimit: 2000, ConnectTimeout: 5 * time.Millisecond, SendTimeout: 5 * time.Millisecond, FinishTime: 5 * time.Millisecond}
		responses := 0
		count := func(capdu, _ []byte, _ time.Time, _ time.Duration) {
			if capdu[1] == 0x14 {
				responses++
			}
		}
		sent := 0
		run(t, options{router: router, config: cfg, taps: tapsOf(count), tolerate: opinions, applets: applets(func(a *app) {
			a.both()
			m := &model{}
			for n := 0; n+4 <= len(commands); n += 4 {
				cmd := command(byte(n/4+1), [4]byte(commands[n:]))
				raw, err := a.tk.DoRaw(a.ctx, cmd.Append(nil))
				a.must(err)
				sent++
				m.check(a, cmd, raw)
			}
		})})
		if responses != sent+1 { // and that to SET UP EVENT LIST
			t.Errorf("%d responses to %d commands", responses, sent+1)
		}
		if err := testkit.Goroutines(before); err != nil {
			t.Error(err)
		}
	})
}

// opinions tells where judge and gateway differ: the gateway gives the number of a dropped channel out again when no other
// is left.
func opinions(v softuicc.Violation) bool {
	return strings.Contains(v.Text, "which is open already") || strings.Contains(v.Text, "channels are open") ||
		strings.Contains(v.Text, "of TERMINAL PROFILE are open") || bearerRefused(v)
}
