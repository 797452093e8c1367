package cp_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/internal/cp"
	"bipd/ptylink"
	"bipd/softuicc"
)

// switched is an AP's access to a network that comes and goes.
type switched struct{ up atomic.Bool }

func (n *switched) Status(context.Context, string) (ap.Status, error) {
	return ap.Status{Up: n.up.Load(), Access: ptylink.AccessWLAN, Interface: "wlan0", Reason: "not associated"}, nil
}

// service waits for the event Location status with this status.
func (a *app) service(want byte) {
	_, err := a.tk.Wait(a.ctx, func(e softuicc.Event) bool {
		if e.Code != cat.EventLocationStatus {
			return false
		}
		status, ok := serviceOf(e.Envelope)
		return ok && status == want
	})
	a.must(err)
}

// serviceOf reads a Location status event, which has its place where, and only where, the service is normal.
func serviceOf(envelope []byte) (status byte, ok bool) {
	e, err := cat.ParseEnvelope(envelope)
	if err != nil {
		return 0, false
	}
	v, has := cat.Find(e.Objects, cat.TagLocationStatus)
	info, placed := cat.Find(e.Objects, cat.TagLocationInfo)
	if !has || len(v.Value) != 1 || placed != (v.Value[0] == cat.LocationNormal) || placed && len(info.Value) != 7 {
		return 0, false
	}
	return v.Value[0], true
}

// located asks for the location and wants this result; the place is told unless there is no service.
func (a *app) located(want cat.GeneralResult) {
	r, err := a.tk.Do(a.ctx, &cat.ProvideLocalInformation{}, cat.LocalLocation, cat.DeviceTerminal)
	a.must(err)
	info, ok := cat.Find(r.Objects, cat.TagLocationInfo)
	if r.Result.General != want || ok != (want != cat.ResultTerminalUnable) || ok && hex.EncodeToString(info.Value) != "00f11000010001" {
		a.fail("location: %v, %v", r.Result, r.Objects)
	}
}

// TestWaitsForService has a card that opens no channel before it hears of normal service, as recorded IPA cards do: it is told when
// the AP's network comes and goes, and when the line is lost and comes back.
func TestWaitsForService(t *testing.T) {
	srv := echoServer(t)
	net := &switched{}
	var turnUp, turnDown, cut = make(chan struct{}), make(chan struct{}), make(chan struct{})
	b := start(t, options{
		ap: func(c *ap.Config) { c.Network, c.NetworkEvery = net, 10*time.Millisecond },
		applets: applets(func(a *app) {
			a.must(a.tk.SetUpEventList(a.ctx, cat.EventLocationStatus, cat.EventDataAvailable, cat.EventChannelStatus))
			a.service(cat.LocationLimited)
			a.located(cat.ResultLimitedService)
			close(turnUp)
			a.service(cat.LocationNormal)
			a.located(cat.ResultOK)
			c := a.dial(params(wlanBearer, cat.OpenImmediate, srv))
			a.echo(c)
			a.must(c.Close())
			close(turnDown)
			a.service(cat.LocationLimited)
			a.service(cat.LocationNormal)
			close(cut)
			a.service(cat.LocationLimited)
			a.service(cat.LocationNormal)
		}),
	})
	b.reached("the card heard of limited service", turnUp)
	if s := b.cp.Status().Service; s != "limited" {
		t.Errorf("bipctl shows %q", s)
	}
	net.up.Store(true)
	b.reached("the card has used its channel", turnDown)
	if s := b.cp.Status().Service; s != "normal" {
		t.Errorf("bipctl shows %q", s)
	}
	net.up.Store(false)
	b.log.Await(t, "the AP's network has changed", "up=false")
	net.up.Store(true)
	b.reached("the network has come back", cut)
	b.stopAP()
	b.awaitLine(false)
	b.startAP()
	b.wait()
}

// TestServiceFixed tells what is configured, whatever the network does, and normal service without an AP.
func TestServiceFixed(t *testing.T) {
	for name, tc := range map[string]struct {
		set    func(*cp.Config)
		status byte
		result cat.GeneralResult
	}{
		"no AP":           {func(c *cp.Config) { c.Line = nil }, cat.LocationNormal, cat.ResultOK},
		"no line":         {func(*cp.Config) {}, cat.LocationLimited, cat.ResultLimitedService},
		"fixed normal":    {func(c *cp.Config) { c.FixedLocation = true }, cat.LocationNormal, cat.ResultOK},
		"fixed limited":   {func(c *cp.Config) { c.Line, c.Location.Status, c.FixedLocation = nil, cat.LocationLimited, true }, cat.LocationLimited, cat.ResultLimitedService},
		"fixed none":      {func(c *cp.Config) { c.Line, c.Location.Status, c.FixedLocation = nil, cat.LocationNoService, true }, cat.LocationNoService, cat.ResultTerminalUnable},
		"a place of ours": {func(c *cp.Config) { c.Line, c.Location.Info = nil, []byte{0, 0xF1, 0x10, 0, 1, 0, 1} }, cat.LocationNormal, cat.ResultOK},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, alone(options{cp: tc.set, applets: applets(func(a *app) {
				a.must(a.tk.SetUpEventList(a.ctx, cat.EventLocationStatus))
				a.service(tc.status)
				a.located(tc.result)
			})}))
		})
	}
}

// TestServiceWithoutNetStat takes an AP that does not know AT%NETSTAT? for one whose network is up.
func TestServiceWithoutNetStat(t *testing.T) {
	strange := func(ctx context.Context, line ptylink.PeerConfig) error { return ptylink.NewPeer(line).Run(ctx) }
	run(t, options{apd: strange, applets: applets(func(a *app) {
		a.must(a.tk.SetUpEventList(a.ctx, cat.EventLocationStatus))
		a.service(cat.LocationNormal)
		a.located(cat.ResultOK)
	})})
}

// TestRecordedService reads in a recording that the card, told of limited or no service, opens no channel before it is told of normal
// service, and wants the terminal's events to be of the recorded form.
func TestRecordedService(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "vectors", "sessions", "card-a.jsonl")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the recordings are not beside this repository: no %s", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events := map[byte]int{}
	told, opened := cat.LocationNormal, 0 // the recording begins in the middle of a session
	for in := bufio.NewScanner(f); in.Scan(); {
		var l struct{ Command, CAPDU string }
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Command == "OPEN CHANNEL" {
			opened++
			if told != cat.LocationNormal {
				t.Errorf("the card opens a channel after the location status %02X", told)
			}
		}
		if !strings.HasSuffix(l.Command, "LOCATION STATUS") {
			continue
		}
		capdu, err := hex.DecodeString(l.CAPDU)
		if err != nil {
			t.Fatal(err)
		}
		e, err := cat.ParseEnvelope(capdu[5:])
		if err != nil {
			t.Fatal(err)
		}
		status, _ := cat.Find(e.Objects, cat.TagLocationStatus)
		info, _ := cat.Find(e.Objects, cat.TagLocationInfo)
		events[status.Value[0]]++
		told = status.Value[0]
		ours := cat.LocationStatusEvent(status.Value[0], cp.TestNetwork)
		if len(ours.Objects) != len(e.Objects) {
			t.Errorf("%s: ours has %d objects", l.CAPDU, len(ours.Objects))
			continue
		}
		for i, o := range ours.Objects {
			if o.Tag != e.Objects[i].Tag || i < 3 && string(o.Value) != string(e.Objects[i].Value) {
				t.Errorf("%s: object %d is %v", l.CAPDU, i, o)
			}
		}
		if status.Value[0] == cat.LocationNormal && len(info.Value) != 9 && len(info.Value) != len(cp.TestNetwork) {
			t.Errorf("%s: %d octets of location information", l.CAPDU, len(info.Value))
		}
	}
	if events[cat.LocationNormal] == 0 || events[cat.LocationLimited] == 0 || events[cat.LocationNoService] == 0 || opened == 0 {
		t.Errorf("events %v, %d channels: not of each kind", events, opened)
	}
}
