package conformance

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"bipd/cat"
)

// otherCommand is a command that a headless terminal may offer or not.
type otherCommand struct {
	clause, name string
	bit          cat.Facility
	body         cat.Body
	to           cat.DeviceID
	results      []string // that a terminal which offers it may give here; others are refused with 30
}

var hello = []byte{0x04, 'H', 'e', 'l', 'l', 'o'}

// otherCommands are those for which the terminal needs a user or a short message service. Those never in the profile,
// SET UP CALL and its like, are among the answers to the vectors.
var otherCommands = []otherCommand{
	{"6.4.1", "DISPLAY TEXT", cat.Facility{Octet: 3, Bit: 1}, raw(cat.TypeDisplayText, tlv(cat.TagTextString, hello...)), cat.DeviceDisplay, []string{"00", "2000", "2001"}},
	{"6.4.2", "GET INKEY", cat.Facility{Octet: 3, Bit: 2}, raw(cat.TypeGetInkey, tlv(cat.TagTextString, hello...)), cat.DeviceTerminal, []string{"10", "12", "2000"}},
	{"6.4.3", "GET INPUT", cat.Facility{Octet: 3, Bit: 3}, raw(cat.TypeGetInput, tlv(cat.TagTextString, hello...), tlv(0x11, 0, 5)), cat.DeviceTerminal, []string{"10", "12", "2000"}},
	{"6.4.5", "PLAY TONE", cat.Facility{Octet: 3, Bit: 5}, raw(cat.TypePlayTone), cat.DeviceEarpiece, []string{"00", "08", "2000"}},
	{"6.4.8", "SET UP MENU", cat.Facility{Octet: 4, Bit: 6}, raw(cat.TypeSetUpMenu, tlv(cat.TagAlphaIdentifier, 'M'), tlv(cat.TagItem, 1, 'A'), tlv(cat.TagItem, 2, 'B')), cat.DeviceTerminal, []string{"00"}},
	{"6.4.8", "SET UP MENU that takes the menu away", cat.Facility{Octet: 4, Bit: 6}, raw(cat.TypeSetUpMenu, tlv(cat.TagAlphaIdentifier, 'M'), tlv(cat.TagItem)), cat.DeviceTerminal, []string{"00"}},
	{"6.4.9", "SELECT ITEM", cat.Facility{Octet: 4, Bit: 1}, raw(cat.TypeSelectItem, tlv(cat.TagItem, 1, 'A')), cat.DeviceTerminal, []string{"00", "10", "11", "12", "2000"}},
	{"6.4.10", "SEND SHORT MESSAGE", cat.Facility{Octet: 4, Bit: 2}, raw(cat.TypeSendShortMessage, tlv(cat.TagSMSTPDU, 0x01, 0x00, 0x02, 0x91, 0x21, 0x40, 0x04, 0x01, 0xAA)), cat.DeviceNetwork, []string{"00", "2004"}},
	{"6.4.22", "SET UP IDLE MODE TEXT", cat.Facility{Octet: 8, Bit: 5}, raw(cat.TypeSetUpIdleModeText, tlv(cat.TagTextString, hello...)), cat.DeviceTerminal, []string{"00"}},
}

// check has the command answered by a terminal with all that can be configured, or with nothing of it.
func (o otherCommand) check(k *testCase, bare bool) {
	b := play(k, options{bare: bare}, func(a *app) {
		r, err := a.tk.Do(a.ctx, o.body, 0, o.to)
		a.must(err)
		got, want := upper(resultBytes(r.Result)), []string{"30"}
		if a.has(o.bit) {
			want = o.results
		}
		if !slices.Contains(want, got) {
			a.fail("answered %s, want %v", got, want)
		}
		a.do(&cat.MoreTime{}, 0, cat.DeviceTerminal)
	})
	switch {
	case !bare:
		b.notBuilt(o.bit, o.name+" was answered 30")
	case b.profile.Has(o.bit.Octet, o.bit.Bit):
		k.Errorf("offered by a terminal that has not been told to")
	}
}

func locationStatus(k *testCase) {
	b := play(k, options{}, func(a *app) {
		a.subscribe(cat.EventLocationStatus, cat.EventNetworkRejection)
		if !a.has(cat.FacilityLocationStatus) {
			a.noEvent()
			return
		}
		e, err := a.tk.Wait(a.ctx, nil)
		a.must(err)
		if want := plain(unhex("D615990103820282819B01009309" + upper(testLocation.Info))); plain(e.Envelope) != want {
			a.fail("%s, want %s", plain(e.Envelope), want)
		}
	})
	b.notBuilt(cat.FacilityLocationStatus, "the list was taken, and no event came")
	play(k, options{bare: true}, func(a *app) {
		a.subscribe(cat.EventLocationStatus)
		a.settle()
		if e, err := a.tk.Wait(done(a.ctx), nil); err == nil {
			a.fail("%v from a terminal that does not offer it", e)
		}
	})
}

// done is a context that has ended.
func done(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

// menuSelection sets a menu up and has an item chosen.
func menuSelection(k *testCase) {
	play(k, options{}, func(a *app) {
		a.do(raw(cat.TypeSetUpMenu, tlv(cat.TagAlphaIdentifier, 'M'), tlv(cat.TagItem, 1, 'A'), tlv(cat.TagItem, 7, 'B')), 0, cat.DeviceTerminal)
		e, err := a.b.ui.Selection(7, false)
		a.must(err)
		a.envelope(e, "D30782020181900107")
	})
}

func smsDownload(k *testCase) {
	play(k, options{}, func(a *app) {
		centre, err := cat.NewAddress("+447700900000")
		a.must(err)
		tpdu := unhex("040491213400000000000000000001AA")
		a.envelope(cat.SMSPPDownloadEnvelope(centre, tpdu), "D11F820283818607914477000900008B10"+upper(tpdu))
	})
}

// envelope has the operator send an envelope, and wants the card to get these octets.
func (a *app) envelope(e cat.Envelope, want string) {
	sent := make(chan error, 1)
	go func() {
		_, _, err := a.b.session.SendEnvelope(a.ctx, e)
		sent <- err
	}()
	got, err := a.tk.Wait(a.ctx, nil)
	a.must(err)
	a.outside(func() { err = <-sent })
	a.must(err)
	if plain(got.Envelope) != plain(unhex(want)) {
		a.fail("%s, want %s", plain(got.Envelope), plain(unhex(want)))
	}
}

var testLocation = cat.Location{Status: cat.LocationNormal, Info: unhex("00F110000100010001")}

var localInfo = &cat.LocalInfo{
	IMEI: "490154203237518", IMEISV: "4901542032375101", Location: testLocation.Fixed(), Language: "en",
	Now: func() time.Time { return time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC) },
}

// ownCommands are those of the toolkit's own running.
var ownCommands = map[string]func(a *app){
	"MORE TIME":   func(a *app) { a.do(&cat.MoreTime{}, 0, cat.DeviceTerminal) },
	"POLLING OFF": func(a *app) { a.do(&cat.PollingOff{}, 0, cat.DeviceTerminal) },
	"POLL INTERVAL grants what was asked": func(a *app) {
		r := a.do(&cat.PollInterval{Interval: cat.Duration{Unit: 1, Interval: 20}}, 0, cat.DeviceTerminal)
		if v := a.value(r, cat.TagDuration); upper(v) != "0114" {
			a.fail("granted %X", v)
		}
	},
	"LANGUAGE NOTIFICATION": func(a *app) {
		a.do(&cat.LanguageNotification{Language: []byte("en")}, 1, cat.DeviceTerminal)
		a.do(&cat.LanguageNotification{}, 0, cat.DeviceTerminal)
	},
	"SET UP EVENT LIST takes known events and refuses codes that are not assigned": func(a *app) {
		a.do(&cat.SetUpEventList{Events: []cat.EventCode{0x03, 0x09, 0x0A, 0x12}}, 0, cat.DeviceTerminal)
		a.do(&cat.SetUpEventList{}, 0, cat.DeviceTerminal)
		a.do(&cat.SetUpEventList{Events: []cat.EventCode{0xF0}}, 0, cat.DeviceTerminal, 0x30)
	},
	"SET UP EVENT LIST replaces the list": func(a *app) {
		a.both()
		a.subscribe(cat.EventChannelStatus)
		id, f := a.dial("tcp")
		f.push(ramp(0, 10))
		a.taken(f, 10)
		a.noEvent()
		a.close(id)
	},
	"TIMER MANAGEMENT starts, reads, stops and expires": func(a *app) {
		hour, second := cat.TimerValue(time.Hour), cat.TimerValue(time.Second)
		a.do(&cat.TimerManagement{Timer: 3, Value: &hour}, cat.TimerStart, cat.DeviceTerminal)
		for _, q := range []byte{cat.TimerGetValue, cat.TimerDeactivate} {
			r := a.do(&cat.TimerManagement{Timer: 3}, q, cat.DeviceTerminal)
			if id := a.value(r, cat.TagTimerIdentifier); !bytes.Equal(id, []byte{3}) {
				a.fail("timer %X", id)
			}
			a.value(r, cat.TagTimerValue)
		}
		a.do(&cat.TimerManagement{Timer: 3}, cat.TimerGetValue, cat.DeviceTerminal, 0x24)
		a.do(&cat.TimerManagement{Timer: 8, Value: &second}, cat.TimerStart, cat.DeviceTerminal)
		if e, err := a.tk.Wait(a.ctx, nil); err != nil || e.Tag != 0xD7 || e.Timer != 8 {
			a.fail("%v %v", e, err)
		}
	},
	"PROVIDE LOCAL INFORMATION": func(a *app) {
		for q, tag := range map[byte]cat.Tag{
			cat.LocalLocation: cat.TagLocationInfo, cat.LocalIMEI: cat.TagIMEI, cat.LocalDateTime: cat.TagDateTimeZone,
			cat.LocalLanguage: cat.TagLanguage, cat.LocalIMEISV: cat.TagIMEISV,
		} {
			a.value(a.do(&cat.ProvideLocalInformation{}, q, cat.DeviceTerminal), tag)
		}
		a.do(&cat.ProvideLocalInformation{}, 0x02, cat.DeviceTerminal, 0x30) // network measurement results
	},
	"RECEIVE DATA of 255 brings 237 and tells that more is there": func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		f.push(ramp(0, 300))
		a.dataAvailable(id) // octets that are taken from the far end may not be in the buffer yet
		r := a.do(&cat.ReceiveData{Length: 255}, 0, cat.DeviceChannel(id))
		if d, left := a.value(r, cat.TagChannelData), a.value(r, cat.TagChannelDataLength); !bytes.Equal(d, ramp(0, 237)) || left[0] != 63 {
			a.fail("%d octets, %d left", len(d), left[0])
		}
	},
	"a missing mandatory object is 36, one that asks for comprehension 32": func(a *app) {
		id, _ := a.dial("tcp")
		to := cat.DeviceChannel(id)
		a.do(raw(cat.TypeSendData), 1, to, 0x36)
		a.do(raw(cat.TypeReceiveData), 0, to, 0x36)
		a.do(raw(cat.TypeReceiveData, tlv(cat.TagChannelDataLength, 1, 2)), 0, to, 0x32)
		a.do(raw(cat.TypePollInterval), 0, cat.DeviceTerminal, 0x36)
		a.do(raw(cat.TypeTimerManagement, tlv(cat.TagTimerIdentifier, 9)), cat.TimerGetValue, cat.DeviceTerminal, 0x32)
	},
	"GET CHANNEL STATUS names each open channel": func(a *app) {
		one, _ := a.dial("tcp")
		two, _ := a.open(openBody("tcp", remote), 0)
		list, err := a.tk.GetChannelStatus(a.ctx)
		a.must(err)
		want := []cat.ChannelStatus{{Channel: one, Link: cat.LinkEstablished}, {Channel: two}}
		if fmt.Sprint(list) != fmt.Sprint(want) {
			a.fail("%v, want %v", list, want)
		}
	},
	"background link: answered first, then Channel status": func(a *app) {
		a.both()
		id, r := a.open(openBody("tcp", remote), cat.OpenImmediate|cat.OpenBackground)
		if v := a.value(r, cat.TagChannelStatus); upper(v) != fmt.Sprintf("%02X00", id) {
			a.fail("channel status %X", v)
		}
		a.told(id, cat.LinkEstablished, 0)
		a.noEvent()
	},
	"datagrams are kept apart, however they are read": func(a *app) {
		a.both()
		id, f := a.dial("udp")
		f.push(ramp(0, 300))
		f.push(ramp(900, 20))
		for _, want := range [][]byte{ramp(0, 300), ramp(900, 20)} {
			a.dataAvailable(id)
			if got := a.drain(id); !bytes.Equal(got, want) {
				a.fail("%d octets came, want %d", len(got), len(want))
			}
		}
	},
}
