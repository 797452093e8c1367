package bip_test

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
}

type failure struct{ error }

// applet makes an Applet of the steps of f.
func applet(f func(a *app)) softuicc.Applet {
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
		f(&app{ctx, tk})
		return nil
	}
}

// applets is a list of one.
func applets(f func(a *app)) []softuicc.Applet { return []softuicc.Applet{applet(f)} }

// aside runs a step that waits for something outside the card, which goes on meanwhile as when an applet has nothing to do. A card that
// thinks for long needs it.
func (a *app) aside(step func()) {
	ctx, cancel := context.WithCancel(a.ctx)
	var failed any
	go func() {
		defer cancel()
		defer func() { failed = recover() }()
		step()
	}()
	_, _ = a.tk.Wait(ctx, func(softuicc.Event) bool { return false })
	<-ctx.Done()
	if failed != nil {
		panic(failed)
	}
}

func (a *app) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (a *app) must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// do sends a command and wants this result: the general result and its additional information.
func (a *app) do(body cat.Body, qualifier byte, to cat.DeviceID, want ...byte) cat.Response {
	r, err := a.tk.Do(a.ctx, body, qualifier, to)
	a.must(err)
	if len(want) == 0 {
		want = []byte{0x00}
	}
	if got := append([]byte{byte(r.Result.General)}, r.Result.Info...); !bytes.Equal(got, want) {
		a.fail("%v to %v answered % X, want % X", body.Type(), to, got, want)
	}
	return r
}

// value finds the one object with the tag.
func (a *app) value(r cat.Response, tag cat.Tag) []byte {
	v, ok := cat.Find(r.Objects, tag)
	if !ok {
		a.fail("response to %v has no object %02X: %v", r.Details.Type, tag, r.Objects)
	}
	return v.Value
}

func (a *app) subscribe(codes ...cat.EventCode) { a.must(a.tk.SetUpEventList(a.ctx, codes...)) }

// both subscribes to the two events of channels.
func (a *app) both() { a.subscribe(cat.EventDataAvailable, cat.EventChannelStatus) }

// openBody asks for a channel to remote over the default bearer with a buffer of 1400.
func openBody(network string, remote netip.AddrPort) *cat.OpenChannel {
	p := cat.TCPClientRemote
	if network == "udp" {
		p = cat.UDPClientRemote
	}
	addr := remote.Addr()
	return &cat.OpenChannel{
		Bearer: &cat.BearerDescription{Type: cat.BearerDefault}, BufferSize: 1400,
		Transport: &cat.TransportLevel{Protocol: p, Port: remote.Port()}, Destination: &addr,
	}
}

// open opens a channel, with success or modification, and returns its number and the response.
func (a *app) open(o *cat.OpenChannel, qualifier byte, want ...byte) (int, cat.Response) {
	r := a.do(o, qualifier, cat.DeviceTerminal, want...)
	s, err := cat.ParseChannelStatus(a.value(r, cat.TagChannelStatus))
	a.must(err)
	return s.Channel, r
}

// tcp opens a channel to a TCP server with an immediate link.
func (a *app) tcp(remote netip.AddrPort) int {
	id, _ := a.open(openBody("tcp", remote), cat.OpenImmediate)
	return id
}

// udp opens a channel to a UDP server with an immediate link.
func (a *app) udp(remote netip.AddrPort) int {
	id, _ := a.open(openBody("udp", remote), cat.OpenImmediate)
	return id
}

// store stores data in the Tx buffer and returns the free octets told.
func (a *app) store(id int, data []byte) int { return a.sendAs(id, data, 0) }

// send sends data at once and returns the free octets told.
func (a *app) send(id int, data []byte) int { return a.sendAs(id, data, cat.SendImmediately) }

func (a *app) sendAs(id int, data []byte, qualifier byte) int {
	r := a.do(&cat.SendData{Data: data}, qualifier, cat.DeviceChannel(id))
	return int(a.value(r, cat.TagChannelDataLength)[0])
}

// sendRefused wants SEND DATA refused.
func (a *app) sendRefused(id int, data []byte, qualifier byte, want ...byte) {
	r := a.do(&cat.SendData{Data: data}, qualifier, cat.DeviceChannel(id), want...)
	if len(r.Objects) != 0 {
		a.fail("refused SEND DATA answered with objects %v", r.Objects)
	}
}

// receive reads at most n octets with whichever of 00 and 02 fits, and returns them and how many are said to be left.
func (a *app) receive(id, n int) (data []byte, left int) {
	r, err := a.tk.Do(a.ctx, &cat.ReceiveData{Length: byte(n)}, 0, cat.DeviceChannel(id))
	a.must(err)
	if g := r.Result.General; g != cat.ResultOK && g != cat.ResultMissingInformation {
		a.fail("RECEIVE DATA answered %v", r.Result)
	}
	data, left = a.value(r, cat.TagChannelData), int(a.value(r, cat.TagChannelDataLength)[0])
	short := len(data) < n && left == 0
	if short != (r.Result.General == cat.ResultMissingInformation) {
		a.fail("RECEIVE DATA of %d brought %d with %d left and %v", n, len(data), left, r.Result)
	}
	return slices.Clone(data), left
}

// drain reads, asking for n at a time, until nothing is left, after a Data available event for the channel.
func (a *app) drain(id, n int) []byte {
	var all []byte
	for {
		data, left := a.receive(id, n)
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
		all = append(all, a.drain(id, cat.MaxReceive)...)
	}
	if len(all) != n {
		a.fail("channel %d brought %d octets, want %d", id, len(all), n)
	}
	return all
}

func (a *app) close(id int, want ...byte) {
	a.do(&cat.CloseChannel{}, 0, cat.DeviceChannel(id), want...)
}

// next is the oldest event that was not looked at yet.
func (a *app) next() softuicc.Event {
	e, err := a.tk.Wait(a.ctx, nil)
	a.must(err)
	return e
}

// of is the oldest event of the channel that was not looked at yet.
func (a *app) of(id int) softuicc.Event {
	e, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Status.Channel == id })
	a.must(err)
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

// established wants the next event of the channel to say that the link stands.
func (a *app) established(id int) {
	e := a.of(id)
	if e.Code != cat.EventChannelStatus || e.Status != (cat.ChannelStatus{Channel: id, Link: cat.LinkEstablished}) {
		a.fail("event of channel %d: %v, %v; want Channel status, link established", id, e, e.Status)
	}
}

// dropped wants the next event of the channel to say that the link is dropped.
func (a *app) dropped(id int) {
	e := a.of(id)
	if e.Code != cat.EventChannelStatus || e.Status != (cat.ChannelStatus{Channel: id, Info: cat.StatusDropped}) {
		a.fail("event of channel %d: %v, %v; want Channel status, link dropped", id, e, e.Status)
	}
}

// noEvent wants that no event waits to be looked at. The session must have settled.
func (a *app) noEvent() {
	ctx, cancel := context.WithCancel(a.ctx)
	cancel()
	if e, err := a.tk.Wait(ctx, nil); err == nil {
		a.fail("unexpected event: %v, %v", e, e.Status)
	}
}

// statuses asks for the states of all channels.
func (a *app) statuses() []cat.ChannelStatus {
	list, err := a.tk.GetChannelStatus(a.ctx)
	a.must(err)
	return list
}

// raw is a command with objects as they stand.
func raw(t cat.CommandType, objects ...cat.TLV) cat.Body {
	return &cat.Unsupported{Command: t, Objects: objects}
}

// bearerRefused tells the judge's opinion that a bearer that the profile offers cannot be refused: here the network did.
func bearerRefused(v softuicc.Violation) bool { return v.Clause == "5.2" }

// unknownObject tells the judge's opinion that a command with an object of no known tag is well formed.
func unknownObject(v softuicc.Violation) bool { return v.Clause == "6.10" }

func appletList(l ...softuicc.Applet) []softuicc.Applet { return l }

var udpDial = softuicc.DialParams{Qualifier: cat.OpenImmediate}
