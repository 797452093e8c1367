package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"bipd/cat"
	"bipd/softuicc"
)

// app is an applet as a straight line of steps: a step that fails ends it with an error.
type app struct {
	ctx context.Context
	tk  *softuicc.Toolkit
	b   *bench
}

type failure struct{ error }

func (b *bench) applet(f func(a *app)) softuicc.Applet {
	return func(ctx context.Context, tk *softuicc.Toolkit) (err error) {
		ctx, cancel := context.WithTimeout(ctx, testTime)
		defer cancel()
		defer func() {
			if r := recover(); r != nil {
				step, ok := r.(failure)
				if !ok {
					panic(r)
				}
				err = step.error
			}
		}()
		f(&app{ctx, tk, b})
		return nil
	}
}

func (a *app) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (a *app) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// has reports a bit of the TERMINAL PROFILE.
func (a *app) has(f cat.Facility) bool { return a.tk.Profile().Has(f.Octet, f.Bit) }

// do sends a command and wants this result: the general result and its additional information; none: 00.
func (a *app) do(body cat.Body, qualifier byte, to cat.DeviceID, want ...byte) cat.Response {
	r, err := a.tk.Do(a.ctx, body, qualifier, to)
	a.must(err)
	if len(want) == 0 {
		want = []byte{0x00}
	}
	if got := resultBytes(r.Result); !bytes.Equal(got, want) {
		a.fail("%v to %v answered % X, want % X", body.Type(), to, got, want)
	}
	return r
}

func resultBytes(r cat.Result) []byte { return append([]byte{byte(r.General)}, r.Info...) }

// value finds the one object with the tag.
func (a *app) value(r cat.Response, tag cat.Tag) []byte {
	v, ok := cat.Find(r.Objects, tag)
	if !ok {
		a.fail("response to %v has no object %02X: %v", r.Details.Type, uint16(tag), r.Objects)
	}
	return v.Value
}

// raw is a command with objects as they stand.
func raw(t cat.CommandType, objects ...cat.TLV) cat.Body {
	return &cat.Unsupported{Command: t, Objects: objects}
}

func tlv(tag cat.Tag, value ...byte) cat.TLV { return cat.TLV{Tag: tag, CR: true, Value: value} }

func (a *app) subscribe(codes ...cat.EventCode) { a.must(a.tk.SetUpEventList(a.ctx, codes...)) }

// both subscribes to the two events of channels.
func (a *app) both() { a.subscribe(cat.EventDataAvailable, cat.EventChannelStatus) }

// remote is where scripted networks are.
var remote = netip.MustParseAddrPort("198.51.100.7:4433")

// openBody asks for a channel over the default bearer with a buffer of 1400.
func openBody(network string, to netip.AddrPort) *cat.OpenChannel {
	p := cat.TCPClientRemote
	if network == "udp" {
		p = cat.UDPClientRemote
	}
	addr := to.Addr()
	return &cat.OpenChannel{
		Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400,
		Transport: &cat.TransportLevel{Protocol: p, Port: to.Port()}, Destination: &addr,
	}
}

// open opens a channel, with success or modification, and returns its number and the response.
func (a *app) open(o *cat.OpenChannel, qualifier byte, want ...byte) (int, cat.Response) {
	r := a.do(o, qualifier, cat.DeviceTerminal, want...)
	s, err := cat.ParseChannelStatus(a.value(r, cat.TagChannelStatus))
	a.must(err)
	return s.Channel, r
}

// dial opens a channel to the scripted network with an immediate link and returns its far end.
func (a *app) dial(network string) (int, *farEnd) {
	id, _ := a.open(openBody(network, remote), cat.OpenImmediate)
	return id, a.farEnd()
}

// farEnd is that of the next connection.
func (a *app) farEnd() *farEnd {
	var f *farEnd
	a.outside(func() {
		select {
		case f = <-a.b.net.ends:
		case <-a.ctx.Done():
		}
	})
	if f == nil {
		a.fail("no connection was made")
	}
	return f
}

// outside has the applet wait for what is not the toolkit's, bounded by its ctx, and tells the card so: it does not hold its
// answer back meanwhile.
func (a *app) outside(wait func()) {
	ctx, cancel := context.WithCancel(a.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		wait()
	}()
	a.tk.Wait(ctx, func(softuicc.Event) bool { return false })
	<-done
}

// taken waits until the gateway has taken n octets from the far end, and returns how many it has.
func (a *app) taken(f *farEnd, n int) (got int) {
	var err error
	a.outside(func() { got, err = f.taken(a.ctx, n) })
	if err != nil {
		a.fail("%d octets were taken from the far end, want %d", got, n)
	}
	return got
}

// hungUp waits until the gateway has closed the connection.
func (a *app) hungUp(f *farEnd) {
	var err error
	a.outside(func() { err = f.hungUp(a.ctx) })
	if err != nil {
		a.fail("the connection was not closed")
	}
}

// notDialled wants that no connection was tried.
func (a *app) notDialled() {
	if n := a.b.net.requests(); len(n) != 0 {
		a.fail("connected to %v already", n[0].Remote)
	}
}

// refusedOpen wants OPEN CHANNEL refused: no channel status.
func (a *app) refusedOpen(o *cat.OpenChannel, qualifier byte, want ...byte) {
	r := a.do(o, qualifier, cat.DeviceTerminal, want...)
	if _, ok := cat.Find(r.Objects, cat.TagChannelStatus); ok {
		a.fail("refused OPEN CHANNEL has a channel status: %v", r.Objects)
	}
}

// store stores data in the Tx buffer and returns the free octets told.
func (a *app) store(id int, data []byte) int { return a.sendAs(id, data, 0) }

// send sends data at once and returns the free octets told.
func (a *app) send(id int, data []byte) int { return a.sendAs(id, data, cat.SendImmediately) }

func (a *app) sendAs(id int, data []byte, qualifier byte) int {
	r := a.do(&cat.SendData{Data: data}, qualifier, cat.DeviceChannel(id))
	return int(a.value(r, cat.TagChannelDataLength)[0])
}

// goesOut wants the far end to have got these octets in all, over UDP in one datagram.
func (a *app) goesOut(f *farEnd, want []byte) {
	n := 1
	for {
		var out [][]byte
		var err error
		a.outside(func() { out, err = f.sent(a.ctx, n) })
		got := bytes.Join(out, nil)
		if err != nil {
			a.fail("%d octets went out, want %d", len(got), len(want))
		}
		if f.req.Network == "udp" {
			got = out[len(out)-1]
		} else if len(got) < len(want) {
			n = len(out) + 1
			continue
		}
		if !bytes.Equal(got, want) {
			a.fail("%d octets went out, want %d, or they differ", len(got), len(want))
		}
		return
	}
}

// receive reads at most n octets and returns them and how many are said to be left.
func (a *app) receive(id, n int) (data []byte, left int) {
	r, err := a.tk.Do(a.ctx, &cat.ReceiveData{Length: byte(n)}, 0, cat.DeviceChannel(id))
	a.must(err)
	if g := r.Result.General; g != cat.ResultOK && g != cat.ResultMissingInformation {
		a.fail("RECEIVE DATA answered %v", r.Result)
	}
	return slices.Clone(a.value(r, cat.TagChannelData)), int(a.value(r, cat.TagChannelDataLength)[0])
}

// drain reads until nothing is left.
func (a *app) drain(id int) []byte {
	var all []byte
	for {
		data, left := a.receive(id, cat.MaxReceive)
		all = append(all, data...)
		if left == 0 {
			return all
		}
	}
}

// read reads n octets by the rules: wait for Data available, then read until nothing is left.
func (a *app) read(id, n int) []byte {
	var all []byte
	for len(all) < n {
		a.dataAvailable(id)
		all = append(all, a.drain(id)...)
	}
	return all
}

func (a *app) close(id int, want ...byte) {
	a.do(&cat.CloseChannel{}, 0, cat.DeviceChannel(id), want...)
}

// of is the oldest event of the channel that was not looked at yet.
func (a *app) of(id int) softuicc.Event {
	e, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Status.Channel == id })
	if err != nil {
		a.fail("no event of channel %d: %w", id, err)
	}
	return e
}

// dataAvailable wants the next event of the channel to be Data available and returns its length.
func (a *app) dataAvailable(id int) int {
	e := a.of(id)
	if e.Code != cat.EventDataAvailable || e.Status.Link != cat.LinkEstablished {
		a.fail("event of channel %d: %v, %v; want Data available", id, e, e.Status)
	}
	return e.Length
}

// told wants the next event of the channel to be this Channel status.
func (a *app) told(id int, link cat.LinkState, info byte) {
	e := a.of(id)
	if e.Code != cat.EventChannelStatus || e.Status != (cat.ChannelStatus{Channel: id, Link: link, Info: info}) {
		a.fail("event of channel %d: %v, %v; want Channel status %02X %02X", id, e, e.Status, byte(link)|byte(id), info)
	}
}

// dropped wants the next event of the channel to say that the link is dropped.
func (a *app) dropped(id int) { a.told(id, cat.LinkDown, cat.StatusDropped) }

// settle waits until the terminal has nothing better to do than to poll: what it had to tell the card, it has told.
func (a *app) settle() {
	select { // one from before
	case <-a.b.rec.status:
	default:
	}
	for range 2 { // the first may have been under way already
		came := false
		a.outside(func() {
			select {
			case <-a.b.rec.status:
				came = true
			case <-a.ctx.Done():
			}
		})
		if !came {
			a.fail("no STATUS came")
		}
	}
}

// noEvent wants that the card has heard nothing that was not looked at, but where the terminal is.
func (a *app) noEvent() {
	a.settle()
	ctx, cancel := context.WithCancel(a.ctx)
	cancel()
	if e, err := a.tk.Wait(ctx, notLocation); err == nil {
		a.fail("unexpected event: %v, %v", e, e.Status)
	}
}

// notLocation leaves out the Location status event, which may come whenever the card has asked for it.
func notLocation(e softuicc.Event) bool { return e.Tag != 0xD6 || e.Code != cat.EventLocationStatus }

// ramp gives n octets of which each place tells where it is.
func ramp(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := from + i
		b[i] = byte(at) ^ byte(at>>8)*31 ^ byte(at>>16)*57
	}
	return b
}
