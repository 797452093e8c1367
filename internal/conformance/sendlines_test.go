package conformance

import (
	"bytes"

	"bipd/cat"
)

// sendLines are about SEND DATA.
var sendLines = []line{
	{1, "", "Tx overflow is refused with 3A 04 and loses nothing", applet(func(a *app) {
		o := openBody("tcp", remote)
		o.BufferSize = 300
		id, _ := a.open(o, cat.OpenImmediate)
		f := a.farEnd()
		a.store(id, ramp(0, 200))
		for _, q := range []byte{0, cat.SendImmediately} {
			a.do(&cat.SendData{Data: ramp(500, 101)}, q, cat.DeviceChannel(id), 0x3A, 0x04)
		}
		a.store(id, ramp(200, 100))
		a.send(id, nil)
		a.goesOut(f, ramp(0, 300))
	})},
	{2, "", "free Tx space counts down to 0, never below, and the flush sends exactly what was stored", applet(func(a *app) {
		o := openBody("udp", remote)
		o.BufferSize = 300
		id, _ := a.open(o, cat.OpenImmediate)
		f := a.farEnd()
		for i, want := range []int{200, 100, 0} {
			if free := a.store(id, ramp(i*100, 100)); free != want {
				a.fail("%d octets free, want %d", free, want)
			}
		}
		a.do(&cat.SendData{Data: []byte{1}}, 0, cat.DeviceChannel(id), 0x3A, 0x04)
		if free := a.store(id, nil); free != 0 {
			a.fail("%d octets free after a refusal", free)
		}
		if free := a.send(id, nil); free != 255 {
			a.fail("%d octets free after the flush, want FF", free)
		}
		a.goesOut(f, ramp(0, 300))
	})},
	{4, "", "an on-demand TCP link is made at the first SEND DATA, which then goes out", applet(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", remote), 0)
		a.settle()
		a.notDialled()
		a.send(id, ramp(0, 50))
		a.goesOut(a.farEnd(), ramp(0, 50))
		a.told(id, cat.LinkEstablished, 0)
		a.noEvent()
	})},
	{5, "", "the first datagram of an on-demand UDP link goes out and its answer comes back", applet(func(a *app) {
		a.both()
		id, _ := a.open(openBody("udp", remote), 0)
		a.notDialled()
		a.send(id, ramp(0, 50))
		f := a.farEnd()
		a.goesOut(f, ramp(0, 50))
		a.told(id, cat.LinkEstablished, 0)
		f.push(ramp(50, 60))
		if got := a.read(id, 60); !bytes.Equal(got, ramp(50, 60)) {
			a.fail("answer %X", got)
		}
	})},
	{30, "", "SEND DATA of 128 to 229 octets, length 81 LL", applet(func(a *app) {
		id, f := a.dial("tcp")
		var all []byte
		for n := 128; n <= 229; n++ {
			a.send(id, ramp(len(all), n))
			all = append(all, ramp(len(all), n)...)
		}
		a.goesOut(f, all)
	})},
	{34, "", "the free Tx space told depends on stored Tx octets only", applet(func(a *app) {
		o := openBody("tcp", remote)
		o.BufferSize = 200
		a.both()
		id, _ := a.open(o, cat.OpenImmediate)
		f := a.farEnd()
		f.push(ramp(0, 1000))
		a.dataAvailable(id) // octets that are taken from the far end may not be in the buffer yet
		if free := a.store(id, ramp(0, 50)); free != 150 {
			a.fail("%d octets free with a full Rx buffer, want 150", free)
		}
		a.receive(id, 100)
		if free := a.store(id, nil); free != 150 {
			a.fail("%d octets free after a read, want 150", free)
		}
	})},
	{36, "", "SEND DATA on a channel that was never open is 3A 03", applet(func(a *app) {
		for n := 1; n <= cat.MaxChannels; n++ {
			a.do(&cat.SendData{Data: []byte{1}}, 0, cat.DeviceChannel(n), 0x3A, 0x03)
			a.do(&cat.SendData{Data: []byte{1}}, 1, cat.DeviceChannel(n), 0x3A, 0x03)
		}
	})},
}
