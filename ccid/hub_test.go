package ccid

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
	"bipd/softuicc"
	"bipd/uicc"
)

// fakeBus is a bus to which tests attach emulated readers.
type fakeBus struct {
	mu      sync.Mutex
	plugged map[string]*ccidemu.Reader // by path
	numbers map[string]int
	refuse  map[string]error // Open's answer, by path
	serial  int
	opens   int
	signals chan struct{}
}

func newFakeBus() *fakeBus {
	return &fakeBus{
		plugged: map[string]*ccidemu.Reader{}, numbers: map[string]int{}, refuse: map[string]error{}, signals: make(chan struct{}, 1),
	}
}

func (b *fakeBus) changed() {
	select {
	case b.signals <- struct{}{}:
	default:
	}
}

// plug attaches a reader.
func (b *fakeBus) plug(t testing.TB, path string, m ccidemu.Model) *ccidemu.Reader {
	t.Helper()
	r := ccidemu.New(m)
	t.Cleanup(func() { r.Close() })
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	b.plugged[path], b.numbers[path] = r, b.serial
	b.changed()
	return r
}

func (b *fakeBus) unplug(path string) {
	b.mu.Lock()
	r := b.plugged[path]
	delete(b.plugged, path)
	b.mu.Unlock()
	r.Unplug()
	b.changed()
}

// deny has Open refuse a reader, or not any more.
func (b *fakeBus) deny(path string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse[path] = err
}

func (b *fakeBus) Devices() ([]usbfs.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := []usbfs.Device{{Path: "usb1", Vendor: 0x1D6B, Interfaces: []usbfs.Interface{{Class: 9}}}}
	for path, r := range b.plugged {
		m := r.Model()
		list = append(list, usbfs.Device{
			Path: path, Bus: 1, Number: b.numbers[path], Vendor: m.Vendor, Product: m.Product, Release: m.Release, Name: m.Name,
			Manufacturer: m.Manufacturer, Serial: m.Serial, Speed: "12",
			Interfaces: []usbfs.Interface{
				{Number: 0, Class: 3, Extra: []byte{9, 0x21, 0, 0, 0, 0, 0, 0, 0}},
				{Number: 2, Class: m.InterfaceClass(), Extra: m.ClassDescriptor(), Endpoints: []usbfs.Endpoint{
					{Address: m.BulkOut, Attributes: 2, MaxPacket: 512}, {Address: m.BulkIn, Attributes: 2, MaxPacket: m.MaxPacket}}},
			},
		})
	}
	slices.SortFunc(list, func(a, b usbfs.Device) int { return strings.Compare(a.Path, b.Path) })
	return list, nil
}

func (b *fakeBus) Open(d usbfs.Device, iface uint8) (Transport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opens++
	r := b.plugged[d.Path]
	switch {
	case iface != 2:
		return nil, fmt.Errorf("interface %d was opened", iface)
	case r == nil || b.numbers[d.Path] != d.Number:
		return nil, usbfs.ErrGone
	case b.refuse[d.Path] != nil:
		return nil, b.refuse[d.Path]
	}
	return r.Transport(), nil
}

func (b *fakeBus) Watch(ctx context.Context, _ *slog.Logger) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		defer close(out)
		for first := true; ; first = false {
			if !first {
				select {
				case <-b.signals:
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// runHub runs a Hub over a bus until the test ends.
func runHub(t *testing.T, b *fakeBus) *Hub {
	t.Helper()
	cfg := Config{Bus: b, timing: quick()}
	cfg.timing.reopen, cfg.timing.reopenMax = time.Millisecond, 20*time.Millisecond
	h := NewHub(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		if list := h.List(); len(list) != 0 {
			t.Errorf("after Run: %+v", list)
		}
	})
	return h
}

// slotsOf follows the slots of a Hub until the test ends.
func slotsOf(t *testing.T, h *Hub) <-chan SlotEvent {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events := h.Slots(ctx)
	t.Cleanup(func() {
		cancel()
		for range events {
		}
	})
	return events
}

// event takes the next event.
func event(t *testing.T, events <-chan SlotEvent) string {
	t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			t.Fatal("no more events")
		}
		if e.Name != e.IDs.SlotName(e.Slot) || e.ID != e.IDs.SlotID(e.Slot) {
			t.Errorf("%+v", e)
		}
		return fmt.Sprintf("%s %v", e.ID, e.Added)
	case <-time.After(patient):
		t.Fatal("no event")
	}
	return ""
}

func expectEvents(t *testing.T, events <-chan SlotEvent, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := event(t, events); got != w {
			t.Fatalf("event %s, want %s", got, w)
		}
	}
}

// Readers come and go, with their slots; a card in one of them is used through its selector.
func TestHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		r1 := b.plug(t, "1-1", ccidemu.PCTwin())
		h := runHub(t, b)
		events := slotsOf(t, h)
		expectEvents(t, events, "1-1.0 true")
		b.plug(t, "1-2", ccidemu.AU9522())
		expectEvents(t, events, "1-2.0 true", "1-2.1 true")

		reader := h.Reader(Selector{Path: "1-1"})
		states := reader.Watch(testContext(t))
		insert(t, r1, newCard(t, softuicc.Config{}))
		until(t, states, uicc.SlotPresent)
		c, err := reader.Connect(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		want(t, c, selectMF, "9000")
		list := h.List()
		if len(list) != 2 || list[0].Err != nil || list[0].Path != "1-1" || list[0].PacketSize != 64 || list[0].Speed != "12" || list[0].VIDPID() != "08e6:3437" ||
			len(list[0].Slots) != 1 || list[0].Slots[0].State != uicc.SlotPresent || string(list[0].Slots[0].ATR) != string(c.ATR()) || len(list[1].Slots) != 2 {
			t.Errorf("list %+v", list)
		}

		b.unplug("1-1")
		until(t, states, uicc.SlotGone)
		if _, err := c.Transmit(testContext(t), unhex(t, selectMF)); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("Transmit: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		expectEvents(t, events, "1-1.0 false")
		if st := next(t, reader.Watch(testContext(t))); st != uicc.SlotGone {
			t.Errorf("state %v of a slot that is not there", st)
		}
		if _, err := reader.Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
			t.Errorf("Connect: %v", err)
		}

		r1 = b.plug(t, "1-1", ccidemu.PCTwin())
		insert(t, r1, newCard(t, softuicc.Config{}))
		expectEvents(t, events, "1-1.0 true")
		until(t, reader.Watch(testContext(t)), uicc.SlotPresent)
		if c, err = reader.Connect(testContext(t)); err != nil {
			t.Fatal(err)
		}
		want(t, c, selectMF, "9000")
		c.Close()
	})
}

// A receiver that was slow still learns that a reader was unplugged in between, and that its slots are others.
func TestHubReplugUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		b.plug(t, "1-1", ccidemu.PCTwin())
		h := runHub(t, b)
		slow, quick := slotsOf(t, h), slotsOf(t, h)
		expectEvents(t, quick, "1-1.0 true")
		expectEvents(t, slow, "1-1.0 true")
		for range 3 {
			b.unplug("1-1")
			expectEvents(t, quick, "1-1.0 false")
			b.plug(t, "1-1", ccidemu.PCTwin())
			expectEvents(t, quick, "1-1.0 true")
		}
		expectEvents(t, slow, "1-1.0 false", "1-1.0 true")
	})
}

// A reader that cannot be opened is listed with the reason, and taken as soon as it can.
func TestHubTriesAgain(t *testing.T) {
	for name, err := range map[string]error{
		"in use":    &usbfs.InUseError{Device: "1-1", Driver: "usbfs", Holders: []usbfs.Process{{PID: 1, Name: "pcscd"}}},
		"no rights": fmt.Errorf("open: %w", fs.ErrPermission),
	} {
		run(t, name, func(t *testing.T) {
			testkit.NoLeaks(t)
			b := newFakeBus()
			b.deny("1-1", err)
			h := runHub(t, b)
			b.plug(t, "1-1", ccidemu.PCTwin())
			for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
				if list := h.List(); len(list) == 1 && errors.Is(list[0].Err, err) && list[0].Slots == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("list %+v", h.List())
				}
			}
			if _, got := h.Reader(Selector{Path: "1-1"}).Connect(testContext(t)); !errors.Is(got, uicc.ErrRemoved) || !errors.Is(got, err) {
				t.Errorf("Connect: %v", got)
			}
			events := slotsOf(t, h)
			b.deny("1-1", nil)
			expectEvents(t, events, "1-1.0 true")
			if list := h.List(); list[0].Err != nil {
				t.Errorf("list %+v", list)
			}
		})
	}
}

// A reader that the driver cannot drive is listed and left alone.
func TestHubCharacterLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		h := runHub(t, b)
		b.plug(t, "1-1", ccidemu.Characters())
		for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
			if list := h.List(); len(list) == 1 && errors.Is(list[0].Err, ErrNotSupported) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("list %+v", h.List())
			}
		}
	})
}

// A slot is found by every kind of selector; by one that fits several, in the first reader by path.
func TestHubReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		b.plug(t, "1-3", ccidemu.PCTwin())
		b.plug(t, "1-2", ccidemu.MultiSlot(3))
		h := runHub(t, b)
		for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
			if open, _ := h.openReaders(); len(open) == 2 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("not open")
			}
		}
		for text, want := range map[string]string{
			"*": "1-2.0", "*,slot=2": "1-2.2", "path=1-3": "1-3.0", "path=1-3,slot=1": "", "id=08e6:3437": "1-3.0", "name=multi,slot=1": "1-2.1", "serial=x": "",
		} {
			sel, err := ParseSelector(text)
			if err != nil {
				t.Fatal(err)
			}
			r := h.Reader(sel)
			if r.Name() != "ccid:"+text {
				t.Errorf("name %s", r.Name())
			}
			s := r.(*hubReader).slot()
			switch {
			case want == "" && s != nil, want != "" && (s == nil || s.dev.ids.SlotID(s.number) != want):
				t.Errorf("%s: %+v, want %s", text, s, want)
			case want == "":
				if _, err := r.Connect(testContext(t)); !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("Connect %s: %v", text, err)
				}
			}
		}
	})
}

// One look lists everything and leaves every reader as it was.
func TestListReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		if list, err := ListReaders(testContext(t), Config{Bus: b}); err != nil || len(list) != 0 {
			t.Errorf("without readers: %+v, %v", list, err)
		}
		card := newCard(t, softuicc.Config{})
		r := b.plug(t, "1-1", ccidemu.MultiSlot(2))
		if err := r.Insert(1, card, softuicc.ContactsConfig{}); err != nil {
			t.Fatal(err)
		}
		b.plug(t, "1-2", ccidemu.PCTwin())
		b.deny("1-2", fs.ErrPermission)
		mute := b.plug(t, "1-3", ccidemu.ACR38U())
		insert(t, mute, newCard(t, softuicc.Config{ATR: atr(t, atrs()["class B and C"])}))
		b.plug(t, "1-4", ccidemu.Characters())
		for range 2 {
			list, err := ListReaders(testContext(t), Config{Bus: b})
			if err != nil || len(list) != 4 {
				t.Fatalf("%+v, %v", list, err)
			}
			if s := list[0].Slots; len(s) != 2 || s[0].State != uicc.SlotEmpty || s[1].State != uicc.SlotPresent || string(s[1].ATR) != string(card.ATR()) {
				t.Errorf("slots %+v", s)
			}
			if !errors.Is(list[1].Err, fs.ErrPermission) || list[1].Slots != nil || list[1].Name == "" {
				t.Errorf("%+v", list[1])
			}
			if s := list[2].Slots; len(s) != 1 || s[0].State != uicc.SlotPresent || !errors.Is(s[0].Err, uicc.ErrMute) {
				t.Errorf("slots %+v", s)
			}
			if !errors.Is(list[3].Err, ErrNotSupported) {
				t.Errorf("%+v", list[3])
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if list, err := ListReaders(ctx, Config{Bus: b}); err != nil || !errors.Is(list[0].Err, context.Canceled) {
			t.Errorf("%+v, %v", list, err)
		}
		obedient(t, r)
	})
}

// Readers are plugged and unplugged a hundred times, and nothing is left of them.
func TestHubCycles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		testkit.NoLeaks(t)
		b := newFakeBus()
		h := runHub(t, b)
		events := slotsOf(t, h)
		for range 100 {
			b.plug(t, "1-1", ccidemu.SCR3310())
			expectEvents(t, events, "1-1.0 true")
			b.unplug("1-1")
			expectEvents(t, events, "1-1.0 false")
		}
	})
}
