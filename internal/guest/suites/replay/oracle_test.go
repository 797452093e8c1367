//go:build guest

package replay

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bipd/ccid"
	"bipd/internal/ccidemu"
	"bipd/uicc"
	"bipd/uicc/pcsc"
)

// startPcscd starts pcscd, which has no udev here and so finds readers at its start alone, until the end of the test.
func startPcscd(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll("/run/pcscd", 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	pcscd := exec.Command("/usr/sbin/pcscd", "--foreground", "--debug", "--apdu")
	pcscd.Stdout, pcscd.Stderr = &said, &said
	if err := pcscd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pcscd.Process.Signal(syscall.SIGTERM)
		pcscd.Wait()
		if t.Failed() {
			t.Logf("pcscd said:\n%s", tail(said.String(), 200))
		}
	})
}

func tail(s string, lines int) string {
	all := strings.Split(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// slotOf is pcscd's reader for a slot, once it is there with a card in it.
func slotOf(t *testing.T, slot int) uicc.Reader {
	t.Helper()
	var name string
	eventually(t, "pcscd has the card", func() error {
		states, err := pcsc.States(within(t), pcsc.Config{})
		if err != nil {
			return err
		}
		for _, s := range states {
			if strings.HasSuffix(s.Name, fmt.Sprintf(" %02X", slot)) && s.ATR != nil {
				name = s.Name
				return nil
			}
		}
		return fmt.Errorf("states %+v", states)
	})
	r, err := pcsc.New(name, pcsc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ourVendor is that of readers of our own making.
const ourVendor = 0x1209

// The same session through libccid gives the same lines, and the emulated readers find no fault with it: that is the measure
// of the readers, of their judgement, and of the driver that gives the same lines.
func TestInsideOracle(t *testing.T) {
	want := oracle(t)
	for _, m := range ccidemu.Models() {
		if m.Verbatim || m.NeedsPowerOff || m.Name == ccidemu.Chainer().Name {
			continue // libccid loses step at a stray transfer, never sends that IccPowerOff, and takes no messages so short
		}
		if m.Vendor == ourVendor || m.Name == ccidemu.SCL010().Name { // libccid goes by a list, and was seen not to open SCL010
			m.Class = 0
			like := ccidemu.ACR38U()
			m.Vendor, m.Product = like.Vendor, like.Product
		}
		m.Slots = min(m.Slots, 2) // lest it takes too long
		for _, k := range []kind{plain, fast, specific, blocks, slow} {
			switch {
			case m.Name == ccidemu.Manual().Name && (k.name == fast.name || k.name == specific.name):
				continue // libccid never sets a data rate
			case m.Protocols == 1 && (k.name == blocks.name || k.name == slow.name):
				continue // the reader has no T=1
			case k.name == slow.name && m.Name != ccidemu.SCR3310().Name:
				continue // one is enough, for libccid's T=1 is the same for all
			}
			t.Run(m.Name+"/"+k.name, func(t *testing.T) {
				r, _ := attach(t, m)
				for slot := range m.Slots {
					insert(t, r, slot, k)
				}
				waitForNode(t)
				startPcscd(t)
				for slot := range m.Slots {
					card, err := slotOf(t, slot).Connect(within(t))
					if err != nil {
						t.Fatal(err)
					}
					play(t, card, want)
					if err := card.Close(); err != nil {
						t.Error(err)
					}
				}
				clean(t, r)
				if m.Name == ccidemu.Characters().Name {
					return // our driver has no character level
				}
				if ours, theirs := settings(t, m, k), unique(r.Settings()); !slices.Equal(ours, theirs) {
					t.Errorf("settings %q, libccid's are %q", ours, theirs)
				}
			})
		}
	}
}

// settings are the parameters that our own driver sets for a card in a reader of the model, within the process.
func settings(t *testing.T, m ccidemu.Model, k kind) []string {
	t.Helper()
	r := ccidemu.New(m)
	defer r.Unplug()
	insert(t, r, 0, k)
	desc, err := ccid.ParseDescriptor(m.ClassDescriptor())
	if err != nil {
		t.Fatal(err)
	}
	d, err := ccid.NewDevice(r.Transport(), desc, ccid.IDs{Path: "1-1", Vendor: m.Vendor, Product: m.Product, PacketSize: m.MaxPacket}, ccid.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	card, err := d.Slots()[0].Connect(within(t))
	if err != nil {
		t.Fatal(err)
	}
	play(t, card, oracle(t))
	if err := card.Close(); err != nil {
		t.Error(err)
	}
	return unique(r.Settings())
}

// unique drops what was there before: cards are reset more than once.
func unique(list []string) (once []string) {
	for _, s := range list {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// waitForNode waits until the kernel has enumerated the reader.
func waitForNode(t *testing.T) {
	t.Helper()
	eventually(t, "the reader is enumerated", func() error {
		dirs, err := os.ReadDir("/sys/bus/usb/devices")
		if err != nil {
			return err
		}
		for _, d := range dirs {
			class, err := os.ReadFile("/sys/bus/usb/devices/" + d.Name() + "/bInterfaceClass")
			if c := strings.TrimSpace(string(class)); err == nil && (c == "0b" || c == "ff") {
				return nil
			}
		}
		return errors.New("no interface of class 0B or FF")
	})
}
