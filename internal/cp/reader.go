package cp

import (
	"fmt"
	"log/slog"
	"strings"

	"bipd/ccid"
	"bipd/uicc"
	"bipd/uicc/pcsc"
	"bipd/uicc/vpcd"
)

// OpenReader opens a reader as the configuration names it: "ccid:<selector>", one slot of a USB reader,
// "pcsc:<reader name>", a reader of pcscd, or "vpcd:unix:<path>" and "vpcd:tcp:<address>", a socket at which software
// cards dial in. The function it returns gives back what it took.
func OpenReader(name string, log *slog.Logger) (uicc.Reader, func() error, error) {
	kind, rest, _ := strings.Cut(name, ":")
	switch {
	case kind == "ccid" && rest != "":
		return openUSB(rest, ccid.Config{Log: log})
	case kind == "pcsc" && rest != "":
		r, err := pcsc.New(rest, pcsc.Config{Log: log})
		if err != nil {
			return nil, nil, err
		}
		return r, func() error { return nil }, nil
	case kind == "vpcd" && rest != "":
		r, err := vpcd.Listen(vpcd.Config{Name: name, Listen: rest, Log: log})
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return nil, nil, fmt.Errorf("%q is none of ccid:<selector>, pcsc:<reader name>, vpcd:unix:<path>, vpcd:tcp:<address>", name)
}
