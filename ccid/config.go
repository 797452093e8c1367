package ccid

import (
	"context"
	"log/slog"
	"time"

	"bipd/ccid/usbfs"
	"bipd/uicc"
)

// Config says how readers are reached and who looks on.
type Config struct {
	// FS is where the kernel shows its USB devices; the zero value is the machine's own.
	FS usbfs.FS
	// Bus, if set, takes the place of FS: readers that are not the kernel's.
	Bus Bus
	// Log may be nil.
	Log *slog.Logger
	// Tap sees each exchange with a card (see uicc.Tap); may be nil.
	Tap uicc.Tap

	timing timing
}

// Bus is where readers are attached.
type Bus interface {
	// Devices lists the devices that are attached, readers or not, in the order of their paths.
	Devices() ([]usbfs.Device, error)
	// Open takes one interface of a device for this program alone. Errors are those of usbfs.FS.
	Open(d usbfs.Device, iface uint8) (Transport, error)
	// Watch signals that Devices may have changed: at once, and after each change, until ctx ends, when it closes the
	// channel.
	Watch(ctx context.Context, log *slog.Logger) <-chan struct{}
}

// kernelBus is USB as the kernel shows it.
type kernelBus struct{ usbfs.FS }

func (b kernelBus) Open(d usbfs.Device, iface uint8) (Transport, error) {
	h, err := b.FS.Open(d, iface)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// filled puts the defaults in.
func (cfg Config) filled() Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Bus == nil {
		cfg.Bus = kernelBus{cfg.FS}
	}
	if cfg.timing == (timing{}) {
		cfg.timing = defaultTiming
	}
	return cfg
}

// timing is how long things may take. Waiting times of the card come on top: see link.wait.
type timing struct {
	reader    time.Duration // an answer that needs no card
	powerOn   time.Duration // IccPowerOn: some readers try all voltages meanwhile
	card      time.Duration // the least that a card has for a TPDU, whatever its parameters say
	apdu      time.Duration // the same for an APDU, of which the reader may make several TPDUs
	longest   time.Duration // one command in all, however often more time is asked for
	rest      time.Duration // the rest of a message whose beginning came
	removal   time.Duration // a pending answer after the reader told that the card is gone
	powerDown time.Duration // without power between two attempts (ISO/IEC 7816-3 clause 6.2.4: 10 ms at least)
	poll      time.Duration // between two looks at a slot of a reader without interrupts
	retry     time.Duration // before a reader that did not tell the state of a slot is asked again; doubles
	retryMax  time.Duration
	latch     time.Duration // after opening, reset and insertion: news of a card that is in may be old
	busy      time.Duration // between two tries while the reader is busy with itself
	reopen    time.Duration // between two tries to open a reader that another program has; doubles
	reopenMax time.Duration
}

var defaultTiming = timing{
	reader:    5 * time.Second,
	powerOn:   10 * time.Second,
	card:      5 * time.Second,
	apdu:      10 * time.Second,
	longest:   2 * time.Minute,
	rest:      2 * time.Second,
	removal:   2 * time.Second,
	powerDown: 15 * time.Millisecond,
	poll:      300 * time.Millisecond,
	retry:     time.Second,
	retryMax:  time.Minute,
	latch:     500 * time.Millisecond,
	busy:      100 * time.Millisecond,
	reopen:    250 * time.Millisecond,
	reopenMax: 8 * time.Second,
}
