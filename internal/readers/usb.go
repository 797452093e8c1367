// Package readers tells people of card readers: those at USB and those of pcscd, with their cards, what stands in the way
// of using them, and how the configuration names them.
package readers

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"bipd/ccid"
	"bipd/ccid/usbfs"
	"bipd/internal/control"
	"bipd/uicc"
)

// What to do about a reader that cannot be used.
const (
	hintPCSCD = "Stop pcscd (systemctl stop pcscd.socket pcscd.service, and mask instead of stop to keep it from coming back), " +
		`or use the reader through it: reader = "pcsc:...".`
	hintBipd   = "Ask that bipd, by its control socket: bipctl readers --socket PATH."
	hintOther  = "End that program, or have it let the reader go."
	hintHidden = "A program of another user has it: ask as root which one."
	hintRights = "Install systemd/60-bipd-ccid.rules for udev, or what gives this user the device, and be in the group bipd; see docs/readers.md."
)

// USB is the readers at USB, as a Hub or a scan has found them, for people.
func USB(infos []ccid.ReaderInfo) []control.Reader {
	list := []control.Reader{}
	for _, i := range infos {
		list = append(list, usbReader(i))
	}
	return list
}

func usbReader(i ccid.ReaderInfo) control.Reader {
	d := i.Descriptor
	r := control.Reader{
		Name: i.Name, Driver: driverCCID, Path: i.Path, ID: i.VIDPID(), Manufacturer: i.Manufacturer, Serial: i.Serial, Speed: i.Speed,
		Release: fmt.Sprintf("%x.%02x", i.Release>>8, i.Release&0xFF), // BCD
	}
	if i.Err != nil {
		r.Problem, r.Hint, r.Holders = problem(i.Err)
	}
	if errors.Is(i.Err, ccid.ErrNotDriven) {
		return r // it has no slots, and nothing of what its descriptor says is sure
	}
	r.Level, r.Protocols, r.Voltages, r.MaxMessage = d.Level().String(), protocols(d.Protocols), d.Voltages.String(), int(d.MaxMessage)
	for n := range d.Slots() {
		s := control.ReaderSlot{ID: i.SlotID(n), Number: n, State: stateUnknown, Config: configLine("ccid:" + ccid.Selector{Path: i.Path, Slot: n}.String())}
		if i.Err == nil && n < len(i.Slots) {
			setSlot(&s, i.Slots[n])
		}
		r.Slots = append(r.Slots, s)
	}
	return r
}

// setSlot tells what is in a slot.
func setSlot(s *control.ReaderSlot, i ccid.SlotInfo) {
	switch i.State {
	case uicc.SlotEmpty:
		s.State = stateEmpty
	case uicc.SlotPresent:
		s.State = stateCard
		setATR(s, i.ATR)
		if i.Err != nil {
			s.Problem = i.Err.Error()
		}
	}
}

// protocols reads dwProtocols.
func protocols(bits uint32) []string {
	var list []string
	for n := range 2 {
		if bits&(1<<n) != 0 {
			list = append(list, uicc.Protocol(n).String())
		}
	}
	return list
}

// problem says why a reader cannot be used, and what to do about it.
func problem(err error) (what, hint string, holders []control.Process) {
	var used *usbfs.InUseError
	switch {
	case errors.As(err, &used):
		what, hint = "in use", hintHidden
		var names []string
		for _, p := range used.Holders {
			holders = append(holders, control.Process(p))
			names = append(names, fmt.Sprintf("%s (process %d)", p.Name, p.PID))
			hint = hintOther
		}
		if len(names) > 0 {
			what += " by " + strings.Join(names, ", ")
		}
		for _, p := range used.Holders {
			switch p.Name {
			case "pcscd":
				return what, hintPCSCD, holders
			case "bipd":
				hint = hintBipd
			}
		}
	case errors.Is(err, fs.ErrPermission):
		what, hint = "this user may not open its node below /dev/bus/usb", hintRights
	default:
		what = err.Error()
	}
	return what, hint, holders
}
