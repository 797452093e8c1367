package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
)

// Reader is one card reader: one at USB, or one slot as pcscd lists it.
type Reader struct {
	Name         string       `json:"name"`              // of the product, or as pcscd has it
	Driver       string       `json:"driver"`            // "ccid" or "pcsc"
	Path         string       `json:"path,omitempty"`    // USB bus and ports, "1-1.2": the same after a re-plug
	ID           string       `json:"id,omitempty"`      // USB vendor and product, "08e6:3437"
	Release      string       `json:"release,omitempty"` // of the device, "2.01"
	Manufacturer string       `json:"manufacturer,omitempty"`
	Serial       string       `json:"serial,omitempty"`
	Speed        string       `json:"speed,omitempty"`       // of the USB device, Mbit/s
	Level        string       `json:"level,omitempty"`       // of exchange: "character", "TPDU", "short APDU", "extended APDU"
	Protocols    []string     `json:"protocols,omitempty"`   // that the reader speaks: "T=0", "T=1"
	Voltages     string       `json:"voltages,omitempty"`    // that it can give: "5/3/1.8 V"
	MaxMessage   int          `json:"max_message,omitempty"` // octets of a CCID message, with its header
	Problem      string       `json:"problem,omitempty"`     // why its cards cannot be used
	Hint         string       `json:"hint,omitempty"`        // what to do about it
	Holders      []Process    `json:"holders,omitempty"`     // of the device, other than the daemon that was asked
	Slots        []ReaderSlot `json:"slots"`
}

// Process is a program that holds a reader.
type Process struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// ReaderSlot is one slot of a reader.
type ReaderSlot struct {
	ID     string `json:"id,omitempty"`   // path and slot, "1-1.2.0", as the configuration's * has it
	Number int    `json:"slot"`           // from 0
	State  string `json:"state"`          // "empty", "card", "unknown"
	ATR    string `json:"atr,omitempty"`  // hex
	Card   *ATR   `json:"card,omitempty"` // what the ATR says
	// Problem says why there is no ATR of the card in the slot.
	Problem  string `json:"problem,omitempty"`
	ServedAs string `json:"served_as,omitempty"` // name of the card that bipd serves here
	Config   string `json:"config"`              // line for bipd.toml
}

// ATR is what an answer to reset says (ISO/IEC 7816-3 clause 8).
type ATR struct {
	Convention string   `json:"convention"` // "direct", "inverse"
	Protocols  []string `json:"protocols"`
	Specific   string   `json:"specific,omitempty"` // the protocol of specific mode
	TA1        string   `json:"ta1"`                // hex
	Fi         int      `json:"fi,omitempty"`       // clock rate conversion; 0 = reserved for future use
	Di         int      `json:"di,omitempty"`       // baud rate adjustment
	Historical string   `json:"historical"`         // hex
	Text       string   `json:"text,omitempty"`     // of the historical bytes that are printable
	Fault      string   `json:"fault,omitempty"`    // where it breaks the standard
}

// ReaderSource is a daemon that has card readers.
type ReaderSource interface {
	// Readers lists the USB readers that there are, or gives ErrNoReaders where the daemon holds none.
	Readers() ([]Reader, error)
}

func serveReaders(mux *http.ServeMux, src ReaderSource) {
	mux.HandleFunc("GET /v1/readers", func(w http.ResponseWriter, _ *http.Request) {
		list, err := src.Readers()
		if list == nil {
			list = []Reader{}
		}
		writeResult(w, list, err)
	})
}

// Readers lists the USB readers of the daemon. Where no daemon holds readers, since none runs or it has no card in
// them, the error wraps ErrNoReaders.
func (c *Client) Readers(ctx context.Context) (readers []Reader, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/v1/readers", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoReaders
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("bipd may hold the readers, and only its user and group may ask it: %w", errors.Unwrap(err))
	case err != nil:
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, ErrNoReaders
	}
	err = decode(resp, &readers)
	return readers, err
}
