package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bipd/cat"
	"bipd/internal/netbed"
	"bipd/softuicc"
	"bipd/trace"
)

// stand is bipd and apd on their hosts, as in the demonstration, for tests to put cards in and to break things.
type stand struct {
	*testing.T
	ctx  context.Context
	net  *network
	dir  string
	term *terminalProcess

	events []trace.Event // of all cards so far
}

// standTime bounds all that a test does on a stand.
const standTime = 120 * time.Second

// profilePassword is in the demonstration's profiles.toml.
const profilePassword = "not to be seen in any log"

// newStand starts bipd and apd; more is appended to their configurations, by file name. At the end nothing of a
// password may be in a log or in a trace event.
func newStand(t *testing.T, m trace.Method, more map[string]string) *stand {
	t.Helper()
	bin := daemons(t)
	bed := netbed.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), standTime)
	t.Cleanup(cancel)
	n, err := newNet(bed, m)
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{T: t, ctx: ctx, net: n, dir: shortDir(t)}
	configs := demoConfigs(s.dir)
	for name, text := range more {
		of, rules := strings.CutSuffix(name, " rules")
		switch {
		case text == noRules:
			configs[of] = strings.Replace(configs[of], demoRules, "", 1)
		case rules: // before the others
			configs[of] = strings.Replace(configs[of], demoRules, text+demoRules, 1)
		default:
			configs[name] += text
		}
	}
	// The daemons outlive ctx, which ends before the cleanup: they are ended as by an operator.
	if s.term, err = startTerminal(context.WithoutCancel(ctx), bin, s.dir, n, configs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.term.close()
		if t.Failed() {
			t.Log(s.term.lastWords())
		}
		s.noSecret(profilePassword)
	})
	return s
}

// noRules as rules takes those of the demonstration away.
const noRules = "none"

// eachMethod runs the test on a stand of each method.
func eachMethod(t *testing.T, more map[string]string, test func(s *stand)) {
	for _, m := range []trace.Method{trace.Method1, trace.Method2} {
		t.Run(fmt.Sprintf("method%d", m), func(t *testing.T) {
			t.Parallel()
			test(newStand(t, m, more))
		})
	}
}

// dial has the card ask for the bearer that the stand's method carries, in background mode, where q is none other.
func (s *stand) dial(q byte) softuicc.DialParams {
	return softuicc.DialParams{Bearer: cardJob{method: s.net.method}.bearer(), BufferSize: 1400, Qualifier: q, NetworkAccessName: "internet"}
}

const background = cat.OpenImmediate | cat.OpenBackground

// server is an address of the server with a port.
func (s *stand) server(port int) string { return fmt.Sprintf("%v:%d", s.net.server, port) }

// sight is an event that a test wants to see.
type sight struct {
	what string
	is   func(e trace.Event) bool
}

// use puts a card in and takes it out when its applet has ended and all was seen that is wanted. It returns the applet's error,
// and keeps the events.
func (s *stand) use(applet softuicc.Applet, wanted ...sight) error {
	s.Helper()
	rec := s.record()
	err := useCard(s.ctx, s.term.reader, func() { // events may come long after what they tell of
		rec.until(within, func(since []trace.Event) bool {
			wanted = slices.DeleteFunc(wanted, func(w sight) bool { return slices.ContainsFunc(since, w.is) })
			return len(wanted) == 0
		})
	}, applet)
	s.events = append(s.events, rec.stop()...)
	if err == nil {
		for _, w := range wanted {
			s.Errorf("no event: %s", w.what)
		}
	}
	return err
}

// useThrough is use for a card whose one channel is to go through all steps of the method.
func (s *stand) useThrough(applet softuicc.Applet) {
	s.Helper()
	rec := s.record()
	err := useCard(s.ctx, s.term.reader, func() { rec.settle(s.net.method) }, applet)
	events := rec.stop()
	s.events = append(s.events, events...)
	if err != nil {
		s.Error(err)
		return
	}
	if err := trace.CheckOrder(events, s.net.method, 1); err != nil {
		s.Error(err)
	}
}

func (s *stand) record() *recording {
	s.Helper()
	rec, err := record(s.ctx, s.term.sockets()...)
	if err != nil {
		s.Fatal(err)
	}
	return rec
}

// log is all that a daemon has logged.
func (s *stand) log(p *process) string {
	s.Helper()
	b, err := os.ReadFile(p.log)
	if err != nil {
		s.Fatal(err)
	}
	return string(b)
}

// logged wants a line of a daemon's log that has all the words. It may come after what it tells of.
func (s *stand) logged(p *process, words ...string) {
	s.Helper()
	for end := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		late := time.Now().After(end)
		text := s.log(p)
		for line := range strings.Lines(text) {
			if hasAll(line, words) {
				return
			}
		}
		if late {
			s.Errorf("%s: no line of the log has %q:\n%s", p.name, words, text)
			return
		}
	}
}

// noSecret wants the secret, as text or in hex, in no log and no event.
func (s *stand) noSecret(secret string) {
	s.Helper()
	var events strings.Builder // their texts alone: the events of a large file are many
	for _, e := range s.events {
		for _, text := range []string{e.Card, e.What, e.Err, e.APDU, e.RAPDU} {
			events.WriteString(text + "\n")
		}
	}
	places := map[string]string{"trace": events.String()}
	logs, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil || len(logs) < 2 {
		s.Errorf("logs %v, %v", logs, err)
	}
	for _, file := range logs {
		b, err := os.ReadFile(file)
		if err != nil {
			s.Error(err)
		}
		places[filepath.Base(file)] = string(b)
	}
	inHex := hex.EncodeToString([]byte(secret))
	for place, text := range places {
		for _, form := range []string{secret, inHex, strings.ToUpper(inHex)} {
			if i := strings.Index(text, form); i >= 0 {
				s.Errorf("%s holds a password: ...%s...", place, text[max(0, i-100):min(len(text), i+len(form)+20)])
			}
		}
	}
}
