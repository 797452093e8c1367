package terminal

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/ccidemu"
	"bipd/internal/testkit"
)

// bus is a USB of emulated readers.
type bus struct {
	mu      sync.Mutex
	plugged []*port
	number  int           // of the last device
	changed chan struct{} // closed and renewed at each change
}

// port is where a reader is plugged in.
type port struct {
	device usbfs.Device
	reader *ccidemu.Reader
	held   error // why it cannot be opened; nil = it can
}

// newBus makes a USB without readers. At the end of the test nothing that used it may be left.
func newBus(t *testing.T) *bus {
	t.Helper()
	testkit.NoLeaks(t)
	return &bus{changed: make(chan struct{})}
}

var _ ccid.Bus = (*bus)(nil)

// plug puts a reader of the model into a port, until it is unplugged or the test ends.
func (b *bus) plug(t testing.TB, path string, m ccidemu.Model) *ccidemu.Reader {
	t.Helper()
	r := ccidemu.New(m)
	t.Cleanup(func() {
		r.Close()
		for _, v := range r.Violations() {
			t.Errorf("driver against the standard: %v", v)
		}
	})
	b.change(func() {
		b.number++
		b.plugged = append(b.plugged, &port{reader: r, device: usbfs.Device{
			Path: path, Bus: 1, Number: b.number, Vendor: m.Vendor, Product: m.Product, Release: m.Release,
			Manufacturer: m.Manufacturer, Name: m.Name, Serial: m.Serial, Speed: "12",
			Interfaces: []usbfs.Interface{{Class: 0x0B, Extra: m.ClassDescriptor(), Endpoints: []usbfs.Endpoint{
				{Address: m.BulkOut, Attributes: 2, MaxPacket: m.MaxPacket}, {Address: m.BulkIn, Attributes: 2, MaxPacket: m.MaxPacket},
			}}},
		}})
		slices.SortFunc(b.plugged, func(x, y *port) int { return strings.Compare(x.device.Path, y.device.Path) })
	})
	return r
}

// unplug takes the reader out of a port, with its cards.
func (b *bus) unplug(path string) {
	var gone []*port
	b.change(func() {
		b.plugged = slices.DeleteFunc(b.plugged, func(p *port) bool {
			if p.device.Path == path {
				gone = append(gone, p)
			}
			return p.device.Path == path
		})
	})
	for _, p := range gone {
		p.reader.Unplug()
	}
}

// hold has the reader of a port be another program's, or nobody's where err is nil.
func (b *bus) hold(path string, err error) {
	b.change(func() {
		for _, p := range b.plugged {
			if p.device.Path == path {
				p.held = err
			}
		}
	})
}

func (b *bus) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	close(b.changed)
	b.changed = make(chan struct{})
}

// Devices lists what is plugged in.
func (b *bus) Devices() ([]usbfs.Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []usbfs.Device
	for _, p := range b.plugged {
		list = append(list, p.device)
	}
	return list, nil
}

// Open opens a reader.
func (b *bus) Open(d usbfs.Device, _ uint8) (ccid.Transport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.plugged {
		switch {
		case p.device.Number != d.Number:
		case p.held != nil:
			return nil, p.held
		default:
			return p.reader.Transport(), nil
		}
	}
	return nil, fmt.Errorf("open %v: %w", d, usbfs.ErrGone)
}

// Watch signals at once and at each change.
func (b *bus) Watch(ctx context.Context, _ *slog.Logger) <-chan struct{} {
	signals := make(chan struct{})
	go func() {
		defer close(signals)
		for {
			b.mu.Lock()
			changed := b.changed
			b.mu.Unlock()
			select {
			case signals <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return signals
}
