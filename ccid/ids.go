package ccid

import (
	"cmp"
	"fmt"
	"strconv"
)

// IDs says which reader it is.
type IDs struct {
	Path            string // bus and ports, "1-1.2": the same after a re-plug at the same place
	Vendor, Product uint16
	Release         uint16 // of the device, bcdDevice
	Manufacturer    string // strings of the device; "" where it has none
	Name            string
	Serial          string
	PacketSize      uint16 // wMaxPacketSize of the bulk IN endpoint; 0: 64
}

// VIDPID gives "08e6:3437".
func (ids IDs) VIDPID() string { return fmt.Sprintf("%04x:%04x", ids.Vendor, ids.Product) }

// String gives the product name and the place, "USB Reader [1-1.2]".
func (ids IDs) String() string {
	return cmp.Or(ids.Name, ids.VIDPID()) + " [" + ids.Path + "]"
}

// SlotName is the name of slot n for people, "USB Reader [1-1.2] slot 0".
func (ids IDs) SlotName(n int) string { return ids.String() + " slot " + strconv.Itoa(n) }

// SlotID is the name of slot n for the configuration, "1-1.2.0".
func (ids IDs) SlotID(n int) string { return ids.Path + "." + strconv.Itoa(n) }
