package cp_test

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"bipd/trace"
)

// eventually waits a bounded time for what no event tells.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testTime); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not come about: %s\n%s", what, stacks())
		}
	}
}

// needles are the secrets in each form in which they might show: text, and hex of 8-bit, UCS2 and packed 7-bit coding.
var needles = func() map[string]string {
	forms := map[string]string{}
	for _, s := range []string{pin, profilePassword, cardLogin, cardPassword} {
		forms[strings.ToLower(s)] = s
		forms[hex.EncodeToString([]byte(s))] = s
		forms[hex.EncodeToString(ucs2(s))] = s
		forms[hex.EncodeToString(packed(s))] = s
	}
	return forms
}()

func ucs2(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// packed packs ASCII letters, digits and hyphens, which GSM's alphabet has at the same places, into 7 bits each.
func packed(s string) []byte {
	var b []byte
	bits, n := 0, 0
	for i := range len(s) {
		bits |= int(s[i]) << n
		for n += 7; n >= 8; n -= 8 {
			b = append(b, byte(bits))
			bits >>= 8
		}
	}
	if n > 0 {
		b = append(b, byte(bits))
	}
	return b
}

// noSecret fails the test where a secret shows.
func noSecret(t testing.TB, where, text string) {
	t.Helper()
	if needle := shownSecret(text); needle != "" {
		i := strings.Index(strings.ToLower(text), needle)
		t.Errorf("%s shows the secret %q as %q: ...%s...", where, needles[needle], needle, text[max(0, i-200):min(len(text), i+200)])
	}
}

// shownSecret is the form in which a text shows a secret; empty: it shows none.
func shownSecret(text string) string {
	low := strings.ToLower(text)
	for needle := range needles {
		if strings.Contains(low, needle) {
			return needle
		}
	}
	return ""
}

// watcher takes the events of both daemons as they come, keeps those of steps, and searches all for secrets.
type watcher struct {
	streams []*trace.Stream
	subs    []*trace.Subscription
	running sync.WaitGroup

	mu     sync.Mutex
	kept   [][]trace.Event
	shown  []trace.Event // that have a secret
	apdus  int
	change chan struct{} // closed and renewed at each event kept
}

func watchStreams(streams ...*trace.Stream) *watcher {
	w := &watcher{streams: streams, kept: make([][]trace.Event, len(streams)), change: make(chan struct{})}
	for i, s := range streams {
		sub := s.Subscribe(1 << 16)
		w.subs = append(w.subs, sub)
		w.running.Go(func() {
			for e := range sub.C {
				w.take(i, e)
			}
		})
	}
	return w
}

func (w *watcher) take(stream int, e trace.Event) {
	secret := shownSecret(e.What+" "+e.Err+" "+e.APDU+" "+e.RAPDU+" "+e.Card) != ""
	w.mu.Lock()
	defer w.mu.Unlock()
	if secret && len(w.shown) < 5 {
		w.shown = append(w.shown, e)
	}
	if e.APDU != "" {
		w.apdus++
		return
	}
	w.kept[stream] = append(w.kept[stream], e)
	close(w.change)
	w.change = make(chan struct{})
}

// all gives the events of both daemons on one time line.
func (w *watcher) all() []trace.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return trace.Merge(w.kept...)
}

// await waits until the events fulfil a condition, which says what is missing.
func (w *watcher) await(t testing.TB, is func([]trace.Event) error) {
	t.Helper()
	timeout := time.After(testTime)
	for {
		w.mu.Lock()
		change := w.change
		w.mu.Unlock()
		err := is(w.all())
		if err == nil {
			return
		}
		select {
		case <-change:
		case <-timeout:
			t.Fatal(err)
		}
	}
}

// caughtUp waits until all was looked at that the daemons have told so far.
func (w *watcher) caughtUp(t testing.TB) {
	t.Helper()
	mark := fmt.Sprint("mark ", time.Now().UnixNano())
	for _, s := range w.streams {
		s.Emit(trace.Event{What: mark})
	}
	w.await(t, func(events []trace.Event) error {
		n := 0
		for _, e := range events {
			if e.What == mark {
				n++
			}
		}
		if n < len(w.streams) {
			return fmt.Errorf("%d of %d traces were looked at to their end", n, len(w.streams))
		}
		return nil
	})
}

// has reports whether an event has the step and, in its text, the part.
func (w *watcher) has(step, part string) bool {
	return slices.ContainsFunc(w.all(), func(e trace.Event) bool { return e.Step == step && strings.Contains(e.What, part) })
}

// exchanges counts the APDUs.
func (w *watcher) exchanges() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.apdus
}

func (w *watcher) close(t testing.TB) {
	t.Helper()
	for _, s := range w.subs {
		s.Close()
	}
	w.running.Wait()
	for _, s := range w.subs {
		if n := s.Dropped(); n > 0 {
			t.Errorf("%d events were not looked at", n)
		}
	}
	for _, e := range w.shown {
		t.Errorf("the trace shows a secret: %+v", e)
	}
}
