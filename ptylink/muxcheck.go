package ptylink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"

	"bipd/ptylink/at"
	"bipd/ptylink/mux"
)

// CheckMode says when the CP asks for the payload check, see mux.Config. It is an addition of ours, which another AP does
// not know.
type CheckMode int

const (
	CheckUART CheckMode = iota // on a UART, which has a speed; a pty loses nothing. Without it if the AP does not know it.
	CheckOn                    // always, and no line without
	CheckOff
)

// AT%MUXCHK says whether the multiplexer has the payload check that AT+CMUX starts on the next command line. Any other line
// between the two takes it back, so that it never holds for a CP that did not ask.
//
//	AT%MUXCHK=0
//	AT%MUXCHK=1,<nonce>        answered by %MUXCHK: 1,<nonce>
//
// The nonce is a number that the CP draws for each start. The key of the check (mux.Config.Key) is the CRC-32 over it, in four
// octets, most significant first, and the line with AT+CMUX as it was sent and as it was understood. So a changed octet in
// either command makes all checks fail, and the CP begins anew.
const (
	nameMuxCheck  = "%MUXCHK"
	muxCheckUsage = "(0-1),(0-4294967295)"
)

// errNoCheck is an AP that does not know the payload check where there is to be no line without.
var errNoCheck = errors.New("ptylink: the AP knows no payload check")

// wanted tells whether to ask on a line of a speed, 0 for none.
func (m CheckMode) wanted(speed int) bool { return m == CheckOn || m == CheckUART && speed > 0 }

// muxCheck is what AT%MUXCHK has agreed.
type muxCheck struct {
	on    bool
	nonce uint32
}

// parseMuxCheck reads the command.
func parseMuxCheck(c at.Command) (muxCheck, error) {
	v, err := setValues(c, nameMuxCheck)
	if err != nil {
		return muxCheck{}, err
	}
	check := muxCheck{on: v.Number("payload check", 0, 1) == 1}
	if check.on {
		check.nonce = uint32(v.Number("nonce", 0, math.MaxUint32))
	}
	if err := v.End(); err != nil {
		return muxCheck{}, err
	}
	return check, nil
}

// args are the values of the command, and of the answer to it.
func (m muxCheck) args() []at.Arg {
	if !m.on {
		return []at.Arg{at.Num(0)}
	}
	return []at.Arg{at.Num(1), at.Num(uint64(m.nonce))}
}

// lines answer the command.
func (m muxCheck) lines() ([]string, error) {
	line, err := at.PrintResult(nameMuxCheck, m.args()...)
	return []string{line}, err
}

// apply puts the check into the configuration of the multiplexer that cmux starts.
func (m muxCheck) apply(cfg mux.Config, cmux at.Command) (mux.Config, error) {
	cfg.Check = m.on
	if !m.on {
		return cfg, nil
	}
	line, err := at.PrintLine(cmux)
	if err != nil {
		return cfg, err
	}
	cfg.Key = crc32.Update(crc32.ChecksumIEEE(binary.BigEndian.AppendUint32(nil, m.nonce)), crc32.IEEETable, []byte(line))
	return cfg, nil
}

// checkKnown asks whether the AP knows the payload check. A modem may answer OK to whatever it does not know, so that the
// AP must know the command's values. The error is that of an AP which answers nothing any more.
func (s *session) checkKnown(ctx context.Context) (bool, error) {
	return s.answered(ctx, func(ctx context.Context) error {
		lines, err := s.client.Do(ctx, at.Command{Name: nameMuxCheck, Form: at.Test})
		if err == nil && !slices.Equal(lines, []string{nameMuxCheck + ": " + muxCheckUsage}) {
			err = fmt.Errorf("%w: %s", ErrAnswer, nameMuxCheck)
		}
		return err
	})
}

// askForCheck asks an AP that knows it for the payload check, right before AT+CMUX.
func (s *session) askForCheck(ctx context.Context) (check muxCheck, err error) {
	agreed, err := s.answered(ctx, func(ctx context.Context) error {
		check = muxCheck{on: true, nonce: rand.Uint32()}
		want, err := check.lines()
		if err != nil {
			return err
		}
		got, err := s.client.Do(ctx, at.Command{Name: nameMuxCheck, Form: at.Set, Args: check.args()})
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%w: %s", ErrAnswer, nameMuxCheck)
		}
		return err
	})
	if err == nil && !agreed {
		err = fmt.Errorf("%w: %s refused", ErrAnswer, nameMuxCheck)
	}
	return check, err
}
