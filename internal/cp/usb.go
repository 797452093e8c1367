package cp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bipd/ccid"
	"bipd/uicc"
)

// openUSB opens one slot of a USB reader, with a Hub of its own.
func openUSB(selector string, cfg ccid.Config) (uicc.Reader, func() error, error) {
	sel, err := ccid.ParseSelector(selector)
	if err != nil {
		return nil, nil, err
	}
	if sel.Slot == ccid.AllSlots {
		return nil, nil, errors.New("ccid:* is every slot; name one, as ccid:path=1-1.2: bipctl readers lists them")
	}
	hub := ccid.NewHub(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- hub.Run(ctx) }()
	closeHub := func() error {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	return &usbReader{hub.Reader(sel), hub, sel}, closeHub, nil
}

// usbReader is a slot that can say why it is not there.
type usbReader struct {
	uicc.Reader
	hub *ccid.Hub
	sel ccid.Selector
}

// usbPatience is how long a slot may take to come: that of a reader which is plugged in comes within this time.
const usbPatience = 2 * time.Second

// Watch follows the slot, once it has come; see uicc.Reader.
func (r *usbReader) Watch(ctx context.Context) <-chan uicc.SlotState {
	out := make(chan uicc.SlotState)
	go func() {
		defer close(out)
		r.await(ctx)
		for state := range r.Reader.Watch(ctx) {
			select {
			case out <- state:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// await waits a while for the slot.
func (r *usbReader) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, usbPatience)
	defer cancel()
	for e := range r.hub.Slots(ctx) {
		if e.Added && e.Slot == r.sel.Slot && r.sel.Matches(e.IDs) {
			return
		}
	}
}

func (r *usbReader) WhyGone() error { return WhyGone(r.hub, r.sel) }

// WhyGone says why there is no slot for the selector; nil where there is one.
func WhyGone(hub *ccid.Hub, sel ccid.Selector) error {
	var reasons []string
	for _, r := range hub.List() {
		switch {
		case !sel.Matches(r.IDs):
		case r.Err != nil:
			reasons = append(reasons, r.IDs.String()+": "+r.Err.Error())
		case sel.Slot >= r.Descriptor.Slots():
			reasons = append(reasons, fmt.Sprintf("%v has no slot %d", r.IDs, sel.Slot))
		case len(r.Slots) == 0:
			reasons = append(reasons, fmt.Sprintf("%v is being opened", r.IDs))
		default:
			return nil
		}
	}
	if reasons == nil {
		return errors.New("no such USB reader is there")
	}
	return errors.New(strings.Join(reasons, "; "))
}
