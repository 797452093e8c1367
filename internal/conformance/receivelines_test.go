package conformance

import (
	"bytes"
	"io"
	"slices"
	"syscall"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/trace"
)

// receiveLines are about received data and the end of links.
var receiveLines = []line{
	{6, "", "blocks up to the granted buffer and above arrive whole and in order", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		at := 0
		for _, n := range []int{1, 237, 1024, 1025, 1399, 1400, 1401, 1500, 5000, 20000} {
			f.push(ramp(at, n))
			if got := a.read(id, n); !bytes.Equal(got, ramp(at, n)) {
				a.fail("block of %d: %d octets came, or wrong ones", n, len(got))
			}
			at += n
		}
	})},
	{7, "a", "the far end closes: Channel status 0n 05 after the last octet was read", endsWith(io.EOF)},
	{7, "b", "the far end resets: Channel status 0n 05 after the last octet was read", endsWith(syscall.ECONNRESET)},
	{23, "", "data keep flowing after a read that left some, and the connection stays", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.push(ramp(0, 1400))
		a.dataAvailable(id)
		got, _ := a.receive(id, 10)
		f.push(ramp(1400, 5000))
		for len(got) < 6400 {
			a.dataAvailable(id)
			got = append(got, a.drain(id)...)
		}
		if !bytes.Equal(got, ramp(0, 6400)) {
			a.fail("octets differ")
		}
		a.send(id, ramp(0, 9))
		a.goesOut(f, ramp(0, 9))
	})},
	{24, "", "the loss of the link is told with Channel status 0n 05", applet(func(a *app) {
		a.both()
		for _, network := range []string{"tcp", "udp"} {
			id, f := a.dial(network)
			f.finish(syscall.ENETDOWN)
			a.dropped(id)
		}
	})},
	{31, "", "announced data stay readable after the far end has closed", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.push(ramp(0, 600))
		if n := a.dataAvailable(id); n != 255 {
			a.fail("%d octets announced, want FF", n)
		}
		f.finish(io.EOF)
		a.settle()
		if got := a.drain(id); !bytes.Equal(got, ramp(0, 600)) {
			a.fail("%d octets could be read", len(got))
		}
		a.dropped(id)
		a.do(&cat.ReceiveData{Length: 1}, 0, cat.DeviceChannel(id), 0x3A, 0x02)
	})},
	{33, "", "data and end at one moment: Data available, all read, then 0n 05", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.both(ramp(0, 300), io.EOF)
		if got := a.read(id, 300); !bytes.Equal(got, ramp(0, 300)) {
			a.fail("%d octets came", len(got))
		}
		a.dropped(id)
		a.noEvent()
	})},
	{35, "", "received data are held up to the granted buffer, the rest waits at the far end", applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		for i := range 100 {
			f.push(ramp(i*1000, 1000))
		}
		a.dataAvailable(id)
		a.settle()
		if n, err := f.taken(a.ctx, 1); err != nil || n > 1400 {
			a.fail("%d octets were taken from the far end, %v; 1400 are granted", n, err)
		}
		got := a.drain(id)
		for len(got) < 100000 {
			a.dataAvailable(id)
			got = append(got, a.drain(id)...)
		}
		if !bytes.Equal(got, ramp(0, 100000)) {
			a.fail("octets differ")
		}
	})},
	{37, "", "an idle card hears of data within 50 ms", announcedAtOnce},
	{38, "a", "one stream joins APDUs and the network in the order of events", oneStream},
	{38, "b", "the trace opens in Wireshark", opensInWireshark},
}

// endsWith has a link end so after data.
func endsWith(how error) func(k *testCase) {
	return applet(func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.push(ramp(0, 500))
		a.taken(f, 500)
		f.finish(how)
		if got := a.read(id, 500); !bytes.Equal(got, ramp(0, 500)) {
			a.fail("%d octets came", len(got))
		}
		a.dropped(id)
		a.noEvent()
	})
}

// announcedAtOnce takes the median of several, for the machine may be busy.
func announcedAtOnce(k *testCase) {
	const rounds = 25
	var took []time.Duration
	play(k, options{poll: noPoll}, func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		for range rounds {
			at := time.Now()
			f.push([]byte("now"))
			a.dataAvailable(id)
			took = append(took, a.b.rec.last(insEnvelope).start.Sub(at))
			if n := len(a.b.rec.of(insStatus)); n > 1 { // the one of the initialisation
				a.fail("%d STATUS commands on an idle card", n)
			}
			a.drain(id)
		}
	})
	slices.Sort(took)
	if len(took) == rounds && took[rounds/2] > 50*time.Millisecond {
		k.Errorf("from the data's arrival to the ENVELOPE: %v", took)
	}
}

func oneStream(k *testCase) {
	stream := &trace.Stream{Source: "bipd"}
	sub := stream.Subscribe(1 << 16)
	play(k, options{config: bip.Config{Trace: stream}}, func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		a.send(id, ramp(0, 20))
		a.goesOut(f, ramp(0, 20))
		f.push(ramp(0, 30))
		a.read(id, 30)
		a.close(id)
		a.hungUp(f)
	})
	sub.Close()
	var steps []string
	for e := range sub.C {
		if e.Step != "" && !slices.Contains(steps, e.Step) {
			steps = append(steps, e.Step)
		}
	}
	want := []string{"S401", "S402", "S407", "S408", "S409", "S410", "S411", "S412", "S413", "S414", "S415"}
	if !slices.Equal(steps, want) {
		k.Errorf("steps %v, want %v", steps, want)
	}
}
