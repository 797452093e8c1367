package cp_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"bipd/cat"
	"bipd/ccid"
	"bipd/internal/ccidemu"
	"bipd/internal/cp"
	"bipd/softuicc"
	"bipd/trace"
	"bipd/uicc"
)

// usbReader is an emulated USB reader, and its driver.
type usbReader struct {
	t      testing.TB
	reader *ccidemu.Reader
	device *ccid.Device
	slot   *ccid.Slot // the first
}

func openUSB(t testing.TB, m ccidemu.Model) *usbReader {
	t.Helper()
	desc, err := ccid.ParseDescriptor(m.ClassDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	r := ccidemu.New(m)
	d, err := ccid.NewDevice(r.Transport(), desc, ccid.IDs{Path: "1-1", Vendor: m.Vendor, Product: m.Product, Name: m.Name}, ccid.Config{})
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	return &usbReader{t, r, d, d.Slots()[0]}
}

func (u *usbReader) insert(c *softuicc.Card) {
	u.t.Helper()
	if err := u.reader.Insert(0, c, softuicc.ContactsConfig{}); err != nil {
		u.t.Fatal(err)
	}
}

// close ends driver and reader, and wants the driver to have kept to the standard.
func (u *usbReader) close() {
	u.t.Helper()
	if err := u.device.Close(); err != nil {
		u.t.Error(err)
	}
	u.reader.Close()
	for _, v := range u.reader.Violations() {
		u.t.Errorf("driver against the standard: %v", v)
	}
}

// TestUSBDownload has an applet download over emulated USB readers of each exchange level, by both methods.
func TestUSBDownload(t *testing.T) {
	file := randomFile(1 << 18)
	for name, model := range map[string]ccidemu.Model{
		"TPDU": ccidemu.SCR3310(), "TPDU, parameters and PPS by the host": ccidemu.PCTwin(), "short APDU": ccidemu.CardMan3121(),
		"extended APDU": ccidemu.AU9540(),
	} {
		for method, bearer := range map[trace.Method]cat.BearerDescription{trace.Method1: packetBearer, trace.Method2: wlanBearer} {
			t.Run(fmt.Sprintf("%s/%v", name, method), func(t *testing.T) {
				srv := fileServer(t, file)
				b := run(t, options{usb: &model, applets: applets(func(a *app) {
					a.get(params(bearer, background, addrPort(srv.Listener.Addr())), srv.URL, file)
				})})
				b.events.await(t, func(e []trace.Event) error { return trace.CheckOrder(e, method, 1) })
				b.events.caughtUp(t)
				if by1, by2 := b.events.has("S404", "connect"), b.events.has("S703", "connect"); by1 != (method == trace.Method1) || by2 != (method == trace.Method2) {
					t.Errorf("connected by the CP %v, by the AP %v", by1, by2)
				}
			})
		}
	}
}

// TestUSBCardRemoved takes the card out of an emulated reader in the middle of a transfer, and puts it in again.
func TestUSBCardRemoved(t *testing.T) {
	for name, bearer := range map[string]cat.BearerDescription{"method 1": packetBearer, "method 2": wlanBearer} {
		t.Run(name, func(t *testing.T) {
			remote, clients := endless(t)
			good := echoServer(t)
			var runs atomic.Int32
			running := make(chan struct{})
			model := ccidemu.PCTwin()
			b := start(t, options{usb: &model, ap: impatient, applets: applets(func(a *app) {
				if runs.Add(1) == 1 {
					p := remote()
					p.Bearer = bearer
					a.take(a.dial(p), 20000)
					close(running)
					<-a.ctx.Done()
					return
				}
				c := a.dial(params(bearer, cat.OpenImmediate, good))
				a.echo(c)
				a.must(c.Close())
			})})
			b.reached("the transfer runs", running)
			b.usb.reader.Remove(0)
			eventually(t, "the server has no client", func() bool { return clients.Load() == 0 })
			b.awaitState("absent")
			b.insert()
			eventually(t, "the applet runs again", func() bool { return runs.Load() == 2 })
			b.wait()
		})
	}
}

// TestOpenUSB: what OpenReader makes of USB readers where none is there.
func TestOpenUSB(t *testing.T) {
	for name, want := range map[string]string{
		"ccid:": "is none of", "ccid:port=1": "unknown key", "ccid:*": "every slot; name one", "ccid:path=1-1,slot=x": "not a number",
	} {
		if r, _, err := cp.OpenReader(name, nil); err == nil || r != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("reader %q: %v, %v; want %q", name, r, err, want)
		}
	}
	before := count()
	r, closeReader, err := cp.OpenReader("ccid:path=99-99", nil)
	if err != nil || r.Name() != "ccid:path=99-99" {
		t.Fatalf("%v, %v", r, err)
	}
	if why := r.(interface{ WhyGone() error }).WhyGone(); why == nil || !strings.Contains(why.Error(), "no such USB reader is there") {
		t.Errorf("why it is gone: %v", why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	if state, ok := <-r.Watch(ctx); !ok || state != uicc.SlotGone {
		t.Errorf("state %v, told %v", state, ok)
	}
	cancel()
	if _, err := r.Connect(t.Context()); err == nil {
		t.Error("a card of no reader")
	}
	if err := closeReader(); err != nil {
		t.Error(err)
	}
	before.check(t)
}
