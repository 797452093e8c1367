package readers

import (
	"errors"
	"strings"
	"testing"

	"bipd/internal/control"
)

// twoReaders is a reader with cards and one that another program has.
var twoReaders = []control.Reader{
	{
		Name: "PC Twin Reader", Manufacturer: "Gemalto", Driver: driverCCID, Path: "1-1.2", ID: "08e6:3437", Release: "2.01", Serial: "21120822",
		Speed: "12", Level: "TPDU", Protocols: []string{"T=0", "T=1"}, Voltages: "5/3/1.8 V", MaxMessage: 271,
		Slots: []control.ReaderSlot{
			{ID: "1-1.2.0", Number: 0, State: stateCard, ServedAs: "1-1.2.0", ATR: "3B80800101", Card: DecodeATR([]byte{0x3B, 0x80, 0x80, 0x01, 0x01}),
				Config: `reader = "ccid:path=1-1.2"`},
			{ID: "1-1.2.1", Number: 1, State: stateEmpty, Config: `reader = "ccid:path=1-1.2,slot=1"`},
			{ID: "1-1.2.2", Number: 2, State: stateCard, Problem: "uicc: card does not answer", Config: `reader = "ccid:path=1-1.2,slot=2"`},
		},
	},
	{
		Name: "Reader\x1b[31m", Driver: driverCCID, Path: "1-3", ID: "04e6:5116", Release: "2.04", Level: "short APDU", Protocols: []string{"T=0"}, Voltages: "5 V",
		MaxMessage: 263, Problem: "in use by pcscd (process 812)", Holders: []control.Process{{PID: 812, Name: "pcscd"}}, Hint: hintPCSCD,
		Slots: []control.ReaderSlot{{ID: "1-3.0", State: stateUnknown, Config: `reader = "ccid:path=1-3"`}},
	},
	{
		Name: "SCM SCR 3310 00 00", Driver: driverPCSC,
		Slots: []control.ReaderSlot{{State: stateCard, ATR: "3B00", Card: DecodeATR([]byte{0x3B, 0x00}), Config: `reader = "pcsc:SCM SCR 3310 00 00"`}},
	},
}

const twoReadersText = `PC Twin Reader (Gemalto)
   port 1-1.2  USB 08e6:3437  release 2.01  serial 21120822  12 Mbit/s
   TPDU level, T=0 T=1, 5/3/1.8 V, messages to 271 octets
   slot 0  card, served as 1-1.2.0
      ATR 3B80800101
      T=0 T=1, TA1=11 (Fi 372, Di 1), direct convention
      reader = "ccid:path=1-1.2"
   slot 1  empty
      reader = "ccid:path=1-1.2,slot=1"
   slot 2  card
      no ATR: uicc: card does not answer
      reader = "ccid:path=1-1.2,slot=2"

Reader [31m
   port 1-3  USB 04e6:5116  release 2.04  serial -  - Mbit/s
   short APDU level, T=0, 5 V, messages to 263 octets
   PROBLEM: in use by pcscd (process 812)
   Stop pcscd (systemctl stop pcscd.socket pcscd.service, and mask instead of stop to keep it
   from coming back), or use the reader through it: reader = "pcsc:...".
   slot 0  unknown
      reader = "ccid:path=1-3"

SCM SCR 3310 00 00
   through pcscd
   card
      ATR 3B00
      T=0, TA1=11 (Fi 372, Di 1), direct convention
      reader = "pcsc:SCM SCR 3310 00 00"
`

func TestWrite(t *testing.T) {
	var b strings.Builder
	if err := Write(&b, twoReaders); err != nil {
		t.Fatal(err)
	}
	if b.String() != twoReadersText {
		t.Errorf("got\n%s\nwant\n%s", b.String(), twoReadersText)
	}
	for line := range strings.Lines(b.String()) {
		if len(line) > 101 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	b.Reset()
	if err := Write(&b, nil); err != nil || !strings.HasPrefix(b.String(), "no reader was found") {
		t.Errorf("without readers: %q, %v", b.String(), err)
	}
	if err := Write(failing{}, twoReaders); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }
