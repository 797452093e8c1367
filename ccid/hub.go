package ccid

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"bipd/ccid/usbfs"
)

// Hub keeps all readers of this machine as they are plugged and unplugged. A reader that cannot be opened, since another
// program has it or the rights are missing, is listed with the reason and tried again.
type Hub struct {
	cfg Config

	mu      sync.Mutex
	readers []*attached   // by path
	opened  uint64        // counts the readers that were opened
	changed chan struct{} // closed when readers are opened and closed
}

// attached is a reader that is plugged in.
type attached struct {
	usb    usbfs.Device
	iface  uint8
	desc   Descriptor
	ids    IDs
	cancel context.CancelFunc
	done   chan struct{} // closed when serve has ended

	// Guarded by the Hub's mu.
	device *Device // nil while it is not open
	serial uint64  // the Hub's count of readers when it was opened
	err    error   // why it is not open; wraps ErrNotDriven where it never is
}

// NewHub makes a Hub, which does nothing before Run.
func NewHub(cfg Config) *Hub {
	return &Hub{cfg: cfg.filled(), changed: make(chan struct{})}
}

// Run keeps the readers until ctx ends, which is the error that it returns, and then gives them back. Cards are to be
// closed before it, if they are to be powered off.
func (h *Hub) Run(ctx context.Context) error {
	defer h.update(ctx, nil)
	for range h.cfg.Bus.Watch(ctx, h.cfg.Log) {
		devices, err := h.cfg.Bus.Devices()
		if err != nil {
			h.cfg.Log.Error("USB devices not found", "error", err)
			continue
		}
		h.update(ctx, devices)
	}
	return ctx.Err()
}

// find lists the interfaces of readers among the devices, also those that are not driven.
func find(devices []usbfs.Device) (list []*attached) {
	for _, d := range devices {
		for _, i := range Interfaces(d) {
			list = append(list, &attached{usb: d, iface: i.Number, desc: i.Descriptor, ids: i.IDs, err: i.Err})
		}
	}
	return list
}

// same tells whether both are the same reader, not unplugged in between.
func (a *attached) same(b *attached) bool {
	return a.ids.Path == b.ids.Path && a.usb.Bus == b.usb.Bus && a.usb.Number == b.usb.Number && a.iface == b.iface
}

// update serves the readers that are new among the devices, and waits for the end of those that are gone.
func (h *Hub) update(ctx context.Context, devices []usbfs.Device) {
	now := find(devices)
	h.mu.Lock()
	var gone, kept []*attached
	for _, a := range h.readers {
		if i := slices.IndexFunc(now, a.same); i >= 0 {
			now = slices.Delete(now, i, i+1)
			kept = append(kept, a)
		} else {
			gone = append(gone, a)
		}
	}
	h.readers = append(kept, now...)
	slices.SortStableFunc(h.readers, func(a, b *attached) int { return strings.Compare(a.ids.Path, b.ids.Path) })
	h.mu.Unlock()
	for _, a := range gone {
		a.cancel()
	}
	for _, a := range gone {
		<-a.done
		h.cfg.Log.Info("card reader unplugged", "reader", a.ids.String())
	}
	for _, a := range now {
		var served context.Context
		served, a.cancel = context.WithCancel(ctx)
		a.done = make(chan struct{})
		if errors.Is(a.err, ErrNotDriven) {
			h.cfg.Log.Warn("card reader plugged in that is not driven", "reader", a.ids.String(), "id", a.ids.VIDPID(), "error", a.err)
			close(a.done)
			continue
		}
		h.cfg.Log.Info("card reader plugged in", "reader", a.ids.String(), "id", a.ids.VIDPID(), "level", a.desc.Level().String(), "slots", a.desc.Slots())
		go func() {
			defer close(a.done)
			h.serve(served, a)
		}()
	}
}

// serve opens a reader and keeps it open until ctx ends. It tries again, ever less often, while that is not possible.
func (h *Hub) serve(ctx context.Context, a *attached) {
	t := h.cfg.timing
	wait := t.reopen
	for {
		d, err := h.open(a)
		if err == nil {
			wait = t.reopen
			h.set(a, d, nil)
			select {
			case <-d.Gone():
			case <-ctx.Done():
			}
			err = d.Err()
			h.set(a, nil, err)
			d.Close()
		} else {
			h.tell(a, err)
			h.set(a, nil, err)
		}
		if errors.Is(err, ErrNotSupported) {
			<-ctx.Done()
		}
		if pause(ctx, wait) != nil {
			return
		}
		wait = min(2*wait, t.reopenMax)
	}
}

// open opens a reader.
func (h *Hub) open(a *attached) (*Device, error) {
	t, err := h.cfg.Bus.Open(a.usb, a.iface)
	if err != nil {
		return nil, err
	}
	d, err := NewDevice(t, a.desc, a.ids, h.cfg)
	if err != nil {
		t.Close()
	}
	return d, err
}

// tell logs why a reader cannot be opened, once for each reason.
func (h *Hub) tell(a *attached, err error) {
	h.mu.Lock()
	known := a.err != nil && a.err.Error() == err.Error()
	h.mu.Unlock()
	if known || errors.Is(err, usbfs.ErrGone) {
		return
	}
	var used *usbfs.InUseError
	if errors.As(err, &used) || errors.Is(err, fs.ErrPermission) {
		h.cfg.Log.Warn("card reader cannot be used, trying again", "reader", a.ids.String(), "error", err)
		return
	}
	h.cfg.Log.Error("card reader cannot be used", "reader", a.ids.String(), "error", err)
}

// set notes that a reader is open, or why not.
func (h *Hub) set(a *attached, d *Device, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := d != nil || a.device != nil
	a.device, a.err = d, err
	if d != nil {
		h.opened++
		a.serial = h.opened
	}
	if told {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}
