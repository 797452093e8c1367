package bip_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"bipd/bip"
	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/trace"
)

// TestStepsOfMethod1 has a channel in background mode go through the steps in their order.
func TestStepsOfMethod1(t *testing.T) {
	srv := tcpServer(t, echo)
	stream := &trace.Stream{Source: "bipd"}
	sub := stream.Subscribe(1 << 12)
	// What the line to the AP traces.
	network := func(_ context.Context, r bip.Request) (bip.Access, error) {
		stream.Emit(trace.Event{Card: r.Card, Channel: r.Channel, Step: "S402", From: trace.CP, To: trace.AP, What: "AT%GETNET"})
		stream.Emit(trace.Event{Card: r.Card, Channel: r.Channel, Step: "S403", From: trace.AP, To: trace.CP, What: "%NETPAR"})
		return bip.Access{}, nil
	}
	router := &bip.Table{Method1: &bip.KernelBearer{Network: network, Trace: stream}}
	var events []trace.Event
	run(t, options{router: router, config: bip.Config{Trace: stream}, applets: applets(func(a *app) {
		a.both()
		id, _ := a.open(openBody("tcp", srv), cat.OpenImmediate|cat.OpenBackground)
		a.established(id)
		for range 3 {
			a.send(id, ramp(0, 229))
			a.read(id, 229)
		}
		a.close(id)
		for done := false; !done; {
			select {
			case e := <-sub.C:
				events = append(events, e)
				done = e.Step == "S415" && e.From == trace.Server
			case <-a.ctx.Done():
				a.fail("the far end does not close: %v", events)
			}
		}
	})})
	if err := trace.CheckOrder(events, trace.Method1, 1); err != nil {
		t.Error(err)
	}
	sent, received := 0, 0
	for _, e := range events {
		switch e.Step {
		case "S408":
			sent += e.Bytes
		case "S412":
			received += e.Bytes
		}
	}
	if sent != 3*229 || received != 3*229 {
		t.Errorf("the trace tells of %d octets sent and %d received", sent, received)
	}
}

// TestNoCredentials sends login and password in right and in broken commands: neither log nor trace shows them.
func TestNoCredentials(t *testing.T) {
	const login, password = "alice-login", "s3cret-word"
	srv, nobody := tcpServer(t, echo), testkit.ClosedPort(t)
	stream := &trace.Stream{}
	sub := stream.Subscribe(1 << 12)
	cfg := bip.Config{Trace: stream}
	term := run(t, options{router: kernel(stream), config: cfg, tolerate: unknownObject, applets: applets(func(a *app) {
		with := func(remote cat.Body) *cat.OpenChannel {
			o := remote.(*cat.OpenChannel)
			o.Login, o.Password = ptr(cat.NewText(login)), ptr(cat.NewText(password))
			return o
		}
		id, _ := a.open(with(openBody("tcp", srv)), cat.OpenImmediate)
		a.close(id)
		a.refusedOpen(with(openBody("tcp", nobody)), cat.OpenImmediate, 0x3A, 0x00)
		local := with(openBody("tcp", srv))
		local.Transport.Protocol = cat.DirectChannel
		a.refusedOpen(local, cat.OpenImmediate, 0x3A, 0x06)
		lacking := with(openBody("tcp", srv))
		lacking.Destination = nil
		a.do(lacking, cat.OpenImmediate, cat.DeviceTerminal, 0x36)
		// An object in which the length is wrong, behind the credentials.
		command := cat.NewCommand(1, cat.OpenImmediate, with(openBody("tcp", srv))).Append(nil)
		command[len(command)-6] = 0x7D // the length of the destination
		_, err := a.tk.DoRaw(a.ctx, command)
		a.must(err)
	})})
	sub.Close()
	var all strings.Builder
	all.WriteString(term.log.String())
	for e := range sub.C {
		fmt.Fprintf(&all, "%+v\n", e)
	}
	for _, secret := range []string{login, password} {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))} {
			if at := strings.Index(all.String(), form); at >= 0 {
				t.Errorf("%q is shown: ...%s...", form, all.String()[max(0, at-200):min(all.Len(), at+100)])
			}
		}
	}
	if n := bytes.Count([]byte(all.String()), []byte("proactive command refused")); n != 2 {
		t.Errorf("%d commands were refused in the log, want 2", n)
	}
}
