package conformance

import (
	"bytes"
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

func (o otherCommand) check(k *testCase) {
	b := play(k, options{}, func(a *app) {
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
	b.notBuilt(o.bit, o.name+" was answered 30")
}

var localInfo = &cat.LocalInfo{
	IMEI: "490154203237518", IMEISV: "4901542032375101", Location: unhex("00F110000100010001"), Language: "en",
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
		_, err := f.taken(a.ctx, 10)
		a.must(err)
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
		id, f := a.dial("tcp")
		f.push(ramp(0, 300))
		_, err := f.taken(a.ctx, 300)
		a.must(err)
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
	},
}
