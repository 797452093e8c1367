//go:build guest

package bipd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"bipd/internal/guest"
	"bipd/softuicc"
)

// reader is QEMU's reader at a USB 3 host controller, with a card that the host plays.
var reader = []string{"qemu-xhci,id=usb", "usb-ccid,id=ccid,bus=usb.0,port=1", "ccid-card-passthru,id=card0,chardev=card,bus=ccid.0"}

// station is a guest with the reader, and the card on the host.
type station struct {
	*testing.T
	guest *guest.Guest
	job   *download
	card  *softuicc.Card
	slot  *softuicc.VSCard
	cards int // QEMU devices so far: an id is not used twice

	wholes int // whole files that were waited for
}

// newStation boots a guest and plays a card that downloads by the method. The judge has the last word.
func newStation(t *testing.T, method int, c guest.Config) *station {
	t.Helper()
	c.Modules = append([]string{"xhci-pci", "veth"}, c.Modules...)
	c.Devices, c.Sockets, c.Programs = reader, []string{"card"}, []string{"bipd", "apd", "bipctl"}
	c.Timeout = 15 * time.Minute
	s := &station{T: t, job: newDownload(method, fileSize), slot: softuicc.NewVSCard()}
	var err error
	if s.card, err = softuicc.New(softuicc.Config{Applets: []softuicc.Applet{s.job.applet}}); err != nil {
		t.Fatal(err)
	}
	s.guest = guest.Start(t, c)
	s.connect()
	for name, do := range map[string]func(string) error{
		"insert": s.insert, "remove": s.remove, "unplug": s.unplug, "plug": s.plug, "progress": s.progress, "whole": s.whole,
	} {
		s.guest.Handle(name, func(argument string) (string, error) {
			err := do(argument)
			return s.job.String(), err
		})
	}
	t.Cleanup(func() {
		s.card.Close()
		for _, v := range s.card.Violations() {
			t.Errorf("terminal against the specification: %v", v)
		}
	})
	return s
}

// connect serves the card's slot to QEMU until the end of the test.
func (s *station) connect() {
	s.Helper()
	conn, err := net.Dial("unix", s.guest.Socket("card"))
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.slot.Serve(ctx, conn) }()
	s.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			s.Error(err)
		}
	})
}

func (s *station) insert(string) error {
	s.job.update(func() { s.job.got = 0 })
	return s.slot.Insert(s.card)
}

func (s *station) remove(string) error {
	s.slot.Remove()
	return nil
}

// unplug takes the reader away; the card, which is still in, loses its power.
func (s *station) unplug(string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := s.guest.QMP().Unplug(ctx, "ccid")
	s.slot.Remove()
	return err
}

// plug puts the reader back into its port, with no card in it.
func (s *station) plug(string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.cards++
	qmp := s.guest.QMP()
	return errors.Join(
		qmp.Plug(ctx, "usb-ccid", map[string]any{"id": "ccid", "bus": "usb.0", "port": "1"}),
		qmp.Plug(ctx, "ccid-card-passthru", map[string]any{"id": fmt.Sprintf("card%d", s.cards), "chardev": "card", "bus": "ccid.0"}),
		s.slot.Announce(ctx),
	)
}

// progress waits until the download is well under way, and no more than that.
func (s *station) progress(string) error {
	return s.job.await("progress", func() bool { return s.job.got > fileSize/20 })
}

// whole waits until one more session has had the whole file.
func (s *station) whole(string) error {
	s.wholes++
	return s.job.await("whole file", func() bool { return s.job.done >= s.wholes })
}

// The main job by each method: 1 MiB over the CCID driver; and the same with the card pulled out, and with the reader
// unplugged, in the middle of it.
func TestMainJob(t *testing.T) {
	for method := 1; method <= 2; method++ {
		t.Run(fmt.Sprintf("method%d", method), func(t *testing.T) {
			s := newStation(t, method, guest.Config{})
			for i, inside := range []string{"Download", "CardPulled", "ReaderPulled"} {
				s.guest.Run(t, "TestInside"+inside, strconv.Itoa(method))
				if s.wholes != i+1 {
					t.Errorf("%d whole files after %s", s.wholes, inside)
				}
			}
		})
	}
}

// What bipctl readers and bipd --check show of a reader.
func TestReaders(t *testing.T) {
	newStation(t, 1, guest.Config{}).guest.Run(t, "TestInsideReaders")
}

// The udev rule, as real udev reads it.
func TestAccess(t *testing.T) {
	newStation(t, 1, guest.Config{
		Debian: []string{"udev"}, Files: map[string]string{"/etc/udev/rules.d/60-bipd-ccid.rules": "../../../../systemd/60-bipd-ccid.rules"},
	}).guest.Run(t, "TestInsideAccess")
}

// A reader that pcscd has, and lets go.
func TestPCSCD(t *testing.T) {
	newStation(t, 1, guest.Config{Debian: []string{"udev", "pcscd"}}).guest.Run(t, "TestInsidePCSCD")
}
