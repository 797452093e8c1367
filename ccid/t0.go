package ccid

import (
	"context"
	"time"
)

// t0 exchanges TPDUs of T=0 with a reader of TPDU level (CCID clause 3.2.1): the reader sends the header and handles procedure
// bytes; 61xx and 6Cxx pass up.
type t0 struct {
	slot *Slot
	wait time.Duration
	buf  []byte
}

func (t *t0) start(context.Context) error { return nil }

// transmit sends the command even where it is longer than the reader announces to take (a TPDU cannot be cut): there are
// readers that announce less than they take, SCM SCR3310 for one (263, the longest TPDU needs 270).
func (t *t0) transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	a, err := t.slot.xfr(ctx, 0, 0, t.tpdu(capdu), t.wait)
	if err != nil {
		return nil, err
	}
	return t.slot.response(a.data)
}

// tpdu gives the TPDU of a command APDU (see uicc.Command.TPDU): case 1 with P3 = 00, case 4 without Le.
func (t *t0) tpdu(capdu []byte) []byte {
	switch {
	case len(capdu) == 4:
		t.buf = append(append(t.buf[:0], capdu...), 0)
		return t.buf
	case len(capdu) > 5 && len(capdu) == 6+int(capdu[4]):
		return capdu[:len(capdu)-1]
	}
	return capdu
}
