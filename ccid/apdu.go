package ccid

import (
	"context"
	"fmt"
	"time"

	"bipd/uicc"
)

// maxExtended is the longest APDU (CCID clause 5.1: command of 65544 octets; response of 65538).
const maxExtended = 65544

// wLevelParameter and bChainParameter at the extended APDU level (CCID clauses 6.1.4 and 6.2.1).
const (
	chainWhole  = 0x00 // begins and ends
	chainFirst  = 0x01 // begins, to be continued
	chainLast   = 0x02 // continues and ends
	chainMiddle = 0x03 // continues, to be continued
	chainNext   = 0x10 // empty: asks for the next part
)

// apduLink passes APDUs to a reader that makes TPDUs and blocks of them by itself (CCID clause 3.2.2). The standard has
// parts of APDUs at extended level alone; readers of short level that chain their responses all the same are followed.
type apduLink struct {
	slot     *Slot
	wait     time.Duration
	extended bool // commands may be sent in parts
	buf      []byte
}

func (l *apduLink) start(context.Context) error { return nil }

func (l *apduLink) transmit(ctx context.Context, capdu []byte) ([]byte, error) {
	full := uicc.AppendLe(l.buf, capdu)
	if len(full) > len(capdu) {
		l.buf = full
	}
	a, err := l.send(ctx, full)
	if err != nil {
		return nil, err
	}
	if a.param == chainWhole || !l.extended && a.param != chainFirst { // where it is not defined it may hold anything
		return l.slot.response(a.data)
	}
	return l.receive(ctx, a)
}

// send sends the command, in parts where it is longer than a message, and gives the first answer with response data.
func (l *apduLink) send(ctx context.Context, capdu []byte) (answer, error) {
	s := l.slot
	most := s.dev.desc.room()
	if len(capdu) <= most || !l.extended {
		return s.xfr(ctx, 0, chainWhole, capdu, l.wait) // a reader of short APDUs takes any, whatever it announces
	}
	level := uint16(chainFirst)
	for len(capdu) > most {
		a, err := s.xfr(ctx, 0, level, capdu[:most], l.wait)
		if err != nil {
			return answer{}, err
		}
		if a.param != chainNext {
			return answer{}, fmt.Errorf("%w: %s: the reader does not ask for the rest of a command (bChainParameter %02X)", ErrProtocol, s.name, a.param)
		}
		capdu = capdu[most:]
		level = chainMiddle
	}
	return s.xfr(ctx, 0, chainLast, capdu, l.wait)
}

// receive puts a response together of which a is the first part.
func (l *apduLink) receive(ctx context.Context, a answer) ([]byte, error) {
	s := l.slot
	var response []byte
	for want := byte(chainFirst); ; want = chainMiddle {
		last := want == chainMiddle && a.param == chainLast
		if a.param != want && !last {
			return nil, fmt.Errorf("%w: %s: parts of a response out of order (bChainParameter %02X)", ErrProtocol, s.name, a.param)
		}
		if len(response)+len(a.data) > maxExtended {
			return nil, fmt.Errorf("%w: %s: a response of more than %d octets", ErrProtocol, s.name, maxExtended)
		}
		if len(a.data) == 0 && !last {
			return nil, fmt.Errorf("%w: %s: an empty part of a response", ErrProtocol, s.name)
		}
		response = append(response, a.data...)
		if last {
			return s.response(response)
		}
		var err error
		if a, err = s.xfr(ctx, 0, chainNext, nil, l.wait); err != nil {
			return nil, err
		}
	}
}
