package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"bipd/bip"
	"bipd/cat"
	"bipd/softuicc"
	"bipd/trace"
)

// terminalLines are about responses in general, the profile, and what the terminal does beside channels.
var terminalLines = []line{
	{8, "", "every result that needs additional information has it", allRefusals},
	{13, "a", "STATUS goes on while an immediate connect hangs", hangingImmediate},
	{13, "b", "timers and other channels go on while a background connect hangs", hangingBackground},
	{15, "", "every response comes from 82 to 81, also those to channel commands", func(k *testCase) {
		b := play(k, options{}, func(a *app) {
			id, _ := a.dial("tcp")
			a.store(id, []byte{1})
			a.receive(id, 1)
			a.tk.GetChannelStatus(a.ctx)
			a.channelCommands(cat.DeviceChannel(5), 0x3A, 0x03)
			a.close(id)
			a.do(raw(0x7E), 0, cat.DeviceTerminal, 0x31)
		})
		for _, e := range b.rec.of(insResponse) {
			list, err := walk(e.capdu[5:])
			if err != nil || len(list) < 3 || list[1].tag != 0x02 || upper(list[1].value) != "8281" {
				k.Errorf("response %X", e.capdu)
			}
		}
		if n := len(b.rec.of(insResponse)); n != 10 {
			k.Errorf("%d responses, want 10", n)
		}
	}},
	{17, "", "an unknown command is 31, one not offered 30, and the chain goes on", applet(func(a *app) {
		for _, t := range []cat.CommandType{0x00, 0x06, 0x1F, 0x7E, 0x99, 0xFF} {
			a.do(raw(t), 0, cat.DeviceTerminal, 0x31)
			a.do(&cat.MoreTime{}, 0, cat.DeviceTerminal)
		}
		for _, t := range []cat.CommandType{cat.TypeSetUpCall, cat.TypeRunATCommand, cat.TypeServiceSearch, cat.TypePowerOnCard} {
			a.do(raw(t), 0, cat.DeviceTerminal, 0x30)
			a.do(&cat.MoreTime{}, 0, cat.DeviceTerminal)
		}
	})},
	{18, "a", "TERMINAL PROFILE tells what is built and nothing else", profileTellsTheTruth},
	{18, "b", "the profile is printed decoded at start", func(k *testCase) {
		b := play(k, options{}, func(*app) {})
		for l := range strings.Lines(b.log.String()) {
			if strings.Contains(l, "profile") && strings.Contains(l, "OPEN CHANNEL") {
				return
			}
		}
		k.Errorf("the log does not name what the profile offers:\n%s", b.log.String())
	}},
	{21, "", "all five channel commands are carried out", applet(func(a *app) {
		id, f := a.dial("tcp")
		a.send(id, ramp(0, 5))
		a.goesOut(f, ramp(0, 5))
		a.do(&cat.ReceiveData{Length: 1}, 0, cat.DeviceChannel(id), 0x02)
		a.do(&cat.GetChannelStatus{}, 0, cat.DeviceTerminal)
		a.close(id)
	})},
	{25, "", "login and password are in no log and no trace, also at debug level", secrets},
	{29, "", "bearer types, device identities and results are numbered as the specification has them", tables},
}

// allRefusals brings about one refusal after the other and reads every response.
func allRefusals(k *testCase) {
	n := newNetwork()
	n.script = func(_ context.Context, r bip.Request) error {
		causes := []error{nil, syscall.ECONNREFUSED, syscall.ENETDOWN, syscall.EADDRINUSE, &bip.Error{Cause: bip.CauseDenied},
			&bip.Error{Cause: bip.CauseNoNetwork}, &bip.Error{Cause: bip.CauseTransport}, &bip.Error{Cause: bip.CauseName}, errors.New("anything")}
		if int(r.Remote.Port()) >= len(causes) {
			return fmt.Errorf("nobody asked for %v", r.Remote)
		}
		return causes[r.Remote.Port()]
	}
	judged := func(v softuicc.Violation) bool { return v.Clause == "5.2" } // the scripted network refuses a transport on offer
	b := play(k, options{net: n, local: &cat.LocalInfo{Now: time.Now}, tolerate: judged}, func(a *app) {
		for port := uint16(1); port <= 8; port++ {
			if _, err := a.tk.Do(a.ctx, openBody("tcp", netip.AddrPortFrom(remote.Addr(), port)), 1, cat.DeviceTerminal); err != nil {
				a.fail("%w", err)
			}
		}
		a.channelCommands(cat.DeviceChannel(3), 0x3A, 0x03)
		a.do(&cat.ProvideLocalInformation{}, cat.LocalLocation, cat.DeviceTerminal, 0x20, 0x04)
		wlan := openBody("tcp", remote)
		wlan.Bearer.Type = cat.BearerWLAN
		a.refusedOpen(wlan, cat.OpenImmediate, 0x21, 0x00)
	})
	short := 0
	for _, e := range b.rec.of(insResponse) {
		list, err := walk(e.capdu[5:])
		if err != nil || len(list) < 3 {
			k.Fatalf("response %X", e.capdu)
		}
		v := list[2].value
		if strings.Contains("20 21 26 34 35 37 38 39 3A 3C 3D", fmt.Sprintf("%02X", v[0])) {
			if short++; len(v) < 2 {
				k.Errorf("result %X", v)
			}
		}
	}
	if short != 14 {
		k.Errorf("%d results with additional information, want 14", short)
	}
}

// hanging connects to port 1 for ever, to any other at once.
func hanging() *network {
	n := newNetwork()
	n.script = func(ctx context.Context, r bip.Request) error {
		if r.Remote.Port() != 1 {
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return n
}

var nowhere = netip.AddrPortFrom(remote.Addr(), 1)

func hangingImmediate(k *testCase) {
	n := hanging()
	playing := make(chan *bench, 1)
	hang := n.script
	n.script = func(ctx context.Context, r bip.Request) error { // until enough was polled, or for ever
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			for b := <-playing; ctx.Err() == nil && pollsInside(b) < 3; time.Sleep(5 * time.Millisecond) {
			}
			cancel(syscall.ETIMEDOUT)
		}()
		return hang(ctx, r)
	}
	b := play(k, options{net: n, config: bip.Config{ConnectTimeout: testTime / 2}}, func(a *app) {
		playing <- a.b
		a.refusedOpen(openBody("tcp", nowhere), cat.OpenImmediate, 0x3A, 0x00)
	})
	if polls := pollsInside(b); polls < 3 {
		k.Errorf("%d STATUS commands in the %v between FETCH and TERMINAL RESPONSE", polls, testTime/2)
	}
}

// pollsInside counts the STATUS commands between FETCH and TERMINAL RESPONSE.
func pollsInside(b *bench) (polls int) {
	inside := false
	for _, e := range b.rec.all() {
		switch e.capdu[1] {
		case insFetch:
			inside = true
		case insResponse:
			inside = false
		case insStatus:
			if inside {
				polls++
			}
		}
	}
	return polls
}

func hangingBackground(k *testCase) {
	play(k, options{net: hanging(), config: bip.Config{ConnectTimeout: testTime}}, func(a *app) {
		a.both()
		one := cat.TimerValue(time.Second)
		a.do(&cat.TimerManagement{Timer: 1, Value: &one}, cat.TimerStart, cat.DeviceTerminal)
		id, _ := a.open(openBody("tcp", nowhere), cat.OpenImmediate|cat.OpenBackground)
		other, f := a.dial("tcp")
		a.send(other, ramp(0, 10))
		a.goesOut(f, ramp(0, 10))
		f.push(ramp(0, 10))
		a.read(other, 10)
		if e, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Tag == 0xD7 }); err != nil || e.Timer != 1 {
			a.fail("timer expiration: %v %v", e, err)
		}
		a.close(id)
		a.send(other, ramp(10, 10))
		a.goesOut(f, ramp(0, 20))
	})
}

// neverBuilt are bits of the TERMINAL PROFILE that a terminal without a radio, a user and further readers cannot set.
var neverBuilt = []cat.Facility{
	{Octet: 13, Bit: 1}, {Octet: 13, Bit: 3}, {Octet: 13, Bit: 4}, {Octet: 13, Bit: 5}, // CSD, Bluetooth, IrDA, RS232
	{Octet: 12, Bit: 6}, {Octet: 12, Bit: 7}, {Octet: 12, Bit: 8}, // SERVICE commands
	{Octet: 4, Bit: 3}, {Octet: 4, Bit: 4}, {Octet: 4, Bit: 5}, // SEND SS, SEND USSD, SET UP CALL
	{Octet: 18, Bit: 3}, // USB bearer
}

func profileTellsTheTruth(k *testCase) {
	b := play(k, options{}, func(a *app) {
		o := openBody("tcp", remote)
		for _, t := range []cat.BearerType{0x01, 0x04, 0x05, 0x06, 0x07, 0x10} {
			o.Bearer.Type = t
			a.refusedOpen(o, cat.OpenImmediate, 0x30)
		}
	})
	p := b.profile
	sent := b.rec.of(insProfile)
	if len(sent) != 1 || !bytes.Equal(sent[0].capdu[5:], p) {
		k.Errorf("TERMINAL PROFILE was sent %d times, or differs from what the handlers claim", len(sent))
	}
	for _, f := range neverBuilt {
		if p.Has(f.Octet, f.Bit) {
			k.Errorf("octet %d bit %d is set", f.Octet, f.Bit)
		}
	}
	for _, t := range []cat.CommandType{cat.TypeOpenChannel, cat.TypeCloseChannel, cat.TypeReceiveData, cat.TypeSendData,
		cat.TypeGetChannelStatus, cat.TypeSetUpEventList, cat.TypePollInterval, cat.TypeTimerManagement, cat.TypeRefresh} {
		if !p.Supports(t) {
			k.Errorf("%v is not offered", t)
		}
	}
}

func secrets(k *testCase) {
	const login, password = "SoftLoginName", "SoftPassWord"
	stream := &trace.Stream{}
	sub := stream.Subscribe(1 << 16)
	n := newNetwork()
	n.script = func(_ context.Context, r bip.Request) error {
		if r.Remote.Port() == 1 {
			return &bip.Error{Cause: bip.CauseNoNetwork}
		}
		return nil
	}
	b := play(k, options{net: n, config: bip.Config{Trace: stream}}, func(a *app) {
		o := openBody("tcp", remote)
		l, p := cat.NewText(login), cat.NewText(password)
		o.Login, o.Password = &l, &p
		id, _ := a.open(o, cat.OpenImmediate)
		if got := a.farEnd().req; got.Login.Decode() != login || got.Password.Decode() != password {
			a.fail("the bearer did not get them")
		}
		a.close(id)
		o.Transport.Port = 1
		a.refusedOpen(o, cat.OpenImmediate, 0x21, 0x00)
		o.Transport.Protocol = 0x7F
		a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x06)
		o.BufferSize = 0
		a.refusedOpen(o, cat.OpenImmediate, 0x3A, 0x04)
	})
	sub.Close()
	text := b.log.String()
	for e := range sub.C {
		j, err := json.Marshal(e)
		if err != nil {
			k.Fatal(err)
		}
		text += string(j)
	}
	for _, e := range b.rec.of(insFetch) {
		text += fmt.Sprintf("%s %X", cat.Mask(e.rapdu[:len(e.rapdu)-2]), cat.Mask(e.rapdu[:len(e.rapdu)-2]))
	}
	for _, s := range []string{login, password, upper([]byte(login)), upper([]byte(password))} {
		if strings.Contains(strings.ToUpper(text), strings.ToUpper(s)) {
			k.Errorf("%q was told", s)
		}
	}
}

// tables compares numbers that other terminals have shifted.
func tables(k *testCase) {
	for want, got := range map[byte]byte{
		0x01: byte(cat.BearerCSD), 0x02: byte(cat.BearerPacket), 0x03: byte(cat.BearerDefault), 0x08: byte(cat.BearerCDMA),
		0x09: byte(cat.BearerUTRAN), 0x0A: byte(cat.BearerWLAN), 0x0B: byte(cat.BearerEUTRAN), 0x0C: byte(cat.BearerNGRAN),
		0x81: byte(cat.DeviceUICC), 0x82: byte(cat.DeviceTerminal), 0x83: byte(cat.DeviceNetwork), 0x21: byte(cat.DeviceChannel(1)),
		0x27: byte(cat.DeviceChannel(7)),
	} {
		if want != got {
			k.Errorf("%02X, want %02X", got, want)
		}
	}
	for want, got := range map[byte]cat.GeneralResult{
		0x00: cat.ResultOK, 0x01: cat.ResultPartialComprehension, 0x02: cat.ResultMissingInformation, 0x07: cat.ResultModified,
		0x20: cat.ResultTerminalUnable, 0x21: cat.ResultNetworkUnable, 0x22: cat.ResultUserRefused, 0x24: cat.ResultTimerContradiction,
		0x30: cat.ResultBeyondCapabilities, 0x31: cat.ResultTypeNotUnderstood, 0x32: cat.ResultDataNotUnderstood,
		0x33: cat.ResultNumberNotKnown, 0x36: cat.ResultValuesMissing, 0x3A: cat.ResultBIPError,
	} {
		if byte(got) != want {
			k.Errorf("result %02X, want %02X", byte(got), want)
		}
	}
	play(k, options{}, func(a *app) { // the types that a channel can run over, as they stand in the command
		for _, t := range []byte{0x02, 0x03, 0x08, 0x09, 0x0B, 0x0C} {
			o := openBody("tcp", remote)
			o.Bearer.Type = cat.BearerType(t)
			id, r := a.open(o, cat.OpenImmediate)
			if v := a.value(r, cat.TagBearerDescription); v[0] != t || byte(a.farEnd().req.Bearer.Type) != t {
				a.fail("bearer %02X became %X", t, v)
			}
			a.close(id)
		}
	})
}
