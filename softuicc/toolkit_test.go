package softuicc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/testkit"
	"bipd/uicc"
)

func toHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// moreTime is a MORE TIME with a given number.
func moreTime(number byte) []byte {
	return []byte{0xD0, 0x09, 0x81, 3, number, 2, 0, 0x82, 2, 0x81, 0x82}
}

func TestProactiveSession(t *testing.T) {
	testkit.NoLeaks(t)
	var answers []string
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		if !tk.Profile().Supports(cat.TypeOpenChannel) || tk.Profile().Channels() != 7 || tk.Profile().Supports(cat.TypeDisplayText) {
			return fmt.Errorf("profile %v", tk.Profile())
		}
		for n := byte(1); n <= 2; n++ {
			r, err := tk.DoRaw(ctx, moreTime(n))
			if err != nil {
				return err
			}
			answers = append(answers, toHex(r))
		}
		r, err := tk.Do(ctx, &cat.PollInterval{Interval: cat.Duration{Unit: 1, Interval: 30}}, 0, cat.DeviceTerminal)
		if err != nil || r.Result.General != cat.ResultOK || len(r.Objects) != 1 {
			return fmt.Errorf("poll interval: %v %v", r, err)
		}
		return nil
	}}})
	e := newTerminal(t, c)
	e.expect("80F2000C00", swOK) // nothing before TERMINAL PROFILE
	e.profile()
	want(t, "after TERMINAL PROFILE", e.sw, 0x910B)
	e.expect("00A4000C023F00", 0x910B) // every 9000 tells of the command
	e.expect("00A40004023F00", 0x611F)
	e.expect("801200000C", 0x6C0B)
	e.expect("8012000000", 0x6C0B)
	e.expect("801201000B", swParameters)
	e.sw = 0x910B
	m := e.fetch()
	want(t, "command", toHex(m), "D009810301020082028182")
	e.expectStatus()
	want(t, "STATUS in the session", e.sw, swOK)
	e.respond(m, "030100")
	want(t, "after TERMINAL RESPONSE", e.sw, 0x910B)
	m = e.fetch()
	e.respond(m, "830100")
	want(t, "after second TERMINAL RESPONSE", e.sw, 0x910F)
	e.respond(e.fetch(), "830100 8402011E")
	want(t, "at the end", e.sw, swOK)
	ended(t, c)
	want(t, "responses", strings.Join(answers, " "), "810301020082028281030100 810302020082028281830100")
	clean(t, c)
}

func TestAppletsTakeTurns(t *testing.T) {
	testkit.NoLeaks(t)
	const each = 4
	applet := func(base byte) Applet {
		return func(ctx context.Context, tk *Toolkit) error {
			for n := byte(0); n < each; n++ {
				if _, err := tk.DoRaw(ctx, moreTime(base+n)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	c := newCard(t, Config{Applets: []Applet{applet(0x10), applet(0x20), applet(0x30)}})
	e := newTerminal(t, c)
	e.profile()
	counts := map[byte]int{}
	for i := range 3 * each {
		allQueued(t, c)
		m := e.fetch()
		counts[m[4]>>4]++
		for b := byte(1); b <= 3; b++ {
			if n := counts[b]; n != i/3 && n != i/3+1 {
				t.Fatalf("after %d commands: %v", i+1, counts)
			}
		}
		e.respond(m, "830100")
	}
	ended(t, c)
	clean(t, c)
}

// allQueued waits until each applet that has not ended has a command with the card.
func allQueued(t *testing.T, c *Card) {
	t.Helper()
	for end := time.Now().Add(wait); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		c.mu.Lock()
		ready := true
		for _, tk := range c.kit.apps {
			ready = ready && (tk.ended || len(tk.queue) > 0 || c.kit.current != nil && c.kit.current.owner == tk)
		}
		c.mu.Unlock()
		if ready {
			return
		}
	}
	t.Fatal("an applet does not queue its command")
}

func TestThinkTime(t *testing.T) {
	testkit.NoLeaks(t)
	release := make(chan struct{})
	const think = 30 * time.Millisecond // passes in full once
	c := newCard(t, Config{ThinkTime: think, Applets: []Applet{
		func(ctx context.Context, tk *Toolkit) error { // thinks outside the toolkit, once, for long
			select {
			case <-release:
			case <-ctx.Done():
			}
			_, err := tk.DoRaw(ctx, moreTime(7))
			return err
		},
	}})
	e := newTerminal(t, c)
	start := time.Now()
	e.profile()
	if took := time.Since(start); took < think || e.sw != swOK {
		t.Errorf("TERMINAL PROFILE answered %04X after %v, think time is %v", e.sw, took, think)
	}
	c.mu.Lock()
	c.cfg.ThinkTime = time.Hour // more than the terminal waits for an answer, if it began anew
	deadline := c.kit.deadline
	c.mu.Unlock()
	for range 20 {
		e.expectStatus()
	}
	c.mu.Lock()
	want(t, "end of the think time, which counts from what woke the applet", c.kit.deadline, deadline)
	c.mu.Unlock()
	close(release)
	e.respond(e.fetch(), "830100")
	ended(t, c)
	clean(t, c)
}

func TestWaitingAppletsCostNothing(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{ThinkTime: wait, Applets: []Applet{
		func(ctx context.Context, tk *Toolkit) error {
			_, err := tk.Wait(ctx, OfCode(cat.EventLocationStatus))
			return onlyReset(err)
		},
	}})
	e := newTerminal(t, c)
	start := time.Now()
	e.profile()
	e.expectStatus()
	if took := time.Since(start); took > wait/2 {
		t.Errorf("two APDUs took %v while the applet waits", took)
	}
}

func TestEvents(t *testing.T) {
	testkit.NoLeaks(t)
	got := make(chan string, 10)
	watch := func(name string, codes ...cat.EventCode) Applet {
		return func(ctx context.Context, tk *Toolkit) error {
			if err := tk.SetUpEventList(ctx, codes...); err != nil {
				return err
			}
			ev, err := tk.Wait(ctx, OfCode(codes...))
			if err != nil {
				return err
			}
			got <- name + ": " + ev.String()
			return nil
		}
	}
	timer := func(ctx context.Context, tk *Toolkit) error {
		v := cat.TimerValue(time.Minute)
		r, err := tk.Do(ctx, &cat.TimerManagement{Timer: 3, Value: &v}, cat.TimerStart, cat.DeviceTerminal)
		if err != nil || r.Result.General != 0 {
			return fmt.Errorf("timer: %v %v", r, err)
		}
		ev, err := tk.Wait(ctx, nil)
		got <- "timer: " + ev.String()
		if err != nil {
			return err
		}
		ev, err = tk.Wait(ctx, func(e Event) bool { return e.Tag == 0xD1 })
		got <- "timer: " + ev.String()
		return err
	}
	c := newCard(t, Config{
		SMSPPAnswer: []byte{1, 2, 3},
		Applets:     []Applet{watch("a", cat.EventLocationStatus), watch("b", cat.EventDataAvailable, cat.EventChannelStatus), timer},
	})
	e := newTerminal(t, c)
	e.profile()
	lists := map[string]bool{}
	for range 3 {
		m := e.fetch()
		if m[5] == 0x05 {
			lists[toHex(m[13:])] = true
			e.respond(m, "830100")
		} else {
			e.respond(m, "830100 A40103")
		}
	}
	if !lists["03090A"] {
		t.Errorf("event lists %v; the last has to hold what any applet wants", lists)
	}
	c.SetQuirks(Quirks{Busy: 1})
	e.envelope("D60A 990103 82028281 9B0102")
	want(t, "busy", e.sw, swToolkitBusy)
	e.envelope("D60A 990103 82028281 9B0102")
	e.envelope("D70C 82028281 A40103 A503001000")
	e.envelope("D109 82028381 8B03010203")
	want(t, "SMS-PP", e.sw, 0x6103)
	want(t, "proof of receipt", toHex(e.expect("00C0000003", swOK)), "010203")
	e.envelope("D60B 99010A 82028281 B8020105") // no such channel: judged, yet delivered
	ended(t, c)
	close(got)
	events := map[string]bool{}
	for s := range got {
		events[s] = true
	}
	for _, s := range []string{"a: Location status", "timer: timer 3 expired", "timer: SMS-PP download, TPDU of 3 octets", "b: Channel status"} {
		if !events[s] {
			t.Errorf("event %q missing in %v", s, events)
		}
	}
	if v := c.Violations(); len(v) != 1 || !strings.Contains(v[0].Text, "channel 1, which is not open") {
		t.Errorf("violations %v", v)
	}
}

func TestResetEndsApplets(t *testing.T) {
	testkit.NoLeaks(t)
	results := make(chan error, 2)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		_, err := tk.DoRaw(ctx, moreTime(1))
		results <- err
		<-ctx.Done()
		_, err = tk.DoRaw(context.Background(), moreTime(2))
		results <- err
		return nil
	}}})
	e := newTerminal(t, c)
	e.profile()
	e.fetch()
	if err := c.Reset(e.ctx, uicc.ColdReset); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := next(t, "what the applet got", results); !errors.Is(err, ErrReset) && !errors.Is(err, context.Canceled) {
			t.Errorf("after the reset: %v", err)
		}
	}
	e.sw = 0
	e.expect("80F2000C00", swOK) // the command died with the session
	e.profile()
	want(t, "after the second TERMINAL PROFILE", e.sw, 0x910B)
}

func TestWithdraw(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{Applets: []Applet{
		func(ctx context.Context, tk *Toolkit) error {
			if _, err := tk.DoRaw(ctx, make([]byte, 256)); err == nil {
				return errors.New("a command of 256 octets was accepted")
			}
			_, err := tk.DoRaw(ctx, moreTime(1))
			return err
		},
		func(ctx context.Context, tk *Toolkit) error {
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			for {
				if _, err := tk.DoRaw(short, moreTime(2)); err != nil {
					break
				}
			}
			_, err := tk.DoRaw(ctx, moreTime(3))
			return err
		},
	}})
	e := newTerminal(t, c)
	e.profile()
	seen := map[byte]bool{}
	for !seen[1] || !seen[3] {
		m := e.fetch()
		time.Sleep(2 * time.Millisecond) // longer than the second applet's patience
		seen[m[4]] = true
		e.respond(m, "830100")
	}
	ended(t, c)
	clean(t, c)
}

func TestMalformedCommandsReachTheTerminal(t *testing.T) {
	commands := []string{"D0", "FF", "D009 810301400082028182", "D003 810301", "D0820102"}
	var answers []string
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		for _, s := range commands {
			b, _ := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
			r, err := tk.DoRaw(ctx, b)
			if err != nil {
				return err
			}
			answers = append(answers, toHex(r))
		}
		return nil
	}}})
	e := newTerminal(t, c)
	e.profile()
	for _, s := range commands {
		m := e.fetch()
		want(t, "command", toHex(m), strings.ReplaceAll(s, " ", ""))
		if s == commands[2] {
			e.respond(m, "830136")
		} else {
			e.command(0x14, unhex(t, "8103000000 82028281 830132"))
		}
	}
	ended(t, c)
	want(t, "responses", len(answers), len(commands))
	clean(t, c)
}

// TestRawEventList has an applet that spells its own SET UP EVENT LIST get its events, and lose them with the next list.
func TestRawEventList(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		if _, err := tk.DoRaw(ctx, unhex(t, evl)); err != nil {
			return err
		}
		ev, err := tk.Wait(ctx, OfCode(cat.EventLocationStatus))
		if err != nil || ev.Code != cat.EventLocationStatus {
			return fmt.Errorf("event %v, %v", ev, err)
		}
		if _, err := tk.DoRaw(ctx, unhex(t, pc("05", "00", "82", "990109"))); err != nil {
			return err
		}
		_, err = tk.Wait(ctx, nil)
		return onlyReset(err)
	}}})
	e := newTerminal(t, c)
	e.profile()
	e.respond(e.fetch(), ok)
	e.envelope("D60A 990103 82028281 9B0102")
	e.respond(e.fetch(), ok)
	for range maxEvents + 10 {
		e.envelope("D60A 990103 82028281 9B0102") // not wanted any more: not kept
	}
	c.mu.Lock()
	want(t, "events kept", len(c.kit.apps[0].events), 0)
	c.mu.Unlock()
	if v := c.Violations(); len(v) != maxEvents+10 || !strings.Contains(v[0].Text, "event 03, to which no") {
		t.Errorf("%d violations", len(v))
	}
}

// TestEventsAreBounded has an applet that never looks at its events.
func TestEventsAreBounded(t *testing.T) {
	testkit.NoLeaks(t)
	done := make(chan struct{})
	c := newCard(t, Config{ThinkTime: time.Nanosecond, Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		select {
		case <-done:
		case <-ctx.Done():
		}
		for range maxEvents {
			if _, err := tk.Wait(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	}}})
	e := newTerminal(t, c)
	e.profile()
	for range maxEvents + 10 {
		e.envelope("D109 82028381 8B03010203")
	}
	close(done)
	ended(t, c)
}

// TestGSM runs the toolkit of a GSM SIM: class A0 alone, 9Fxx for response data.
func TestGSM(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{GSM: true, SMSPPAnswer: []byte{7}, Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		_, err := tk.DoRaw(ctx, moreTime(1))
		return err
	}}})
	e := newTerminal(t, c)
	e.expect("8010000001 01", swClass)
	profile := unhex(t, goodProfile)
	e.send(append([]byte{0xA0, 0x10, 0, 0, byte(len(profile))}, profile...)...)
	want(t, "TERMINAL PROFILE", e.sw, 0x910B)
	e.expect("A0F2000016", 0x910B)
	e.expect("A01200000C", 0x670B)
	e.expect("A01200000B", swOK)
	e.expect("A01400000C 810301020082028281830100", swOK)
	e.expect("A0C200000B D109 82028381 8B03010203", 0x9F01)
	want(t, "SMS-PP answer", toHex(e.expect("A0C0000001", swOK)), "07")
	ended(t, c)
	clean(t, c)
}
