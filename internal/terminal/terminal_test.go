package terminal

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/config"
	"bipd/internal/control"
	"bipd/internal/readers"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/trace"
)

// patience bounds what a test waits for.
const patience = 30 * time.Second

// stand is a Terminal with emulated readers.
type stand struct {
	*testing.T
	term *Terminal
	bus  *bus
	log  *testkit.Log
	stop func()
}

// start runs a Terminal of this configuration, with the readers of the bus, until stop or the end of the test.
func start(t *testing.T, b *bus, text string) *stand {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bipd.toml")
	if err := os.WriteFile(file, []byte("[terminal]\npoll_interval = \"1s\"\nfinish_time = \"1s\"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadBipd(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &stand{T: t, bus: b, log: &testkit.Log{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.term, err = New(Config{File: c, Hub: ccid.NewHub(ccid.Config{Bus: b, Log: log}), Log: log, Trace: &trace.Stream{}})
	if err != nil {
		t.Fatal(err)
	}
	s.term.lineWait = patience // of the cards of ccid:*
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.term.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Errorf("Run does not end:\n%s", stacks())
		}
		if err := s.term.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func stacks() []byte {
	buf := make([]byte, 1<<17)
	return buf[:runtime.Stack(buf, true)]
}

// newCard makes a card, which the test's end closes.
func newCard(t testing.TB) *softuicc.Card {
	t.Helper()
	c, err := softuicc.New(softuicc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// insert puts a new card into the first slot.
func insert(t testing.TB, r *ccidemu.Reader) *softuicc.Card {
	t.Helper()
	c := newCard(t)
	if err := r.Insert(0, c, softuicc.ContactsConfig{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// await waits until is gives "", which says what is not as wanted.
func (s *stand) await(is func() string) {
	s.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		wrong := is()
		if wrong == "" {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("not within %v: %s", patience, wrong)
		}
	}
}

// awaitCards waits until the cards are these, "name state" each, in this order.
func (s *stand) awaitCards(want ...string) {
	s.Helper()
	s.await(func() string {
		var got []string
		for _, c := range s.term.Cards() {
			got = append(got, c.Name+" "+c.State)
		}
		if slices.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("the cards are %q, want %q", got, want)
	})
}

// TestCardComesAndGoes has a software card that dials in and leaves without end: what that writes into the log is bounded, and
// what is left out is counted.
func TestCardComesAndGoes(t *testing.T) {
	const lines, rounds = 10, 200
	socket := filepath.Join(t.TempDir(), "card")
	began := time.Now()
	s := start(t, newBus(t), fmt.Sprintf("[limits]\nlog_lines = %d\n[[card]]\nname = \"soft\"\nreader = \"vpcd:unix:%s\"\n", lines, socket))
	for range rounds {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(c, make([]byte, 3)); err != nil { // power off: the terminal has noticed it
			t.Fatal(err)
		}
		c.Close()
	}
	s.await(func() string {
		if n := s.card("soft").Over.LogLines; n < rounds {
			return fmt.Sprintf("%d lines were left out", n)
		}
		return ""
	})
	minutes := int(time.Since(began).Minutes()) + 1
	if n := len(s.log.Lines("level=")) - len(s.log.Lines("level=DEBUG")); n > 2*(lines*(minutes+1)+minutes) {
		t.Errorf("%d lines", n)
	}
}

// card is the status of a card.
func (s *stand) card(name string) control.Card {
	s.Helper()
	for _, c := range s.term.Cards() {
		if c.Name == name {
			return c
		}
	}
	s.Fatalf("no card %s among %+v", name, s.term.Cards())
	return control.Card{}
}

// Without a card in the configuration every slot is one as long as its reader is plugged in.
func TestEverySlot(t *testing.T) {
	b := newBus(t)
	first := b.plug(t, "1-1.2", ccidemu.PCTwin())
	insert(t, first)
	s := start(t, b, "")
	s.awaitCards("1-1.2.0 serving")
	if c := s.card("1-1.2.0"); c.Reader != "USB SmartCard Reader [1-1.2] slot 0" || c.ATR == "" || c.Line != "none" {
		t.Errorf("status %+v", c)
	}
	second := b.plug(t, "1-1.1", ccidemu.CardMan3121())
	s.awaitCards("1-1.1.0 absent", "1-1.2.0 serving")
	insert(t, second)
	s.awaitCards("1-1.1.0 serving", "1-1.2.0 serving")
	first.Remove(0)
	s.awaitCards("1-1.1.0 serving", "1-1.2.0 absent")
	insert(t, first)
	s.awaitCards("1-1.1.0 serving", "1-1.2.0 serving")
	b.unplug("1-1.2")
	s.awaitCards("1-1.1.0 serving")
	b.unplug("1-1.1")
	s.awaitCards()
	for range 3 { // one after the other at one place
		insert(t, b.plug(t, "1-1.2", ccidemu.SCR3310()))
		s.awaitCards("1-1.2.0 serving")
		b.unplug("1-1.2")
		s.awaitCards()
	}
	if n := len(s.log.Lines("slot of a USB reader is a card's", "slot=1-1.2.0")); n != 4 {
		t.Errorf("the log tells of the slot %d times", n)
	}
}

// Cards of the configuration stay when their reader goes, and say why it is not there.
func TestNamedCards(t *testing.T) {
	b := newBus(t)
	s := start(t, b, `
[[card]]
name = "by-path"
reader = "ccid:path=1-1.2"
[[card]]
name = "by-id"
reader = "ccid:id=076b:3021"
[[card]]
name = "second-slot"
reader = "ccid:path=1-1.2,slot=1"
`)
	const gone = "the reader is gone: no such USB reader is there"
	for _, name := range []string{"by-path", "by-id", "second-slot"} {
		s.await(func() string {
			if c := s.card(name); c.State != "absent" || c.Error != gone {
				return fmt.Sprintf("status %+v", c)
			}
			return ""
		})
	}
	insert(t, b.plug(t, "1-1.2", ccidemu.PCTwin()))
	insert(t, b.plug(t, "2-1", ccidemu.CardMan3121()))
	s.awaitCards("by-path serving", "by-id serving", "second-slot absent")
	if c := s.card("second-slot"); !strings.Contains(c.Error, "USB SmartCard Reader [1-1.2] has no slot 1") {
		s.await(func() string {
			if c = s.card("second-slot"); strings.Contains(c.Error, "USB SmartCard Reader [1-1.2] has no slot 1") {
				return ""
			}
			return fmt.Sprintf("status %+v", c)
		})
	}
	if c := s.card("by-id"); c.Reader != "ccid:id=076b:3021" {
		t.Errorf("status %+v", c)
	}
	b.unplug("2-1")
	s.awaitCards("by-path serving", "by-id absent", "second-slot absent")
	insert(t, b.plug(t, "2-4", ccidemu.CardMan3121())) // another port, the same kind
	s.awaitCards("by-path serving", "by-id serving", "second-slot absent")
}

// Each card of ccid:* has a line of its own, which comes and goes with it, however fast.
func TestLines(t *testing.T) {
	b := newBus(t)
	dir := t.TempDir()
	s := start(t, b, fmt.Sprintf("[[card]]\nname = \"sim-*\"\nreader = \"ccid:*\"\n[card.line]\npath = %q\nmultiplexer = true\n", filepath.Join(dir, "line-*")))
	lines := func(want ...string) {
		t.Helper()
		s.await(func() string {
			var got []string
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), ".") { // a lock
					got = append(got, e.Name())
				}
			}
			if err != nil || !slices.Equal(got, want) {
				return fmt.Sprintf("the lines are %q, %v, want %q", got, err, want)
			}
			return ""
		})
	}
	insert(t, b.plug(t, "1-1", ccidemu.PCTwin()))
	b.plug(t, "1-2", ccidemu.PCTwin())
	s.awaitCards("sim-1-1.0 waiting", "sim-1-2.0 absent") // for the AP
	lines("line-1-1.0", "line-1-2.0")
	b.unplug("1-2")
	s.awaitCards("sim-1-1.0 waiting")
	lines("line-1-1.0")
	for range 20 {
		b.unplug("1-1")
		b.plug(t, "1-1", ccidemu.PCTwin())
	}
	s.awaitCards("sim-1-1.0 absent")
	lines("line-1-1.0")
	s.await(func() string { // until now it may have been the last visit but one
		if list := s.term.Cards(); len(list) != 1 || list[0].Name != "sim-1-1.0" || list[0].Line != "down" {
			return fmt.Sprintf("status %+v", list)
		}
		return ""
	})
	b.unplug("1-1")
	s.awaitCards()
	lines()
}

// Two cards that name one slot, two readers of one kind, and one that nobody names.
func TestTwoCardsOneSlot(t *testing.T) {
	b := newBus(t)
	s := start(t, b, `
[[card]]
name = "a"
reader = "ccid:id=08e6:3437"
[[card]]
name = "b"
reader = "ccid:name=smartcard"
`)
	insert(t, b.plug(t, "1-1", ccidemu.PCTwin()))
	s.awaitCards("a serving", "b absent")
	s.await(func() string {
		if len(s.log.Lines("two cards name one slot", "level=WARN", "slot=1-1.0", "card=a", "without=b")) != 1 {
			return "the log does not say who has the slot"
		}
		if c := s.card("b"); !strings.Contains(c.Error, "the slot is another card's") {
			return fmt.Sprintf("status %+v", c)
		}
		return ""
	})
	insert(t, b.plug(t, "1-2", ccidemu.PCTwin()))
	s.awaitCards("a serving", "b serving")
	insert(t, b.plug(t, "1-3", ccidemu.PCTwin()))
	s.await(func() string {
		if len(s.log.Lines("is not served: no [[card]] without a slot names it", "slot=1-3.0")) != 1 {
			return "the log does not say that a slot is nobody's"
		}
		return ""
	})
	b.unplug("1-1")
	s.awaitCards("a absent", "b serving") // b keeps what it has
	insert(t, b.plug(t, "1-1", ccidemu.PCTwin()))
	s.awaitCards("a serving", "b serving")
}

// A card of ccid:* that would have the name of another is not served.
func TestNameTaken(t *testing.T) {
	b := newBus(t)
	s := start(t, b, `
[[card]]
name = "1-1.0"
reader = "ccid:path=7-7"
[[card]]
name = "*"
reader = "ccid:*"
`)
	b.plug(t, "1-1", ccidemu.PCTwin())
	s.await(func() string {
		if len(s.log.Lines("slot of a USB reader is not served", `another card has the name \"1-1.0\"`)) != 1 {
			return "the log does not tell of the name"
		}
		return ""
	})
	s.awaitCards("1-1.0 absent")
}

// A reader that another program has is served once that lets it go, and until then the card says who has it.
func TestHeldReader(t *testing.T) {
	b := newBus(t)
	insert(t, b.plug(t, "1-1", ccidemu.PCTwin()))
	b.hold("1-1", &usbfs.InUseError{Device: "1-1", Driver: "usbfs", Holders: []usbfs.Process{{PID: 812, Name: "pcscd"}}})
	s := start(t, b, "[[card]]\nname = \"a\"\nreader = \"ccid:path=1-1\"\n")
	s.await(func() string {
		if c := s.card("a"); !strings.Contains(c.Error, "the reader is gone: USB SmartCard Reader [1-1]: ") || !strings.Contains(c.Error, "pcscd (process 812)") {
			return fmt.Sprintf("status %+v", c)
		}
		return ""
	})
	list, err := s.term.Readers()
	if err != nil || len(list) != 1 || list[0].Problem != "in use by pcscd (process 812)" || !strings.Contains(list[0].Hint, "systemctl stop pcscd.socket") ||
		!slices.Equal(list[0].Holders, []control.Process{{PID: 812, Name: "pcscd"}}) || list[0].Slots[0].State != "unknown" {
		t.Errorf("readers %+v, %v", list, err)
	}
	b.hold("1-1", nil)
	s.awaitCards("a serving")
}

// TestReaders is what bipctl readers shows of the readers that bipd has.
func TestReaders(t *testing.T) {
	b := newBus(t)
	insert(t, b.plug(t, "1-1.2", ccidemu.PCTwin()))
	b.plug(t, "1-4", ccidemu.SCR3310())
	s := start(t, b, "[[card]]\nname = \"sim-*\"\nreader = \"ccid:*\"\n")
	s.awaitCards("sim-1-1.2.0 serving", "sim-1-4.0 absent")
	list, err := s.term.Readers()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := readers.Write(&text, list); err != nil {
		t.Fatal(err)
	}
	want := `USB SmartCard Reader (Gemplus)
   port 1-1.2  USB 08e6:3437  release 1.00  serial -  12 Mbit/s
   TPDU level, T=0 T=1, 5/3/1.8 V, messages to 271 octets
   slot 0  card, served as sim-1-1.2.0
      ATR 3B096269706420736F6674
      T=0, TA1=11 (Fi 372, Di 1), direct convention
      historical bytes 6269706420736F6674 "bipd soft"
      reader = "ccid:path=1-1.2"

SCR3310 USB Smart Card Reader (SCM Microsystems Inc.)
   port 1-4  USB 04e6:5116  release 5.18  serial emulated-3310  12 Mbit/s
   TPDU level, T=0 T=1, 5 V, messages to 263 octets
   slot 0  empty, served as sim-1-4.0
      reader = "ccid:path=1-4"
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
}

// A Terminal without USB readers holds none.
func TestNoUSB(t *testing.T) {
	s := start(t, newBus(t), "[[card]]\nname = \"soft\"\nreader = \"vpcd:unix:"+filepath.Join(t.TempDir(), "s")+"\"\n")
	if list, err := s.term.Readers(); err != control.ErrNoReaders || list != nil {
		t.Errorf("readers %+v, %v", list, err)
	}
	s.awaitCards("soft absent")
}
