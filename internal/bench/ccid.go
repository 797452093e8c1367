package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/softuicc"
	"bipd/uicc"
	"bipd/uicc/pcsc"
)

func ccidFigures() []figure {
	return []figure{{
		name: "ccid.apdu", unit: "APDU/s", prepare: ccidStand,
		peer: "pcscd and libccid, asked through pcscd's socket, with the same reader in the same guest",
	}}
}

// guestLife is enough for the boot and many rounds.
const guestLife = 20 * time.Minute

// ccidStand is a guest with QEMU's reader on xHCI, and a software UICC in it. This program runs in the guest again, with
// -inside, for each measurement.
func ccidStand(ctx context.Context) (stand, error) {
	g, err := guest.Boot(ctx, guest.Config{
		Modules: []string{"xhci-pci"},
		Devices: []string{"qemu-xhci,id=usb", "usb-ccid,id=ccid,bus=usb.0", "ccid-card-passthru,chardev=card,bus=ccid.0"},
		Sockets: []string{"card"},
		Debian:  []string{"pcscd", "libccid"},
		Timeout: guestLife,
	})
	if err != nil {
		return stand{}, err
	}
	card, err := softuicc.New(softuicc.Config{})
	if err != nil {
		return stand{}, errors.Join(err, g.Close())
	}
	conn, err := net.Dial("unix", g.Socket("card"))
	if err != nil {
		return stand{}, errors.Join(err, g.Close())
	}
	serving, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		softuicc.ServeVSCard(serving, conn, card)
	}()
	return stand{
		ours: rateInside(g, "driver"), peer: rateInside(g, "pcscd"),
		close: func() {
			stop()
			<-served
			g.Close()
		},
	}, nil
}

// rateInside measures in the guest.
func rateInside(g *guest.Guest, through string) measurement {
	return func(ctx context.Context, span time.Duration) (float64, error) {
		var out bytes.Buffer
		status, err := g.Exec(ctx, &out, "/init", "-inside", through, "-time", span.String())
		if err != nil {
			return 0, err
		}
		text := strings.TrimSpace(out.String())
		if status != 0 {
			return 0, fmt.Errorf("in the guest: status %d: %s", status, text)
		}
		return strconv.ParseFloat(text, 64)
	}
}

// readerPatience bounds how long a reader may take to be found.
const readerPatience = 20 * time.Second

// measureInside prints the APDUs per second through our driver or through pcscd.
func measureInside(ctx context.Context, w io.Writer, through string, span time.Duration) error {
	if err := awaitReader(ctx); err != nil {
		return err
	}
	var rate float64
	var err error
	switch through {
	case "driver":
		rate, err = throughDriver(ctx, span)
	case "pcscd":
		rate, err = throughDaemon(ctx, span)
	default:
		err = fmt.Errorf("nothing is known of %q", through)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%.1f\n", rate)
	}
	return err
}

// until repeats what fails until it does not.
func until(ctx context.Context, try func() error) error {
	for end := time.Now().Add(readerPatience); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
	}
}

// awaitReader waits until the kernel has found the reader: pcscd would hear of a later one from udev alone.
func awaitReader(ctx context.Context) error {
	return until(ctx, func() error {
		devices, err := usbfs.FS{}.Devices()
		for _, d := range devices {
			for _, i := range d.Interfaces {
				if i.Class == 0x0B {
					return nil
				}
			}
		}
		return errors.Join(err, errors.New("no reader"))
	})
}

func throughDriver(ctx context.Context, span time.Duration) (float64, error) {
	ctx, stop := context.WithCancel(ctx)
	hub := ccid.NewHub(ccid.Config{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hub.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	sel, err := ccid.ParseSelector("*")
	if err != nil {
		return 0, err
	}
	return apduRate(ctx, hub.Reader(sel), span)
}

func throughDaemon(ctx context.Context, span time.Duration) (float64, error) {
	if err := os.MkdirAll("/run/pcscd", 0o755); err != nil {
		return 0, err
	}
	daemon := exec.CommandContext(ctx, "pcscd", "--foreground", "--error")
	if err := daemon.Start(); err != nil {
		return 0, err
	}
	defer func() {
		daemon.Process.Signal(syscall.SIGTERM)
		limit := time.AfterFunc(readerPatience, func() { daemon.Process.Kill() })
		defer limit.Stop()
		daemon.Wait() // its status after a signal says nothing
	}()
	var name string
	err := until(ctx, func() error {
		list, err := pcsc.List(ctx, pcsc.Config{})
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("pcscd has the readers %q", list)
		}
		if err == nil {
			name = list[0]
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	reader, err := pcsc.New(name, pcsc.Config{})
	if err != nil {
		return 0, err
	}
	return apduRate(ctx, reader, span)
}

// apduRate reads EF_ICCID again and again: a command of 5 octets, an answer of 12.
func apduRate(ctx context.Context, reader uicc.Reader, span time.Duration) (float64, error) {
	var card uicc.Card
	err := until(ctx, func() (err error) {
		card, err = reader.Connect(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer card.Close()
	for _, capdu := range [][]byte{{0, 0xA4, 0, 4, 2, 0x3F, 0}, {0, 0xA4, 0, 4, 2, 0x2F, 0xE2}} { // SELECT MF, EF_ICCID
		if _, err := card.Transmit(ctx, capdu); err != nil {
			return 0, err
		}
	}
	read := func() error {
		rapdu, err := card.Transmit(ctx, []byte{0, 0xB0, 0, 0, 10})
		if err == nil && (len(rapdu) != 12 || rapdu[10] != 0x90) {
			err = fmt.Errorf("READ BINARY is answered %X", rapdu)
		}
		return err
	}
	for range 50 {
		if err := read(); err != nil {
			return 0, err
		}
	}
	n := 0
	begin := time.Now()
	for ; time.Since(begin) < span; n++ {
		if err := read(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begin).Seconds(), nil
}
