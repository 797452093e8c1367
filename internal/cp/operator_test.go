package cp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/softuicc"
)

// want has the terminal answer a command with this result.
func (a *app) want(general cat.GeneralResult, body cat.Body, qualifier byte, to cat.DeviceID) {
	r, err := a.tk.Do(a.ctx, body, qualifier, to)
	a.must(err)
	if r.Result.General != general {
		a.fail("%v answered %v, want %02X", body.Type(), r.Result, byte(general))
	}
}

// next waits for an envelope with the tag.
func (a *app) next(tag byte) softuicc.Event {
	e, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool { return e.Tag == tag })
	a.must(err)
	return e
}

// alone is a CP without an AP, for what is no BIP.
func alone(o options) options {
	o.noAP, o.pipe = true, true
	return o
}

// asks calls the CP as the control socket does, with a bound in time.
func asks[T any](t *testing.T, f func(context.Context, T) (control.Reply, error), v T) (control.Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	return f(ctx, v)
}

// TestMenu has a card set up its menu, and the operator choose from it.
func TestMenu(t *testing.T) {
	b := start(t, alone(options{applets: applets(func(a *app) {
		if !a.tk.Profile().Supports(cat.TypeSetUpMenu) || a.tk.Profile().Supports(cat.TypeDisplayText) {
			a.fail("profile %v", a.tk.Profile())
		}
		a.want(cat.ResultOK, cat.NewSetUpMenu("Services", cat.NewItem(1, "Balance"), cat.NewItem(9, "Help")), cat.MenuHelp, cat.DeviceTerminal)
		if e := a.next(0xD3); fmt.Sprintf("%X", e.Envelope) != "D30782020181900109" {
			a.fail("selection %X", e.Envelope)
		}
		if e := a.next(0xD3); fmt.Sprintf("%X", e.Envelope) != "D309820201819001019500" {
			a.fail("help request %X", e.Envelope)
		}
		a.want(cat.ResultBeyondCapabilities, cat.NewDisplayText("Your balance is 7"), 0, cat.DeviceDisplay)
		a.want(cat.ResultBeyondCapabilities, cat.NewSelectItem("?", cat.NewItem(1, "a")), 0, cat.DeviceTerminal)
		a.want(cat.ResultTerminalUnable, &cat.SendShortMessage{TPDU: []byte{1}}, 0, cat.DeviceNetwork)
	})}))
	eventually(t, "the menu", func() bool {
		m, err := b.cp.Menu()
		return err == nil && m.Title == "Services" && len(m.Items) == 2 && m.Items[1] == control.MenuItem{ID: 9, Text: "Help"} && m.Help
	})
	if _, err := asks(t, b.cp.SelectItem, control.Selection{ID: 5}); !errors.Is(err, control.ErrBad) {
		t.Errorf("no such item: %v", err)
	}
	for _, s := range []control.Selection{{ID: 9}, {ID: 1, Help: true}} {
		if r, err := asks(t, b.cp.SelectItem, s); err != nil || !strings.HasPrefix(r.SW, "9") {
			t.Errorf("%+v %v", r, err)
		}
	}
	b.wait()
	b.log.Wants(t, "Your balance is 7")
	b.reader.Remove()
	eventually(t, "the card to be gone", func() bool { _, err := b.cp.Menu(); return errors.Is(err, control.ErrNotServing) })
	if _, err := asks(t, b.cp.DownloadSMS, control.SMS{TPDU: "00"}); !errors.Is(err, control.ErrNotServing) {
		t.Errorf("without a card: %v", err)
	}
}

// TestTextsShown has them offered, and answered as shown.
func TestTextsShown(t *testing.T) {
	b := run(t, alone(options{
		cp: func(c *cp.Config) { c.ShowTexts = true },
		applets: applets(func(a *app) {
			a.want(cat.ResultOK, cat.NewDisplayText("Guten Tag"), cat.DisplayUntilCleared, cat.DeviceDisplay)
			a.want(cat.ResultOK, cat.NewSetUpIdleModeText("idle"), 0, cat.DeviceTerminal)
			a.want(cat.ResultOK, cat.NewSetUpIdleModeText(""), 0, cat.DeviceTerminal)
		}),
	}))
	b.log.Wants(t, "Guten Tag")
}

// TestSMSPP hands a card messages; it answers with a response packet.
func TestSMSPP(t *testing.T) {
	packet := cat.ResponsePacket{TAR: [3]byte{0xB0, 0, 0x10}, Data: []byte{0x01, 0x90, 0x00}}.Append(nil)
	seen := make(chan []byte, 10)
	b := start(t, alone(options{
		smsReply: packet,
		quirks:   softuicc.Quirks{Busy: 2},
		applets: applets(func(a *app) {
			for range 2 {
				seen <- a.next(0xD1).TPDU
			}
		}),
	}))
	eventually(t, "the session", func() bool { return b.cp.Status().State == "serving" })
	tpdu, err := cat.Deliver{From: cat.Address{TONNPI: 0x91, Number: "44"}, PID: 0x7F, DCS: 0xF6, Header: []byte{0x70, 0}, Data: []byte{1}, Time: time.Now()}.TPDU()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := asks(t, b.cp.DownloadSMS, control.SMS{TPDU: fmt.Sprintf("%X", tpdu)})
		if err != nil || r.Data != fmt.Sprintf("%X", packet) || r.SW != "9000" {
			t.Errorf("%+v %v", r, err)
		}
		select {
		case got := <-seen:
			if string(got) != string(tpdu) {
				t.Errorf("the card got %X, want %X", got, tpdu)
			}
		case <-time.After(testTime):
			t.Fatal("the card got no message")
		}
	}
	for _, bad := range []control.SMS{{TPDU: ""}, {TPDU: "0"}, {TPDU: "xx"}, {TPDU: "00", Centre: "abc!"}, {TPDU: strings.Repeat("00", 250)}} {
		if _, err := asks(t, b.cp.DownloadSMS, bad); !errors.Is(err, control.ErrBad) {
			t.Errorf("%.20q: %v", bad.TPDU, err)
		}
	}
	b.wait()
}

// TestEvents tells a card of events: the location status by itself, others as the operator wants.
func TestEvents(t *testing.T) {
	told := make(chan struct{})
	b := start(t, alone(options{
		cp: func(c *cp.Config) {
			c.Location, c.FixedLocation = cat.Location{Info: []byte{0x62, 0xF2, 0x20, 0, 1, 0, 2}}, true
		},
		applets: applets(func(a *app) {
			a.must(a.tk.SetUpEventList(a.ctx, cat.EventLocationStatus))
			if e := a.next(0xD6); e.Code != cat.EventLocationStatus || !strings.HasSuffix(fmt.Sprintf("%X", e.Envelope), "9B0100930762F22000010002") {
				a.fail("first %X", e.Envelope)
			}
			close(told)
			if e := a.next(0xD6); !strings.HasSuffix(fmt.Sprintf("%X", e.Envelope), "1B0102") {
				a.fail("second %X", e.Envelope)
			}
		}),
	}))
	b.reached("the card heard of the location status", told)
	none := control.CardEvent{Code: byte(cat.EventLocationStatus), Objects: "1B0102"}
	if r, err := asks(t, b.cp.SendEvent, none); err != nil || r.SW == "" {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []control.CardEvent{{Code: 7, Objects: "2D026465"}, {Code: 3, Objects: "1B05"}, {Code: 3, Objects: "1"}} {
		if _, err := asks(t, b.cp.SendEvent, bad); !errors.Is(err, control.ErrBad) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	b.wait()
}

// TestAPDU sends raw APDUs where the configuration allows it.
func TestAPDU(t *testing.T) {
	serving := func(t *testing.T, allowed bool) *bed {
		b := start(t, alone(options{cp: func(c *cp.Config) { c.AllowAPDU = allowed }}))
		eventually(t, "the session", func() bool { return b.cp.Status().State == "serving" })
		return b
	}
	const selectMF = "00 A4 00 04 02 3F 00"
	t.Run("not allowed", func(t *testing.T) {
		b := serving(t, false)
		if r, err := asks(t, b.cp.Transmit, control.APDU{APDU: selectMF}); !errors.Is(err, control.ErrForbidden) {
			t.Errorf("%+v %v", r, err)
		}
	})
	t.Run("allowed", func(t *testing.T) {
		b := serving(t, true)
		r, err := asks(t, b.cp.Transmit, control.APDU{APDU: selectMF})
		if err != nil || r.SW != "9000" || !strings.HasPrefix(r.Data, "62") {
			t.Errorf("%+v %v", r, err)
		}
		for _, bad := range []string{"8012000010", "0", "00A4"} {
			if _, err := asks(t, b.cp.Transmit, control.APDU{APDU: bad}); !errors.Is(err, control.ErrBad) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	})
}

// TestShortMessages has a card send messages: by the way that is configured, and one that fails.
func TestShortMessages(t *testing.T) {
	tpdu := []byte{0x01, 0x00, 0x02, 0x81, 0x21, 0x00, 0x00, 0x01, 0x61}
	sent := make(chan cat.ShortMessage, 2)
	fail := false
	b := run(t, alone(options{
		cp: func(c *cp.Config) {
			c.SendSMS = func(_ context.Context, m cat.ShortMessage) error {
				sent <- m
				if fail {
					return errors.New("no modem")
				}
				fail = true
				return nil
			}
		},
		applets: applets(func(a *app) {
			if !a.tk.Profile().Supports(cat.TypeSendShortMessage) {
				a.fail("not offered")
			}
			a.want(cat.ResultOK, &cat.SendShortMessage{TPDU: tpdu}, 0, cat.DeviceNetwork)
			a.want(cat.ResultTerminalUnable, &cat.SendShortMessage{TPDU: tpdu}, 0, cat.DeviceNetwork)
		}),
	}))
	for range 2 {
		select {
		case m := <-sent:
			if m.Card != "card0" || string(m.TPDU) != string(tpdu) {
				t.Errorf("%+v", m)
			}
		default:
			t.Error("a message was not sent")
		}
	}
	b.log.Wants(t, "no modem")
}

// TestRefresh has a card refresh in every mode with a channel open: 09 drops it.
func TestRefresh(t *testing.T) {
	to := echoServer(t)
	run(t, options{applets: applets(func(a *app) {
		c := a.dial(params(packetBearer, cat.OpenImmediate, to))
		for _, mode := range []byte{0, 1, 2, 3, 5, 6} {
			a.want(cat.ResultOK, &cat.Refresh{}, mode, cat.DeviceTerminal)
			a.echo(c)
		}
		for _, mode := range []byte{7, 8} {
			a.want(cat.ResultBeyondCapabilities, &cat.Refresh{}, mode, cat.DeviceTerminal)
		}
		a.must(c.Close())
		a.want(cat.ResultOK, &cat.Refresh{}, cat.RefreshEUICCProfile, cat.DeviceTerminal)
		a.must(a.tk.SetUpEventList(a.ctx, cat.EventDataAvailable, cat.EventChannelStatus)) // the terminal has forgotten the list
		a.echo(a.dial(params(packetBearer, cat.OpenImmediate, to)))
	})})
}
