package cp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bipd/ap"
	"bipd/cat"
	"bipd/internal/control"
	"bipd/internal/cp"
	"bipd/ptylink"
	"bipd/softuicc"
)

// flooded are limits of which the test sees the first fill alone, unless it takes minutes.
var flooded = cp.Limits{OpenChannel: 1, OpenBurst: 5, ShortMessages: 3, Resets: 2, LogLines: 20}

// TestFlood has a card that asks for all that costs something, again and again. What it gets is within the limits, each refusal has
// its result, and the operator is told how often.
func TestFlood(t *testing.T) {
	const rounds = 60
	var connections, messages, runs atomic.Int32
	server := tcpServer(t, "127.0.0.1:0", func(c *net.TCPConn) { connections.Add(1); io.Copy(struct{ io.Writer }{c}, c) })
	began := time.Now()
	var opened, sent, texts, ended int
	flood := func(a *app) {
		if runs.Add(1) <= int32(flooded.Resets)+1 { // one reset is refused at last
			for range rounds / 3 {
				a.flood(&opened, &sent, params(packetBearer, cat.OpenImmediate, server))
				a.want(cat.ResultOK, cat.NewDisplayText("flood"), 0, cat.DeviceDisplay)
				texts++
				_, err := a.tk.DoRaw(a.ctx, []byte{0xD0, 0x09, 0x81, 0x03, 0x01, 0x7F, 0x00, 0x82, 0x02, 0x81, 0x82})
				a.must(err)
			}
		}
		for {
			r, err := a.tk.Do(a.ctx, &cat.Refresh{}, cat.RefreshUICCReset, cat.DeviceTerminal)
			if errors.Is(err, softuicc.ErrReset) {
				panic(failure{err})
			}
			a.must(err)
			if !isLater(r.Result) {
				a.fail("REFRESH answered %v", r.Result)
			}
			if ended++; ended == 10 {
				return
			}
		}
	}
	b := start(t, alone(options{tolerate: floods, applets: applets(flood), cp: func(c *cp.Config) {
		c.Limits, c.ShowTexts, c.Line = flooded, true, nil
		c.SendSMS = func(context.Context, cat.ShortMessage) error { messages.Add(1); return nil }
	}}))
	eventually(t, "the card's last round", func() bool { return runs.Load() > int32(flooded.Resets) })
	b.wait()
	minutes := int(time.Since(began).Minutes()) + 1 // a limit that is full again lets more through
	if n := int(connections.Load()); n > 5+minutes || n < 5 || n != opened {
		t.Errorf("%d connections, %d of them opened", n, opened)
	}
	if n := int(messages.Load()); n > 3+minutes || n < 3 || n != sent {
		t.Errorf("%d short messages, %d of them sent", n, sent)
	}
	over := b.cp.Status().Over
	if want := (control.Over{OpenChannel: int64(rounds - opened), ShortMessages: int64(rounds - sent), Resets: 10}); over.LogLines < 50 ||
		over.OpenChannel != want.OpenChannel || over.ShortMessages != want.ShortMessages || over.Resets != want.Resets {
		t.Errorf("over %+v, want %+v and log lines", over, want)
	}
	if n := len(b.log.Lines("card=card0")) - len(b.log.Lines("level=DEBUG", "card=card0")); n > 20*minutes+minutes+20 {
		t.Errorf("%d lines in the log for %d texts and as many of each other command:\n%s", n, texts, b.log)
	}
}

// isLater tells the result of what may be had again later.
func isLater(r cat.Result) bool {
	return r.General == cat.ResultTerminalUnable && bytes.Equal(r.Info, []byte{cat.InfoNoSpecificCause})
}

// flood opens and closes a channel and sends a short message, and notes what was granted.
func (a *app) flood(opened, sent *int, p softuicc.DialParams) {
	c, err := a.tk.Dial(a.ctx, p)
	var refused *softuicc.ResultError
	switch {
	case err == nil:
		*opened++
		a.echo(c)
		a.must(c.Close())
	case !errors.As(err, &refused) || !isLater(refused.Result):
		a.fail("OPEN CHANNEL: %v", err)
	}
	r, err := a.tk.Do(a.ctx, &cat.SendShortMessage{TPDU: []byte{1}}, 0, cat.DeviceNetwork)
	a.must(err)
	switch {
	case r.Result.General == cat.ResultOK:
		*sent++
	case !isLater(r.Result):
		a.fail("SEND SHORT MESSAGE answered %v", r.Result)
	}
}

// floods are violations of which the flooding card is the cause: it uses what does not exist.
func floods(v softuicc.Violation) bool { return strings.Contains(fmt.Sprint(v), "7F") }

// TestFloodingAP has an AP tell changes of its network without end: the log is bounded, and says how much it left out.
func TestFloodingAP(t *testing.T) {
	flooding := func(ctx context.Context, line ptylink.PeerConfig) error {
		p := ptylink.NewPeer(line)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for up := false; ctx.Err() == nil; up = !up {
				lines, _ := ptylink.NetStat{Up: up, Interface: "wlan0"}.Lines()
				p.Notify(lines[0])
				p.Notify(ptylink.WebStat{Channel: 1}.Line())
				time.Sleep(time.Millisecond) // the peer drops what the line does not take
			}
		}()
		defer func() { <-ended }()
		return p.Run(ctx)
	}
	began := time.Now()
	b := start(t, options{quiet: true, apd: flooding, cp: func(c *cp.Config) { c.Limits.LogLines = 20 }, applets: applets(func(a *app) {
		a.must(a.tk.SetUpEventList(a.ctx, cat.EventLocationStatus))
		a.service(cat.LocationNormal)
		a.service(cat.LocationLimited)
	})})
	eventually(t, "200 lines were left out", func() bool { return b.cp.Status().Over.LogLines > 200 })
	b.wait()
	minutes := int(time.Since(began).Minutes()) + 1
	if n := len(b.log.Lines("the AP")); n > 20*(minutes+1) {
		t.Errorf("%d lines of what the AP says", n)
	}
}

// TestTooManyAtTheAP has the AP refuse what is beyond its limit for the line: the card hears the same as from the CP's own.
func TestTooManyAtTheAP(t *testing.T) {
	srv := echoServer(t)
	run(t, options{ap: func(c *ap.Config) { c.Limits.Connections = 1 }, applets: applets(func(a *app) {
		c := a.dial(params(wlanBearer, cat.OpenImmediate, srv))
		a.echo(c)
		a.must(c.Close())
		a.refused(params(wlanBearer, cat.OpenImmediate, srv), 0x20, 0x00)
	})})
}
