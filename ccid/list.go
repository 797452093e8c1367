package ccid

import (
	"context"
	"errors"
	"sync"

	"bipd/uicc"
)

var errNoReader = errors.New("no such reader is plugged in")

// ReaderInfo is what is known of a reader that is plugged in.
type ReaderInfo struct {
	IDs
	Speed      string // Mbit/s, "12"
	Descriptor Descriptor
	Err        error      // why it cannot be used: *usbfs.InUseError, fs.ErrPermission, ErrNotDriven, ...; nil where it can
	Slots      []SlotInfo // in their order; none where it cannot be used
}

// SlotInfo is what is known of a slot.
type SlotInfo struct {
	State uicc.SlotState
	ATR   []byte // of the card, while it has power
	Err   error  // why the card that is in does not work
}

func (a *attached) info() ReaderInfo {
	return ReaderInfo{IDs: a.ids, Speed: a.usb.Speed, Descriptor: a.desc}
}

// info tells of the slot as it is now.
func (s *Slot) info() SlotInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SlotInfo{State: seen(s.state), ATR: s.atr, Err: s.fault}
}

// List lists the readers that are plugged in, by path.
func (h *Hub) List() []ReaderInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []ReaderInfo
	for _, a := range h.readers {
		r := a.info()
		r.Err = a.err
		if a.device != nil {
			for _, s := range a.device.slots {
				r.Slots = append(r.Slots, s.info())
			}
		}
		list = append(list, r)
	}
	return list
}

// ListReaders looks once at all readers that are plugged in, by path. It opens each that nobody uses, resets its cards for
// their answer to reset, and lets it go. A reader that does not tell its state before ctx ends has ctx's error.
func ListReaders(ctx context.Context, cfg Config) ([]ReaderInfo, error) {
	cfg = cfg.filled()
	devices, err := cfg.Bus.Devices()
	if err != nil {
		return nil, err
	}
	found := find(devices)
	list := make([]ReaderInfo, len(found))
	var looks sync.WaitGroup
	for i, a := range found {
		looks.Go(func() { list[i] = lookAt(ctx, cfg, a) })
	}
	looks.Wait()
	return list, nil
}

// lookAt opens a reader for a look.
func lookAt(ctx context.Context, cfg Config, a *attached) ReaderInfo {
	info := a.info()
	if a.err != nil {
		info.Err = a.err
		return info
	}
	h := Hub{cfg: cfg}
	d, err := h.open(a)
	if err != nil {
		info.Err = err
		return info
	}
	defer d.Close()
	for _, s := range d.slots {
		slot, err := s.inspect(ctx)
		if err != nil {
			info.Err, info.Slots = err, nil
			return info
		}
		info.Slots = append(info.Slots, slot)
	}
	return info
}

// inspect resets the card, if there is one, and powers it off again.
func (s *Slot) inspect(ctx context.Context) (SlotInfo, error) {
	icc, err := s.status(ctx)
	if err != nil {
		return SlotInfo{}, err
	}
	if icc == iccAbsent {
		return SlotInfo{State: uicc.SlotEmpty}, nil
	}
	raw, _, err := s.powerUp(ctx, uicc.ColdReset)
	switch {
	case ctx.Err() != nil:
		return SlotInfo{}, ctx.Err()
	case errors.Is(err, uicc.ErrRemoved):
		return SlotInfo{State: uicc.SlotEmpty}, nil
	case err != nil:
		return SlotInfo{State: uicc.SlotPresent, Err: err}, nil
	}
	return SlotInfo{State: uicc.SlotPresent, ATR: raw}, s.powerOff(ctx)
}
